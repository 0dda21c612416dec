"""Reads a topic of signals with two clients that share no code and holds every record against the contract.

Checked of each record: key, headers, timestamp, partition (against what Java computes, murmur2_keys.txt), value (JSON:
the journal's line to the byte; Protobuf: decoded with the published schema and compared field by field), and of each
instrument: identities grow. Exits with 1 and the first violations on standard error; prints what each client read as
one line of JSON.
"""

import argparse
import decimal
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from datetime import datetime, timezone

import confluent_kafka
import kafka

# Both clients' records in one form; headers are (name, bytes) in their order.
Record = namedtuple("Record", "partition offset key value headers timestamp_ms")

# A broker that gives nothing for this long will not.
PATIENCE_S = 60

HEADERS = [
    "content-type",
    "ce_specversion",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_subject",
    "traceparent",
    "pk_epoch",
    "pk_seq",
    "pk_model",
]

# Violations that are told; the rest is counted.
MAX_TOLD = 10


def read_with_confluent_kafka(bootstrap, topic):
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "check-records",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(topic, PATIENCE_S).topics[topic].partitions
    begin = confluent_kafka.OFFSET_BEGINNING
    consumer.assign([confluent_kafka.TopicPartition(topic, number, begin) for number in partitions])
    records, waits = [], set(partitions)
    while waits:
        message = consumer.poll(PATIENCE_S)
        if message is None:
            raise SystemExit(f"confluent-kafka: {topic}: nothing for {PATIENCE_S} s")
        error = message.error()
        if error is None:
            records.append(
                Record(
                    message.partition(),
                    message.offset(),
                    message.key(),
                    message.value(),
                    message.headers() or [],
                    message.timestamp()[1],
                )
            )
        elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
            waits.discard(message.partition())
        else:
            raise SystemExit(f"confluent-kafka: {topic}: {error}")
    consumer.close()
    return len(partitions), records


def read_with_kafka_python(bootstrap, topic):
    consumer = kafka.KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise SystemExit(f"kafka-python: {topic}: no such topic")
    partitions = [kafka.TopicPartition(topic, number) for number in numbers]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    records, deadline = [], time.monotonic() + PATIENCE_S
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        if time.monotonic() > deadline:
            raise SystemExit(f"kafka-python: {topic}: not at the end after {PATIENCE_S} s")
        for batch in consumer.poll(timeout_ms=500).values():
            for r in batch:
                records.append(
                    Record(r.partition, r.offset, r.key, r.value, list(r.headers), r.timestamp)
                )
    consumer.close()
    return len(partitions), records


CLIENTS = {
    "confluent-kafka": read_with_confluent_kafka,
    "kafka-python": read_with_kafka_python,
}


def exact(text):
    """JSON without binary numbers."""
    return json.loads(text, parse_float=decimal.Decimal)


class JsonValues:
    """Values are the journal's lines; the schema names the fields that must be there, and their types."""

    content_type = "application/json"
    types = {
        "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
        "number": lambda v: isinstance(v, (int, decimal.Decimal)) and not isinstance(v, bool),
        "string": lambda v: isinstance(v, str),
        "array": lambda v: isinstance(v, list),
        "object": lambda v: isinstance(v, dict),
        "null": lambda v: v is None,
    }

    def __init__(self, schema):
        self.schema = json.loads(pathlib.Path(schema).read_text(encoding="utf-8"))

    def problems(self, value, line):
        if value != line:
            yield f"value is not the journal's line: {value!r}, expected {line!r}"
        try:
            found = exact(value)
        except ValueError as error:
            yield f"value is not JSON: {error}"
            return
        yield from self.mismatches("value", found, self.schema)

    def mismatches(self, where, value, schema):
        expected = schema["type"]
        expected = [expected] if isinstance(expected, str) else expected
        if not any(self.types[name](value) for name in expected):
            yield f"{where}: {value!r}, expected {' or '.join(expected)}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r}, expected one of {schema['enum']}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where}: {value!r}, expected {schema['pattern']}"
        if isinstance(value, dict):
            for name in schema.get("required", []):
                if name not in value:
                    yield f"{where}: no field {name}"
            for name, inner in schema.get("properties", {}).items():
                if name in value:
                    yield from self.mismatches(f"{where}.{name}", value[name], inner)
        if isinstance(value, list):
            for i, item in enumerate(value):
                yield from self.mismatches(f"{where}[{i}]", item, schema["items"])


