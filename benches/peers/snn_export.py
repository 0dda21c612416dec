"""The benchmark network of ../shared/bench/snn as one file, and its simulators' times as JSON.

    python snn_export.py network S FILE
    python snn_export.py peers FILE [--back numba,brian2,nest] [--sizes S,M,L] [--repeat 3] [--floor]

`network` builds a size (S, M or L) with `net.py` and writes every array of it. Layout, all integers
little-endian: the 8 bytes `PKSNN001`; a u64, the length of the header; the header, JSON, padded with
spaces so that the data start at a multiple of 64; the arrays, each at a multiple of 64. The header:

    source       SHA-256 of net.py and ref_numba.py: a file that has it already is left as it is
    size, steps, step_ms
    populations  [{name, count, tau_m_ms, tau_exc_ms, tau_inh_ms, refractory_ms, drive}], stepping order
    inputs       [{name, count}]: mf (mossy) and cf (climbing fibres)
    projections  [{name, pre, post, channel}], delivery order; channel is exc or inh
    rules        {w_pf, w_max, stdp: {...}, climbing: {...}}: amounts as factors of w_max and of w_pf
    arrays       {name: {dtype, count, offset}}, offset from the start of the data. By projection
                 P.row (u32, sources + 1), P.col (u32, ascending in a row), P.w (f32); by population
                 N.v0 (f32); by input X.step and X.cell (u32, by step)

`peers` runs the back ends that can be imported through `bench.py`, which starts a child process for
every run, and writes {"rows": its rows, "floor": {size: {"static": s, "plastic": s}}}: with --floor,
what `floor.py` allows on this machine, in seconds a second of biological time.

Both exit with 77 and a line that says why when something is missing.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import struct
import subprocess
import sys

MAGIC = b"PKSNN001"
SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "bench" / "snn"
SKIPPED = 77
# The order in which ref_numba.simulate delivers: it decides the last bit of a sum.
DELIVERY = ("mf_gr", "mf_go", "mf_dcn", "go_gr", "gr_go", "gr_pc", "pc_dcn")


def skip(why: str) -> None:
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def source_hash() -> str:
    digest = hashlib.sha256()
    for name in ("net.py", "ref_numba.py"):
        digest.update((SHARED / name).read_bytes())
    digest.update(pathlib.Path(__file__).read_bytes())
    return digest.hexdigest()


def is_current(path: pathlib.Path, source: str, size: str) -> bool:
    try:
        with path.open("rb") as file:
            if file.read(8) != MAGIC:
                return False
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            data = 16 + length
    except (OSError, ValueError, struct.error):
        return False
    width = {"<f4": 4, "<u4": 4}
    end = max(a["offset"] + a["count"] * width[a["dtype"]] for a in header["arrays"].values())
    return header["source"] == source and header["size"] == size and path.stat().st_size >= data + end


def export(size: str, path: pathlib.Path) -> None:
    source = source_hash()
    if is_current(path, source, size):
        return
    import numpy as np
    from net import CF, DT, NEURON, STDP, build

    net = build(size)
    arrays = {}
    for name in DELIVERY:
        p = net.proj[name]
        arrays[f"{name}.row"] = p.row.astype("<u4")
        arrays[f"{name}.col"] = p.col.astype("<u4")
        arrays[f"{name}.w"] = p.w.astype("<f4")
    for name in NEURON:
        arrays[f"{name}.v0"] = net.v0[name].astype("<f4")
    for name, step, cell in (("mf", net.mf_t, net.mf_i), ("cf", net.cf_t, net.cf_i)):
        arrays[f"{name}.step"] = step.astype("<u4")
        arrays[f"{name}.cell"] = cell.astype("<u4")
    table, offset = {}, 0
    for name, array in arrays.items():
        table[name] = {"dtype": array.dtype.str, "count": int(array.size), "offset": offset}
        offset += -(-array.nbytes // 64) * 64
    keys = ("tau_m_ms", "tau_exc_ms", "tau_inh_ms", "refractory_ms", "drive")
    header = {
        "source": source,
        "size": size,
        "steps": net.steps,
        "step_ms": DT,
        "populations": [
            {"name": k, "count": net.n[k], **dict(zip(keys, v))} for k, v in NEURON.items()
        ],
        "inputs": [{"name": k, "count": net.n[k]} for k in ("mf", "cf")],
        "projections": [
            {"name": k, "pre": net.proj[k].pre, "post": net.proj[k].post, "channel": net.proj[k].channel}
            for k in DELIVERY
        ],
        "rules": {"w_pf": net.meta["w_pf"], "w_max": net.w_max, "stdp": STDP, "climbing": CF},
        "arrays": table,
    }
    text = json.dumps(header).encode()
    text += b" " * (-(16 + len(text)) % 64)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: tests that run side by side never see half a file.
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(MAGIC + struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())
            file.write(bytes(-array.nbytes % 64))
    part.replace(path)


def run(script: str, *args: str, env: dict) -> str:
    command = [sys.executable, "-B", str(SHARED / script), *args]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def peers(args: argparse.Namespace) -> None:
    args.file.parent.mkdir(parents=True, exist_ok=True)
    # numba caches beside the sources otherwise, which are read-only.
    cache = args.file.parent / "numba"
    env = dict(os.environ, NUMBA_CACHE_DIR=str(cache), OMP_WAIT_POLICY="passive")
    rows = args.file.with_suffix(".rows.json")
    rows.write_text("[]")
    if args.back != "none":
        run(
            "bench.py", "--back", args.back, "--sizes", args.sizes, "--modes", args.modes,
            "--threads", "1", "--repeat", str(args.repeat), "--out", str(rows), env=env,
        )
    floor = {}
    if args.floor:
        line = re.compile(r"^ +([SML]): LIF .* = +([\d.]+) ms; .*\(r\+w\) +([\d.]+) ms", re.MULTILINE)
        for size, fixed, plastic in line.findall(run("floor.py", env=env)):
            floor[size] = {"static": float(fixed) * 1e-3, "plastic": float(plastic) * 1e-3}
    args.file.write_text(json.dumps({"rows": json.loads(rows.read_text()), "floor": floor}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    what = parser.add_subparsers(dest="what", required=True)
    network = what.add_parser("network")
    network.add_argument("size", choices=("S", "M", "L"))
    network.add_argument("file", type=pathlib.Path)
    times = what.add_parser("peers")
    times.add_argument("file", type=pathlib.Path)
    times.add_argument("--back", default="numba")
    times.add_argument("--sizes", default="S,M,L")
    times.add_argument("--modes", default="static,stdp,stdp_lazy,cf,cf_lazy")
    times.add_argument("--repeat", type=int, default=3)
    times.add_argument("--floor", action="store_true")
    args = parser.parse_args()
    if not (SHARED / "net.py").exists():
        skip(f"the benchmark network {SHARED / 'net.py'} is not there")
    try:
        import numpy  # noqa: F401
    except ImportError as missing:
        skip(f"{missing} (pip install numpy)")
    # The sources lie in a read-only folder: no byte code beside them.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(SHARED))
    if args.what == "network":
        export(args.size, args.file)
    else:
        peers(args)


if __name__ == "__main__":
    main()
