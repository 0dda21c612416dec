//! Records of the status and the health topic: what they say, as their schemas in `signals/schema` have it.

use purkinje_feeds::status::StatusEvent;
use serde_json::{Map, Value, json};

use super::{
    outcome::{KafkaCounts, Outcome},
    overflow::ExpiredRange,
};
use crate::pipeline::live_stats::LiveStats;

/// What a publishing thread has to tell.
#[derive(Clone, Debug)]
pub enum Note {
    /// Trading was halted or resumed.
    State {
        /// The first cycle it holds for.
        cycle: u64,
        /// That cycle's boundary, ns.
        ts_cycle_ns: i64,
        /// Halted or running.
        halted: bool,
    },
    /// Signals carry this epoch from now on.
    EpochBegan {
        /// The epoch.
        epoch: u64,
        /// Why.
        why: String,
    },
    /// No signal will be made with this epoch any more.
    EpochEnded {
        /// The epoch.
        epoch: u64,
    },
    /// Signals whose time ended before they could be sent.
    Expired(ExpiredRange),
    /// A command from the control topic, and what became of it.
    Command {
        /// As it came.
        command: String,
        /// The sender's name for it.
        id: String,
        /// `obeyed`, or why not.
        result: String,
    },
    /// Something is wrong with the publishing itself.
    Trouble {
        /// What.
        what: String,
    },
}

/// The key and the record of something that happened to a connection, a topic or a book. `keys` are `venue:symbol` by instrument.
#[must_use]
pub fn event_record(event: &StatusEvent, keys: &[String]) -> (String, Value) {
    let StatusEvent { ts_ns, connection, instrument, what } = event;
    let instrument = instrument.and_then(|id| keys.get(id.index())).cloned();
    let key = instrument.clone().unwrap_or_else(|| format!("connection-{connection}"));
    let record = json!({
        "record": "feed", "ts_ns": ts_ns, "connection": connection, "instrument": instrument,
        "kind": what.name(), "what": what.to_string(),
    });
    (key, record)
}

/// The record of a note, told at `ts_ns`.
#[must_use]
pub fn note_record(note: &Note, ts_ns: i64) -> Value {
    match note {
        Note::State { cycle, ts_cycle_ns, halted } => json!({
            "record": "state", "ts_ns": ts_ns, "cycle": cycle, "ts_cycle_ns": ts_cycle_ns,
            "state": if *halted { "halted" } else { "running" },
        }),
        Note::EpochBegan { epoch, why } => {
            json!({ "record": "epoch_began", "ts_ns": ts_ns, "epoch": epoch, "why": why })
        }
        Note::EpochEnded { epoch } => {
            json!({ "record": "epoch_ended", "ts_ns": ts_ns, "epoch": epoch })
        }
        Note::Expired(ExpiredRange { count, first, last }) => json!({
            "record": "expired", "ts_ns": ts_ns, "count": count,
            "first_epoch": first.epoch, "first_seq": first.seq,
            "last_epoch": last.epoch, "last_seq": last.seq,
        }),
        Note::Command { command, id, result } => json!({
            "record": "command", "ts_ns": ts_ns, "command": command, "id": id, "result": result,
        }),
        Note::Trouble { what } => json!({ "record": "trouble", "ts_ns": ts_ns, "what": what }),
    }
}

/// How the daemon is at `ts_ns`.
#[must_use]
pub fn health_record(stats: &LiveStats, counts: &KafkaCounts, ts_ns: i64) -> Value {
    let s = stats.snapshot();
    let not_ready = stats.not_ready();
    let kafka = counts.outcome();
    let outcomes: Map<_, _> = Outcome::ALL
        .iter()
        .map(|outcome| (outcome.name().to_owned(), kafka.of(*outcome).into()))
        .collect();
    json!({
        "ts_ns": ts_ns, "is_ready": not_ready.is_none(), "not_ready": not_ready,
        "halted": s.halted, "cycles": s.cycles, "missed_cycles": s.missed, "events": s.events,
        "conflated": s.conflated, "desyncs": s.desyncs, "ready": s.ready,
        "stale_topics": s.stale_topics, "epoch": kafka.epoch, "signals": kafka.offered,
        "outcomes": outcomes, "spilled": kafka.spilled, "broker_losses": kafka.losses,
        "producer_rebuilds": kafka.rebuilds,
    })
}

#[cfg(test)]
mod tests {
    use purkinje_feeds::{InstrumentId, status::Status};

    use super::*;
    use crate::signals::{
        kafka::contract::Identity,
        schema::{HEALTH_JSON, STATUS_JSON},
    };

    fn assert_valid(schema: &str, record: &Value) {
        let schema: Value = serde_json::from_str(schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        if let Err(error) = validator.validate(record) {
            panic!("{record}: {error}");
        }
        // What the schema asks for is asked for: without any one of the record's fields it is refused, or
        // the field is one that only adds.
        let fields = record.as_object().unwrap();
        for field in fields.keys() {
            let mut torn = fields.clone();
            torn.remove(field);
            assert!(!validator.is_valid(&Value::Object(torn)), "{field} may be missing");
        }
    }

    #[test]
    fn every_kind_of_record_is_what_its_schema_says() {
        let identity = |seq| Identity { epoch: 7, seq };
        let range = ExpiredRange { count: 3, first: identity(1), last: identity(3) };
        let (command, id) = ("halt".to_owned(), "desk-1".to_owned());
        let notes = [
            Note::State { cycle: 4, ts_cycle_ns: 5, halted: true },
            Note::EpochBegan { epoch: 7, why: "the daemon started".into() },
            Note::EpochEnded { epoch: 7 },
            Note::Expired(range),
            Note::Command { command, id, result: "obeyed".into() },
            Note::Trouble { what: "the disk is full".into() },
        ];
        for note in &notes {
            assert_valid(STATUS_JSON, &note_record(note, 9));
        }
        assert_valid(
            HEALTH_JSON,
            &health_record(&LiveStats::default(), &KafkaCounts::default(), 9),
        );
    }

    #[test]
    fn an_event_is_keyed_by_its_instrument_or_its_connection() {
        let keys = ["venue:A".to_owned()];
        let what = Status::Exhausted { attempts: 2 };
        let event = StatusEvent { ts_ns: 1, connection: 3, instrument: None, what };
        let (key, record) = event_record(&event, &keys);
        assert_eq!(key, "connection-3");
        assert_valid(STATUS_JSON, &record);
        let event = StatusEvent { instrument: Some(InstrumentId(0)), ..event };
        let (key, record) = event_record(&event, &keys);
        assert_eq!((key.as_str(), &record["instrument"]), ("venue:A", &json!("venue:A")));
        assert_valid(STATUS_JSON, &record);
    }
}
