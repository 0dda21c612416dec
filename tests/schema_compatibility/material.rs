//! Signals to encode, what they mean, and the revisions of the schemas that have been published.

use std::{fmt::Write as _, fs, path::PathBuf, sync::Arc};

use proptest::prelude::*;
use purkinje::signals::{
    Action, ConformalSet, DecidedBy, MAX_MEMBERS, MemberView, Reason, Signal,
    encode::{Encoder, MAX_LINE_BYTES},
    protobuf::ProtobufEncoder,
    received::ReceivedSignal,
};
use purkinje_feeds::{Instrument, InstrumentId, InstrumentTable, Venue};

/// Encoders of a run over three instruments of different scales.
pub(crate) fn encoders() -> (Encoder, ProtobufEncoder) {
    let instrument = |venue, symbol: &str, price_decimals| Instrument {
        venue,
        symbol: symbol.to_owned(),
        price_decimals,
        qty_decimals: 3,
    };
    let table = InstrumentTable::new(vec![
        instrument(Venue::BinanceUsdm, "BTCUSDT", 2),
        instrument(Venue::Kraken, "BTC/USD", 0),
        instrument(Venue::CmeGlobex, "ESZ6-ESH7", 15),
    ])
    .unwrap();
    let members = ["cerebellum", "logistic"];
    let json = Encoder::new(&table, &members, 1_000, 5_000, "0123456789abcdef");
    let protobuf = ProtobufEncoder::new(Arc::clone(json.run_constants()));
    (json, protobuf)
}

/// A signal in both encodings.
pub(crate) fn encoded(
    signal: &Signal,
    (json, protobuf): &mut (Encoder, ProtobufEncoder),
) -> (String, Vec<u8>) {
    let (mut line, mut message) = ([0; MAX_LINE_BYTES], [0; MAX_LINE_BYTES]);
    let line = json.line(signal, &mut line).unwrap().bytes.to_vec();
    let message = protobuf.message(signal, &mut message).unwrap().to_vec();
    (String::from_utf8(line).unwrap(), message)
}

/// Any signal of the three instruments, sensible or not.
pub(crate) fn any_signal() -> impl Strategy<Value = Signal> {
    let action = prop_oneof![Just(Action::Buy), Just(Action::Sell), Just(Action::Hold)];
    let member =
        (any::<f32>(), any::<f32>()).prop_map(|(value, weight)| MemberView { value, weight });
    let what = (0..3u16, action, 0..Reason::ALL.len(), any::<i64>());
    let numbers = (any::<f32>(), any::<f32>(), any::<f32>(), prop::array::uniform2(member));
    let times = prop::array::uniform4(any::<i64>());
    let options = (
        prop::option::of(prop::sample::select(DecidedBy::ALL.to_vec())),
        prop::option::of(prop::sample::select(ConformalSet::ALL.to_vec())),
        any::<f32>(),
        prop_oneof![Just(f32::NAN), 0.0..=1e6f32],
    );
    let all = (any::<[u64; 2]>(), what, numbers, times, options);
    all.prop_map(|(counts, what, numbers, times, options)| {
        let (decided_by, conformal_set, challenger_evidence_log10, anomaly) = options;
        let (value, confidence, agreement, [first, second]) = numbers;
        let mut members = [MemberView { value: f32::NAN, weight: 0.0 }; MAX_MEMBERS];
        (members[0], members[1]) = (first, second);
        Signal {
            seq: counts[0],
            cycle: counts[1],
            instrument: InstrumentId(what.0),
            action: what.1,
            reason: Reason::ALL[what.2],
            value,
            confidence,
            mid_x2: what.3,
            agreement,
            decided_by,
            challenger_evidence_log10,
            conformal_set,
            anomaly,
            ts_venue_ns: times[0],
            ts_recv_ns: times[1],
            ts_cycle_ns: times[2],
            ts_signal_ns: times[3],
            recv_mono_ns: 0,
            made_mono_ns: 0,
            members,
            member_count: 2,
        }
    })
}