class ProtobufValues:
    """Values are messages of the published schema that say what the journal's line says."""

    content_type = "application/protobuf"
    # JSON rounds to so many decimals, and a float has about seven digits.
    decimals = {
        "value": 6,
        "confidence": 6,
        "agreement": 4,
        "weight": 4,
        "challenger_evidence_log10": 4,
        "anomaly": 4,
    }

    def __init__(self, schema):
        schema = pathlib.Path(schema)
        with tempfile.TemporaryDirectory() as out:
            command = ["-m", "grpc_tools.protoc", "-I", schema.parent, f"--python_out={out}", schema]
            subprocess.run([sys.executable, *command], check=True)
            (made,) = pathlib.Path(out).iterdir()
            spec = importlib.util.spec_from_file_location("signal_pb2", made)
            self.module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.module)

    def problems(self, value, line):
        signal = self.module.Signal()
        try:
            signal.ParseFromString(value)
        except Exception as error:  # the library's own kind of error differs between its versions
            yield f"value is not a message: {error}"
            return
        if signal.SerializeToString() != value:
            yield "value holds something that its schema does not know"
        expected = exact(line)
        # As text in both encodings.
        mid = re.search(rb'"mid":([^,]*),', line)[1].decode()
        enums = {
            "action": (self.module.Action, "ACTION_", str.upper),
            "reason": (self.module.Reason, "REASON_", str.upper),
            "decided_by": (self.module.Decider, "DECIDER_", str.upper),
            "conformal_set": (self.module.Directions, "DIRECTIONS_", str.upper),
        }
        fields = {field.name for field in self.module.Signal.DESCRIPTOR.fields}
        told = {field.name for field, _ in signal.ListFields()}
        # What is switched off is absent in both; in Protobuf, so is what is null, empty or zero.
        if not told <= set(expected) <= fields:
            yield f"fields {sorted(told)} of {sorted(fields)}, in JSON {sorted(expected)}"
        for name, wanted in expected.items():
            found = getattr(signal, name)
            if name in enums:
                enum, prefix, spelled = enums[name]
                found, wanted = enum.Name(found), prefix + spelled(wanted)
            elif name == "mid":
                wanted = mid
            elif name == "members":
                if len(found) != len(wanted):
                    yield f"{len(found)} members, expected {len(wanted)}"
                for member, of in zip(found, wanted):
                    if member.name != of["name"]:
                        yield f"member {member.name}, expected {of['name']}"
                    for field in ("value", "weight"):
                        yield from self.float_problems(member, field, of[field])
                continue
            elif name in self.decimals:
                yield from self.float_problems(signal, name, wanted)
                continue
            if found != wanted:
                yield f"{name}: {found!r}, expected {wanted!r}"

    def float_problems(self, message, name, wanted):
        found = getattr(message, name) if message.HasField(name) else None
        if (found is None) != (wanted is None):
            yield f"{name}: {found}, expected {wanted}"
        elif found is not None:
            # Half of the last decimal, and what a float cannot say.
            if abs(found - float(wanted)) > 0.5 * 10.0 ** -self.decimals[name] + 1e-7:
                yield f"{name}: {found}, expected {wanted}"


def nanoseconds(time_text):
    """RFC 3339 in UTC with nine decimals, as ns since 1970."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", time_text)
    if match is None:
        return None
    at = datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc)
    return int(at.timestamp()) * 10**9 + int(match[2])


def read_journal(path):
    """The signals' lines by sequence."""
    lines = {}
    for line in pathlib.Path(path).read_bytes().splitlines():
        fields = exact(line)
        if fields.get("record") != "state":
            lines[fields["seq"]] = line
    return lines


