#!/bin/sh
# Fetches ONNX Runtime, once, as the wheel for Python brings it. Prints the path of its library.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
python=$("$here/../kafka/python.sh" "$here/requirements.txt")
for library in "${python%/bin/python}"/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*; do
  if [ -f "$library" ]; then
    echo "$library"
    exit 0
  fi
done
echo "library.sh: the wheel of onnxruntime holds no libonnxruntime.so" >&2
exit 1