/// What is published with each revision of the schemas.
pub(crate) fn samples() -> [(&'static str, Signal); 5] {
    let mut members = [MemberView { value: f32::NAN, weight: 0.0 }; MAX_MEMBERS];
    members[0] = MemberView { value: 0.8125, weight: 0.75 };
    members[1].weight = 0.25;
    let buy = Signal {
        seq: 7,
        cycle: 9,
        instrument: InstrumentId(0),
        action: Action::Buy,
        reason: Reason::ThresholdMet,
        value: 0.75,
        confidence: 0.8,
        mid_x2: 12_360_001,
        agreement: 1.0,
        decided_by: None,
        challenger_evidence_log10: f32::NAN,
        conformal_set: None,
        anomaly: f32::NAN,
        ts_venue_ns: 1_763_750_726_000_000_001,
        ts_recv_ns: 1_763_750_726_000_500_002,
        ts_cycle_ns: 1_763_750_726_100_000_000,
        ts_signal_ns: 1_763_750_726_100_040_003,
        recv_mono_ns: 0,
        made_mono_ns: 0,
        members,
        member_count: 2,
    };
    let no_forecast = Signal {
        seq: 8,
        instrument: InstrumentId(1),
        action: Action::Hold,
        reason: Reason::NoForecast,
        value: f32::NAN,
        confidence: f32::NAN,
        agreement: f32::NAN,
        mid_x2: 0,
        ts_venue_ns: 0,
        members: [MemberView { value: f32::NAN, weight: 0.0 }; MAX_MEMBERS],
        ..buy
    };
    let extremes = Signal {
        seq: u64::MAX,
        cycle: u64::MAX,
        instrument: InstrumentId(2),
        action: Action::Sell,
        value: 0.0,
        confidence: 1.0,
        agreement: 0.0,
        mid_x2: i64::MIN,
        ts_venue_ns: i64::MIN,
        ts_recv_ns: -1,
        ts_cycle_ns: 0,
        ts_signal_ns: i64::MAX,
        ..buy
    };
    let by_challenger = Signal {
        decided_by: Some(DecidedBy::Challenger),
        challenger_evidence_log10: -0.3125,
        conformal_set: Some(ConformalSet { up: true, down: false }),
        anomaly: 0.5,
        ..buy
    };
    let abstained = Signal {
        action: Action::Hold,
        reason: Reason::Abstained,
        confidence: 0.625,
        decided_by: Some(DecidedBy::Combiner),
        challenger_evidence_log10: 1.75,
        conformal_set: Some(ConformalSet { up: true, down: true }),
        anomaly: 2.5,
        ..buy
    };
    [
        ("buy", buy),
        ("buy-by-challenger", by_challenger),
        ("hold-abstained", abstained),
        ("hold-no-forecast", no_forecast),
        ("sell-extremes", extremes),
    ]
}

/// What a signal says, one fact a line. Probabilities are rounded as JSON rounds them.
pub(crate) fn meaning(signal: &ReceivedSignal) -> String {
    let number = |n: Option<f64>, decimals: usize| {
        n.map_or_else(|| "none".to_owned(), |n| format!("{n:.decimals$}"))
    };
    let mut text = String::new();
    let mut fact = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{name} {value}").unwrap();
    };
    fact("seq", &signal.seq);
    fact("cycle", &signal.cycle);
    fact("instrument", &signal.instrument);
    fact("action", &signal.action.map_or("none", Action::name));
    fact("reason", &signal.reason.map_or("none", Reason::name));
    fact("mid", &signal.mid.get());
    fact("value", &number(signal.value, 6));
    fact("confidence", &number(signal.confidence, 6));
    fact("agreement", &number(signal.agreement, 4));
    fact("horizon_ms", &signal.horizon_ms);
    fact("ttl_ms", &signal.ttl_ms);
    for member in &signal.members {
        let said = format!("{} {}", number(member.value, 6), number(member.weight, 4));
        fact(&format!("member {}", member.name), &said);
    }
    if let Some(by) = signal.decided_by {
        fact("decided_by", &by.name());
    }
    if signal.challenger_evidence_log10.is_some() {
        fact("challenger_evidence_log10", &number(signal.challenger_evidence_log10, 4));
    }
    if let Some(set) = signal.conformal_set {
        fact("conformal_set", &set.name());
    }
    if signal.anomaly.is_some() {
        fact("anomaly", &number(signal.anomaly, 4));
    }
    fact("model", &signal.model);
    fact("ts_venue_ns", &signal.ts_venue_ns);
    fact("ts_recv_ns", &signal.ts_recv_ns);
    fact("ts_cycle_ns", &signal.ts_cycle_ns);
    fact("ts_signal_ns", &signal.ts_signal_ns);
    text
}

/// A published revision.
pub(crate) struct Revision {
    /// `MAJOR.MINOR`; all of one major version are compatible.
    pub(crate) name: String,
    pub(crate) json: String,
    pub(crate) proto: String,
    pub(crate) samples: Vec<Sample>,
}

/// A published signal.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) json: String,
    pub(crate) protobuf: Vec<u8>,
    /// Facts about it, checked by a person.
    pub(crate) meaning: String,
}

/// Where revisions are.
pub(crate) fn published_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/signals/schema/published")
}

/// All revisions, oldest first.
pub(crate) fn published() -> Vec<Revision> {
    let minor = |name: &str| name.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
    let mut names: Vec<String> = fs::read_dir(published_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_by_key(|name| minor(name).unwrap());
    assert!(!names.is_empty(), "nothing is published");
    names.into_iter().map(revision).collect()
}

fn revision(name: String) -> Revision {
    let dir = published_dir().join(&name);
    let text = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    let mut samples = Vec::new();
    for entry in fs::read_dir(dir.join("samples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            samples.push(Sample {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                json: fs::read_to_string(&path).unwrap(),
                protobuf: fs::read(path.with_extension("pb")).unwrap(),
                meaning: fs::read_to_string(path.with_extension("txt")).unwrap(),
            });
        }
    }
    assert!(!samples.is_empty(), "{name} has no samples");
    Revision { json: text("signal.v1.json"), proto: text("signal.v1.proto"), name, samples }
}