def read_partitions(path, count):
    """Partition by key, as Java chooses it among so many."""
    head, *lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    column = head.split(" ").index(str(count))
    return {line.split(" ")[0]: int(line.split(" ")[column]) for line in lines}


class Check:
    def __init__(self, args, values, journal, partitions):
        self.args, self.values = args, values
        self.journal, self.partitions = journal, partitions
        self.last, self.seen, self.instruments = {}, set(), set()
        self.violations = []

    def record(self, record):
        for problem in self.problems(record):
            self.violations.append(f"partition {record.partition} offset {record.offset}: {problem}")

    def problems(self, record):
        names = [name for name, _ in record.headers]
        if names != HEADERS:
            yield f"headers {names}, expected {HEADERS}"
            return
        headers = {name: value.decode("utf-8") for name, value in record.headers}
        epoch, seq = headers["pk_epoch"], headers["pk_seq"]
        line = self.journal.get(int(seq))
        if line is None:
            yield f"signal {seq} is not in the journal"
            return
        signal = exact(line)
        made_ns = signal["ts_signal_ns"]
        key = record.key.decode("utf-8")
        trace = f"00-{int(epoch):016x}{signal['cycle']:016x}-{int(seq):016x}-01"
        expected = {
            "content-type": self.values.content_type,
            "ce_specversion": "1.0",
            "ce_id": f"{epoch}-{seq}",
            "ce_source": self.args.source,
            "ce_type": "purkinje.signal.v1",
            "ce_subject": key,
            "traceparent": trace,
            "pk_epoch": str(self.args.epoch),
            "pk_model": signal["model"],
        }
        for name, value in expected.items():
            if headers[name] != value:
                yield f"{name}: {headers[name]!r}, expected {value!r}"
        if nanoseconds(headers["ce_time"]) != made_ns:
            yield f"ce_time: {headers['ce_time']!r}, expected the time of {made_ns} ns"
        if record.timestamp_ms != made_ns // 10**6:
            yield f"timestamp {record.timestamp_ms} ms, expected that of {made_ns} ns"
        if key != signal["instrument"]:
            yield f"key {key!r}, expected {signal['instrument']!r}"
        if record.partition != self.partitions.get(key):
            yield f"{key}: Java's partition is {self.partitions.get(key)}"
        yield from self.values.problems(record.value, line)
        identity = (int(epoch), int(seq))
        if identity <= self.last.get(key, (0, 0)):
            yield f"{key}: {identity} after {self.last[key]}"
        self.last[key] = identity
        self.seen.add(int(seq))
        self.instruments.add(key)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "topic", "encoding", "schema", "journal", "keys", "source"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--epoch", required=True, type=int)
    args = parser.parse_args()
    values = {"json": JsonValues, "protobuf": ProtobufValues}[args.encoding](args.schema)
    journal = read_journal(args.journal)
    failed = False
    for client, read in CLIENTS.items():
        count, records = read(args.bootstrap, args.topic)
        check = Check(args, values, journal, read_partitions(args.keys, count))
        for record in records:
            check.record(record)
        missing = sorted(set(journal) - check.seen)
        if missing:
            check.violations.append(f"{len(missing)} of the journal's signals are missing: {missing[:5]}")
        for violation in check.violations[:MAX_TOLD]:
            print(f"{client}: {violation}", file=sys.stderr)
        if len(check.violations) > MAX_TOLD:
            print(f"{client}: {len(check.violations) - MAX_TOLD} more", file=sys.stderr)
        failed |= bool(check.violations)
        print(
            json.dumps(
                {
                    "client": client,
                    "partitions": count,
                    "records": len(records),
                    "instruments": len(check.instruments),
                }
            )
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
