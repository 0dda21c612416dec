# Two commands do all the set-up on a fresh Debian or Ubuntu with a Rust toolchain:
#   make run     builds and runs the daemon against its embedded exchange
#   make test    installs what the tests need and passes them

CARGO ?= cargo
# What compiling needs beside Rust: a C and a C++ compiler and make, for zstd, mimalloc and librdkafka.
BUILD_TOOLS = cc c++ make perl
BUILD_PACKAGES = gcc g++ make perl libc6-dev

.PHONY: run test bench lint tools check-tools

run: check-tools
	$(CARGO) build --release --locked
	./target/release/purkinje run $(ARGS)

test: check-tools
	$(CARGO) test --workspace --locked

bench: check-tools
	$(CARGO) bench --locked --bench feeds --bench pipeline
	$(CARGO) build --release --locked
	benches/replay.sh

lint: check-tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# Installs the compilers only if one is missing.
check-tools:
	@for tool in $(BUILD_TOOLS); do command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
	  echo "installing $(BUILD_PACKAGES)"; \
	  SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$SUDO apt-get update -q && $$SUDO apt-get install -y -q $(BUILD_PACKAGES); \
	fi
	@command -v $(CARGO) >/dev/null || { echo "no cargo found: install Rust 1.95 or newer, https://rustup.rs"; exit 1; }
