# Two commands do all the set-up on a fresh Debian or Ubuntu with a Rust toolchain:
#   make run     builds and runs the daemon against its embedded exchange
#   make test    installs what the tests need and passes them
#   make kafka   starts a real Kafka to publish to; Ctrl-C stops it
#   make kernels compiles the CUDA kernels, without a GPU, for a build to embed
#   make install builds nothing: it copies what make build has built, its units and an example configuration
#   make deb     builds a Debian package
# make test-long passes the tests that make test leaves out because they take minutes each.
# make fuzz runs each fuzz target of the feeds for SECONDS_EACH (60); it needs a nightly Rust and cargo-fuzz.

CARGO ?= cargo
# What compiling needs beside Rust: a C and a C++ compiler and make, for zstd, mimalloc and librdkafka, and OpenSSL
# for librdkafka's TLS and SCRAM.
BUILD_TOOLS = cc c++ make perl pkg-config
BUILD_PACKAGES = gcc g++ make perl libc6-dev libssl-dev pkg-config
# What a real Kafka needs, and its Python clients; what checks the units.
TEST_TOOLS = java mvn openssl python3 systemd-analyze
TEST_PACKAGES = default-jre-headless maven openssl python3 python3-venv systemd

.PHONY: run build install deb test test-long kafka fuzz bench bench-feeds bench-kafka bench-predictors bench-training bench-learning lint tools check-tools check-test-tools kafka-files onnx-files nvrtc-files kernels gpu-test gpu-bench

run: check-tools
	$(CARGO) build --release --locked
	./target/release/purkinje run $(ARGS)

build: check-tools
	$(CARGO) build --release --locked

# A configuration that is there is left alone. PREFIX=/usr is for packages.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BINARY ?= $(or $(CARGO_TARGET_DIR),target)/release/purkinje
INTO = $(DESTDIR)$(PREFIX)
CONFIGURATION = $(DESTDIR)$(SYSCONFDIR)/purkinje/purkinje.toml

