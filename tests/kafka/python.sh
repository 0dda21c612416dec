#!/bin/sh
# Makes the Python of the tests, once: a virtual environment in target/kafka with what requirements.txt names, or
# the file given (the benches have one for their peers). Prints the path of its interpreter. Compile a schema with: PYTHON -m grpc_tools.protoc -I DIR --python_out=DIR FILE
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
requirements=${1:-$here/requirements.txt}
# Other requirements make another environment.
venv=$target/kafka/python-$(cksum <"$requirements" | cut -d' ' -f1)

if [ ! -f "$venv/complete" ]; then
  python3 -c 'import ensurepip, venv' 2>/dev/null || {
    echo "python.sh: needs python3 with venv, which 'make test' installs" >&2
    exit 1
  }
  echo "installing the Python packages of $requirements" >&2
  mkdir -p "$target/kafka"
  # One at a time; whoever comes second finds it done.
  exec 9>"$target/kafka/python.lock"
  if command -v flock >/dev/null; then flock 9; fi
  if [ ! -f "$venv/complete" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
      -r "$requirements" >&2
    : >"$venv/complete"
  fi
fi
echo "$(cd "$venv" && pwd)/bin/python"
