"""Rows per second of hftbacktest 2.4.4 on the recording of `benches/replay.rs`.

It does less work than any stage of ours: its input is rows of a binary array, converted beforehand
(the conversion is timed apart), and the loop reads the best bid and offer every 100 ms of market time
and nothing else. No JSON, no sequence check, no features, no model.

    pip install hftbacktest==2.4.4
    python benches/peers/hftbacktest_rows.py CAPTURE.gz
"""

import os
import sys
import time

RUNS = 5


def main() -> int:
    path = sys.argv[1] if len(sys.argv) > 1 else ""
    if not os.path.exists(path):
        print(f"skipped: hftbacktest needs the recording {path!r}")
        return 0
    try:
        import numpy as np
        from hftbacktest import (
            BacktestAsset,
            HashMapMarketDepthBacktest,
            ROIVectorMarketDepthBacktest,
        )
        from hftbacktest.data.utils import binancefutures
        from numba import njit
    except ImportError as missing:
        print(f"skipped: {missing} (pip install hftbacktest==2.4.4)")
        return 0

    started = time.perf_counter()
    rows = binancefutures.convert(path, combined_stream=True)
    convert_s = time.perf_counter() - started

    @njit
    def loop(hbt):
        steps, spread = 0, 0.0
        while hbt.elapse(100_000_000) == 0:
            depth = hbt.depth(0)
            spread += depth.best_ask - depth.best_bid
            steps += 1
        return steps, spread

    def asset():
        return (
            BacktestAsset()
            .data(rows)
            .linear_asset(1.0)
            .constant_order_latency(0, 0)
            .risk_adverse_queue_model()
            .no_partial_fill_exchange()
            .trading_value_fee_model(0.0, 0.0)
            .tick_size(0.1)
            .lot_size(0.001)
        )

    def timed(kind, prepared):
        best = []
        steps = 0
        for _ in range(RUNS + 1):
            hbt = kind([prepared()])
            started = time.perf_counter()
            steps, _ = loop(hbt)
            best.append(time.perf_counter() - started)
            hbt.close()
        # The first run compiles.
        best = sorted(best[1:])
        return best[0], best[RUNS // 2], steps

    n = len(rows)
    print(f"hftbacktest: {n} rows; converting from JSON took {convert_s:.2f} s ({n / convert_s / 1e6:.3f} Mrow/s)")
    events, counts = np.unique(rows["ev"] & 0xFF, return_counts=True)
    print("  rows by kind:", dict(zip(events.tolist(), counts.tolist())))
    for name, kind, prepared in [
        ("hash map depth", HashMapMarketDepthBacktest, asset),
        (
            "ROI vector depth",
            ROIVectorMarketDepthBacktest,
            lambda: asset().roi_lb(50_000.0).roi_ub(75_000.0),
        ),
    ]:
        best, median, steps = timed(kind, prepared)
        print(
            f"  {name:<17} best {best * 1e3:8.1f} ms  median {median * 1e3:8.1f} ms  "
            f"{n / best / 1e6:7.3f} and {n / median / 1e6:7.3f} Mrow/s, {steps} steps"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
