"""A plain producer beside the daemon's publisher: confluent-kafka on the same broker, at the same pace.

Ten bursts a second of so many records to one topic, keys and sizes like those of signals, idempotent, acks=all,
linger 0. Prints one line: records, then p50, p99, p99.9 and the greatest time from produce() to the
acknowledgement, ms. benches/kafka.rs runs it.

    PYTHON benches/peers/kafka_acks.py BOOTSTRAP TOPIC INSTRUMENTS SECONDS
"""

import sys
import time

from confluent_kafka import Producer

PERIOD_S = 0.1
VALUE_BYTES = 700
SETTLING_S = 1


def main() -> None:
    bootstrap, topic, instruments, seconds = sys.argv[1:]
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 0,
            "partitioner": "murmur2_random",
            "socket.nagle.disable": True,
        }
    )
    producer.list_topics(topic, timeout=30)
    value = b"x" * VALUE_BYTES
    times_ms = []

    def acknowledged(begun):
        def on_delivery(error, _):
            if error is not None:
                sys.exit(f"not delivered: {error}")
            times_ms.append((time.perf_counter() - begun) * 1e3)

        return on_delivery

    time.sleep(SETTLING_S)
    start = time.perf_counter()
    for cycle in range(int(seconds) * 10):
        for k in range(int(instruments)):
            key = f"binance-usdm:SIM{k:02}USDT"
            producer.produce(topic, value, key, on_delivery=acknowledged(time.perf_counter()))
        due = start + (cycle + 1) * PERIOD_S
        while (left := due - time.perf_counter()) > 0:
            producer.poll(min(left, 0.001) if len(producer) else left)
    producer.flush(30)
    times_ms.sort()
    at = lambda q: times_ms[min(int(q * len(times_ms)), len(times_ms) - 1)]
    print(len(times_ms), *(f"{at(q):.2f}" for q in (0.5, 0.99, 0.999, 1.0)))


if __name__ == "__main__":
    main()
