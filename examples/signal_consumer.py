#!/usr/bin/env python3
"""Reads purkinje's signals as a trading system should: drops what the drop rule drops, refuses what has
expired, and says how old everything was.

    pip install confluent-kafka
    python3 signal_consumer.py localhost:9092 [--prefix purkinje] [--fenced]

Signals in JSON need nothing else. Signals in Protobuf need the generated classes beside this file:

    pip install protobuf
    purkinje kafka schema proto > signal_v1.proto && protoc --python_out=. signal_v1.proto
"""

import argparse
import decimal
import json
import signal
import sys
import time
from collections import Counter

from confluent_kafka import Consumer, KafkaError

MAX_INSTRUMENTS = 16 * 1024


class DropRule:
    """Per instrument, a signal counts only if its (epoch, seq) is greater than that of the last one that
    counted: the producer may repeat signals, and an owner that lost its place may still be sending."""

    def __init__(self):
        self.last = {}

    def refuses(self, instrument, identity):
        """Why the signal does not count, or None: then it does, and is the last one now."""
        last = self.last.get(instrument)
        if last is None and len(self.last) >= MAX_INSTRUMENTS:
            return f"more than {MAX_INSTRUMENTS} instruments"
        if last is not None and identity <= last:
            return f"not after {last[0]}-{last[1]}"
        self.last[instrument] = identity
        return None


def decode_json(value):
    # A price is a decimal number; a binary one would change it.
    return json.loads(value, parse_float=decimal.Decimal)


def decode_protobuf(value):
    import signal_v1_pb2  # generated, see above

    message = signal_v1_pb2.Signal.FromString(value)
    actions = {1: "BUY", 2: "SELL", 3: "HOLD"}
    return {
        "instrument": message.instrument,
        # An action of a later version is not understood, so nothing is done.
        "action": actions.get(message.action, "HOLD"),
        "mid": decimal.Decimal(message.mid),
        # Absent is no number, not zero.
        "confidence": message.confidence if message.HasField("confidence") else None,
        "ttl_ms": message.ttl_ms,
        "ts_signal_ns": message.ts_signal_ns,
    }


DECODERS = {"application/json": decode_json, "application/protobuf": decode_protobuf}


def read(record):
    """(epoch, seq) and fields of a record, or an exception that says what it lacks."""
    headers = {name: (value or b"").decode() for name, value in record.headers() or []}
    identity = (int(headers["pk_epoch"]), int(headers["pk_seq"]))
    content_type = headers["content-type"].split(";")[0].strip().lower()
    return identity, DECODERS[content_type](record.value())


def obey(record, rule):
    """What becomes of a record, and the line to print about it."""
    try:
        identity, fields = read(record)
        instrument, ttl_ms = fields["instrument"], fields["ttl_ms"]
        made_ns = fields["ts_signal_ns"]
        action, mid, confidence = fields["action"], fields["mid"], fields["confidence"]
    except ImportError:
        raise  # the generated classes are missing: not the record's fault
    except Exception as error:  # one bad record must not stop the others
        return "not signals", f"{record.partition()}@{record.offset()} is no signal: {error!r}"
    # Only as good as the agreement of the two hosts' clocks.
    age_ms = (time.time_ns() - made_ns) / 1e6
    name = f"{instrument} {identity[0]}-{identity[1]} age {age_ms:.1f} ms"
    # The rule comes before the clock: an expired signal, too, outdates all that were made before it.
    why = rule.refuses(instrument, identity)
    if why:
        return "dropped", f"{name} dropped: {why}"
    if age_ms > ttl_ms:
        return "expired", f"{name} expired: its time to live was {ttl_ms} ms"
    shown = "-" if confidence is None else f"{confidence:.3f}"
    return "obeyed", f"{name} {action} at {mid} confidence {shown}"


def main():
    parser = argparse.ArgumentParser(description="Consume purkinje's signals.")
    parser.add_argument("brokers", help="bootstrap servers")
    parser.add_argument("--prefix", default="purkinje", help="kafka.topic_prefix of the daemon")
    parser.add_argument("--fenced", action="store_true", help="wait for the daemon's transactions")
    parser.add_argument("--group", default="signal-consumer", help="consumers of one group share")
    args = parser.parse_args()

    consumer = Consumer({
        "bootstrap.servers": args.brokers,
        "group.id": args.group,
        # Old signals are no use: begin with what comes next.
        "auto.offset.reset": "latest",
        "isolation.level": "read_committed" if args.fenced else "read_uncommitted",
        # After the loss of a broker, try again soon.
        "reconnect.backoff.max.ms": 1000,
    })
    consumer.subscribe([f"{args.prefix}.signals.v1"])

    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))

    # Kept in memory: after a restart, signals that are repeated could count again, but only for as long
    # as they live. Who cannot bear that stores the rule's places with what was done.
    rule, counts = DropRule(), Counter()
    try:
        while not stopped:
            record = consumer.poll(0.1)
            if record is None:
                continue
            if error := record.error():
                # The client reconnects by itself; only what it calls fatal ends it.
                print(error.str(), file=sys.stderr)
                if error.code() == KafkaError._FATAL:
                    return 1
                continue
            outcome, line = obey(record, rule)
            counts[outcome] += 1
            print(line, flush=True)
    finally:
        consumer.close()
        order = ("obeyed", "dropped", "expired", "not signals")
        print(", ".join(f"{counts[name]} {name}" for name in order), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
