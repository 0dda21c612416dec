#!/bin/sh
# Fetches NVRTC, once, as the wheel for Python brings it. Prints the path of its library.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
python=$("$here/../../tests/kafka/python.sh" "$here/requirements.txt")
for library in "${python%/bin/python}"/lib/python3*/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.*; do
  if [ -f "$library" ]; then
    echo "$library"
    exit 0
  fi
done
echo "nvrtc.sh: the wheel of nvidia-cuda-nvrtc-cu12 holds no libnvrtc.so" >&2
exit 1