install:
	@[ -x "$(BINARY)" ] || { echo "no $(BINARY): run make build first"; exit 1; }
	install -D -m 755 "$(BINARY)" "$(INTO)/bin/purkinje"
	install -D -m 644 systemd/purkinje.service "$(INTO)/lib/systemd/system/purkinje.service"
	install -D -m 644 systemd/purkinje.socket "$(INTO)/lib/systemd/system/purkinje.socket"
	install -D -m 644 systemd/purkinje.sysusers.conf "$(INTO)/lib/sysusers.d/purkinje.conf"
	install -D -m 644 systemd/purkinje.tmpfiles.conf "$(INTO)/lib/tmpfiles.d/purkinje.conf"
	sed -i 's|/usr/bin/purkinje|$(PREFIX)/bin/purkinje|; s|/etc/purkinje|$(SYSCONFDIR)/purkinje|' \
	  "$(INTO)/lib/systemd/system/purkinje.service" "$(INTO)/lib/tmpfiles.d/purkinje.conf"
	install -D -m 644 -t "$(INTO)/share/purkinje/drop-ins" systemd/drop-ins/*.conf
	install -D -m 644 README.md "$(INTO)/share/doc/purkinje/README.md"
	[ -e "$(CONFIGURATION)" ] || install -D -m 640 systemd/purkinje.toml "$(CONFIGURATION)"
	@[ -n "$(DESTDIR)" ] || echo "next: systemd-sysusers; systemd-tmpfiles --create; systemctl daemon-reload"

deb: check-tools
	@command -v cargo-deb >/dev/null || $(CARGO) install --locked cargo-deb
	$(CARGO) deb --locked -p purkinje

test: check-tools kafka-files onnx-files nvrtc-files
	$(CARGO) test --workspace --features train,emulator --locked

test-long: check-tools kafka-files onnx-files nvrtc-files
	$(CARGO) test --release --workspace --locked -- --ignored

# Apache Kafka and its Python clients, fetched once into target/kafka.
kafka-files: check-test-tools
	@tests/kafka/kafka.sh fetch
	@tests/kafka/python.sh >/dev/null

# ONNX Runtime, fetched once into target/kafka as well. Where it cannot be had, the tests that need it say so and
# pass.
onnx-files: check-test-tools
	@tests/onnx/library.sh >/dev/null || echo "no ONNX Runtime: its tests will be skipped"

# NVIDIA's run-time compiler, likewise.
nvrtc-files: check-test-tools
	@kernels/cuda/nvrtc.sh >/dev/null || echo "no NVRTC: its tests will be skipped"

# Images of the CUDA kernels for all architectures that packages carry. A build embeds them where PURKINJE_KERNELS
# names the folder: PURKINJE_KERNELS=$PWD/target/kernels cargo build --release --locked. PURKINJE_NVRTC may name
# another compiler than the one that is fetched.
KERNELS_DIR ?= $(or $(CARGO_TARGET_DIR),target)/kernels

kernels: check-tools check-test-tools
	@PURKINJE_KERNELS= PURKINJE_NVRTC=$${PURKINJE_NVRTC:-$$(kernels/cuda/nvrtc.sh)} \
	  $(CARGO) run --quiet --locked -p purkinje-cuda --example compile -- $(KERNELS_DIR)

# The parity suite on the first CUDA device, which needs the driver, and NVRTC or images that the build embeds; then
# the sanitizer of CUDA, where its command is. Both need no network once built.
gpu-test: check-tools
	CUDA_TESTS_ON=device $(CARGO) test --locked -p purkinje-cuda --test device
	CUDA_TESTS_ON=device $(CARGO) test --locked -p purkinje-kernels \
	  --test cuda_cerebellum --test cuda_wide --test cuda_cycle --test cuda_predictors --test cuda_pytorch \
	  -- --skip not_its_own
	@if command -v compute-sanitizer >/dev/null; then for tool in memcheck racecheck; do \
	  CUDA_TESTS_ON=device compute-sanitizer --tool $$tool --error-exitcode 1 --target-processes all \
	    $(CARGO) test --locked -p purkinje-kernels --test cuda_cerebellum --test cuda_wide -- every_value every_spike \
	    || exit 1; \
	done; else echo "no compute-sanitizer: left out"; fi

# Cycles and LSTM steps on the first CUDA device; "--cycles N".
GPU_ARGS ?=

gpu-bench: check-tools
	$(CARGO) bench --locked -p purkinje-kernels --bench cuda -- $(GPU_ARGS)

# Its data stays in KAFKA_DIR from one run to the next.
KAFKA_DIR ?= $(or $(CARGO_TARGET_DIR),target)/kafka/node

kafka: check-test-tools
	@tests/kafka/kafka.sh serve $(KAFKA_DIR)

SECONDS_EACH ?= 60

fuzz: check-tools
	@CARGO="$(CARGO)" SECONDS_EACH=$(SECONDS_EACH) feeds/fuzz/run.sh $(FUZZ_TARGETS)

BENCH_CAPTURE = ../shared/data/ws_captures/hftbacktest/usdm/btcusdt_20240808.gz
BENCH_LOG = $(or $(CARGO_TARGET_DIR),target)/bench.txt

# Everything, without questions. Figures go to a file first, because a pipe would hide a bench that fails.
bench: check-tools
	@mkdir -p $(dir $(BENCH_LOG)); : > $(BENCH_LOG)
	@for bench in feeds pipeline replay latency; do \
	  echo "== $$bench"; \
	  $(CARGO) bench --locked --bench $$bench >> $(BENCH_LOG) || exit 1; \
	done
	@echo "== snn"; $(CARGO) bench --locked -p purkinje-kernels --bench snn >> $(BENCH_LOG)
	@python3 benches/peers/hftbacktest_rows.py $(BENCH_CAPTURE) >> $(BENCH_LOG) 2>&1 \
	  || echo "skipped: hftbacktest did not run" >> $(BENCH_LOG)
	@echo; echo "summary (all of it: $(BENCH_LOG))"
	@grep -vE '^(Benchmarking|Found)|(mild|severe)$$|change:|^$$' $(BENCH_LOG)

# The feed adapters alone: frame to verified book beside other readers, then a load over loopback.
LOAD_ARGS ?= rate=200000 seconds=10 connections=1

bench-feeds: check-tools
	$(CARGO) bench --locked --manifest-path benches/peers/barter/Cargo.toml \
	  --target-dir $(or $(CARGO_TARGET_DIR),target)/peers --bench books
	$(CARGO) bench --locked -p purkinje-feeds --bench load -- $(LOAD_ARGS)

# Signals through a real broker with room to breathe; KAFKA_BENCH_ARGS="SECONDS MODE...".
KAFKA_BENCH_ARGS ?= 20 epoch
KAFKA_BENCH_JVM_OPTS ?= -Xms512m -Xmx512m -XX:+UseG1GC

bench-kafka: check-tools kafka-files
	KAFKA_JVM_OPTS="$(KAFKA_BENCH_JVM_OPTS)" $(CARGO) bench --locked --bench kafka -- $(KAFKA_BENCH_ARGS)

# Networks alone, then ONNX Runtime and PyTorch on the same ones; installs those two into a folder of target.
PREDICTORS_ARGS ?=

bench-predictors: check-tools check-test-tools
	$(CARGO) bench --locked -p purkinje-kernels --bench predictors -- $(PREDICTORS_ARGS)
	@$$(tests/kafka/python.sh benches/peers/predictors.txt) benches/peers/predictors.py

# Training steps alone, then PyTorch on the same ones, in the Python of bench-predictors; "--epochs N".
TRAINING_ARGS ?=

bench-training: check-tools check-test-tools
	$(CARGO) bench --locked -p purkinje-kernels --features train --bench training -- $(TRAINING_ARGS)
	@$$(tests/kafka/python.sh benches/peers/predictors.txt) benches/peers/training.py $(TRAINING_ARGS)

# Walk-forward tables of what networks learn; half an hour. LEARNING_ARGS="RECORDINGS KINDS".
LEARNING_ARGS ?=

bench-learning: check-tools
	$(CARGO) build --release --features train --locked
	@benches/learning.sh $(or $(CARGO_TARGET_DIR),target)/release/purkinje $(LEARNING_ARGS)

lint: check-tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --features train,emulator --all-targets --locked -- -D warnings
	$(CARGO) clippy -p purkinje --locked -- -D warnings
	$(CARGO) clippy -p purkinje-cuda --all-features --all-targets --locked -- -D warnings
	@for manifest in benches/peers/barter/Cargo.toml feeds/fuzz/Cargo.toml; do \
	  $(CARGO) update --quiet --workspace --locked --manifest-path $$manifest \
	    || { echo "$$manifest: its Cargo.lock is out of date"; exit 1; }; \
	done

# Installs packages only if something is missing.
INSTALL = echo "installing $(1)"; \
  SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo); \
  $$SUDO apt-get update -q && $$SUDO apt-get install -y -q $(1)

check-tools:
	@for tool in $(BUILD_TOOLS); do command -v $$tool >/dev/null || missing=1; done; \
	[ -n "$$missing" ] || pkg-config --exists openssl || missing=1; \
	if [ -n "$$missing" ]; then $(call INSTALL,$(BUILD_PACKAGES)); fi
	@command -v $(CARGO) >/dev/null || { echo "no cargo found: install Rust 1.95 or newer, https://rustup.rs"; exit 1; }

check-test-tools:
	@for tool in $(TEST_TOOLS); do command -v $$tool >/dev/null || missing=1; done; \
	[ -n "$$missing" ] || python3 -c 'import ensurepip, venv' 2>/dev/null || missing=1; \
	if [ -n "$$missing" ]; then $(call INSTALL,$(TEST_PACKAGES)); fi
