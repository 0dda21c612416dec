//! A signal as one JSON line, written into a fixed buffer without allocating.
//!
//! The last field is the emit time, so that everything before it can be hashed as it stands.

use std::{
    io::{Cursor, Write},
    sync::Arc,
};

use purkinje_feeds::InstrumentTable;

use super::{Signal, run_constants::RunConstants};

/// Longest encoded line, without newline.
pub const MAX_LINE_BYTES: usize = 2048;

/// Writes signals as JSON.
#[derive(Clone, Debug)]
pub struct Encoder {
    run: Arc<RunConstants>,
}

/// A number as JSON has it: what is not finite is null.
struct Json(f32);

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_finite() { self.0.fmt(f) } else { f.write_str("null") }
    }
}

/// An encoded line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The whole line, without newline.
    pub bytes: &'a [u8],
    /// The part that the stream's hash covers.
    pub hashed: &'a [u8],
}

impl From<Arc<RunConstants>> for Encoder {
    fn from(run: Arc<RunConstants>) -> Self {
        Self { run }
    }
}

impl Encoder {
    /// Prepares the constant parts.
    #[must_use]
    pub fn new(
        table: &InstrumentTable,
        member_names: &[impl AsRef<str>],
        horizon_ms: u32,
        ttl_ms: u32,
        model: &str,
    ) -> Self {
        let run = RunConstants::new(table, member_names, horizon_ms, ttl_ms, model);
        Self { run: Arc::new(run) }
    }

    /// The constant parts, for other encoders of the same run.
    #[must_use]
    pub fn run_constants(&self) -> &Arc<RunConstants> {
        &self.run
    }

    /// `venue:symbol` of the signal's instrument.
    #[must_use]
    pub fn key(&self, signal: &Signal) -> &str {
        self.run.key(signal)
    }

    /// Encodes one signal into `buffer`; `None` only if it does not fit, which a line whose names
    /// are bounded as configuration bounds them always does.
    pub fn line<'a>(&self, s: &Signal, buffer: &'a mut [u8; MAX_LINE_BYTES]) -> Option<Line<'a>> {
        let mut out = Cursor::new(&mut buffer[..]);
        let hashed = self.write(s, &mut out).ok()?;
        let len = out.position() as usize;
        Some(Line { bytes: &buffer[..len], hashed: &buffer[..hashed] })
    }

    fn write(&self, s: &Signal, out: &mut Cursor<&mut [u8]>) -> std::io::Result<usize> {
        let run = &*self.run;
        write!(
            out,
            "{{\"seq\":{},\"cycle\":{},\"instrument\":\"{}\",\"action\":\"{}\",\"reason\":\"{}\",\
             \"mid\":{},\"value\":{:.6},\"confidence\":{:.6},\"agreement\":{:.4},\"horizon_ms\":{},\"ttl_ms\":{},\
             \"members\":[",
            s.seq,
            s.cycle,
            run.key(s),
            s.action.name(),
            s.reason.name(),
            run.mid(s),
            Json(s.value),
            Json(s.confidence),
            Json(s.agreement),
            run.horizon_ms(),
            run.ttl_ms(),
        )?;
        for (i, (name, m)) in run.members(s).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(
                out,
                "{comma}{{\"name\":\"{name}\",\"value\":{:.6},\"weight\":{:.4}}}",
                Json(m.value),
                Json(m.weight)
            )?;
        }
        out.write_all(b"]")?;
        if let Some(by) = s.decided_by {
            write!(out, ",\"decided_by\":\"{}\"", by.name())?;
        }
        if s.challenger_evidence_log10.is_finite() {
            write!(out, ",\"challenger_evidence_log10\":{:.4}", s.challenger_evidence_log10)?;
        }
        if let Some(set) = s.conformal_set {
            write!(out, ",\"conformal_set\":\"{}\"", set.name())?;
        }
        if s.anomaly.is_finite() {
            write!(out, ",\"anomaly\":{:.4}", s.anomaly)?;
        }
        write!(
            out,
            ",\"model\":\"{}\",\"ts_venue_ns\":{},\"ts_recv_ns\":{},\"ts_cycle_ns\":{}",
            run.model(),
            s.ts_venue_ns,
            s.ts_recv_ns,
            s.ts_cycle_ns
        )?;
        let hashed = out.position() as usize;
        write!(out, ",\"ts_signal_ns\":{}}}", s.ts_signal_ns)?;
        Ok(hashed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::{Action, ConformalSet, DecidedBy, MAX_MEMBERS, MemberView, Reason};
    use purkinje_feeds::{Instrument, InstrumentId, Venue};

    fn sample() -> (Encoder, Signal) {
        let table = InstrumentTable::new(vec![Instrument {
            venue: Venue::BinanceUsdm,
            symbol: "SIMA".into(),
            price_decimals: 8,
            qty_decimals: 8,
        }])
        .unwrap();
        let mut members = [MemberView { value: f32::NAN, weight: 0.0 }; MAX_MEMBERS];
        members[0] = MemberView { value: 0.75, weight: 0.5 };
        let signal = Signal {
            seq: 7,
            cycle: 9,
            instrument: InstrumentId(0),
            action: Action::Buy,
            reason: Reason::ThresholdMet,
            value: 0.75,
            confidence: 0.8,
            mid_x2: 2 * 6_180_000_000_000 + 1,
            agreement: 1.0,
            decided_by: None,
            challenger_evidence_log10: f32::NAN,
            conformal_set: None,
            anomaly: f32::NAN,
            ts_venue_ns: 1,
            ts_recv_ns: 2,
            ts_cycle_ns: 3,
            ts_signal_ns: 4,
            recv_mono_ns: 5,
            made_mono_ns: 6,
            members,
            member_count: 2,
        };
        (Encoder::new(&table, &["cerebellum", "logistic"], 1000, 5000, "abcd"), signal)
    }

    #[test]
    fn a_line_is_json_and_only_the_emit_time_is_outside_the_hash() {
        let (encoder, mut signal) = sample();
        let (mut a, mut b) = ([0; MAX_LINE_BYTES], [0; MAX_LINE_BYTES]);
        let first = encoder.line(&signal, &mut a).unwrap();
        let json: serde_json::Value = serde_json::from_slice(first.bytes).unwrap();
        assert_eq!(json["instrument"], "binance-usdm:SIMA");
        assert_eq!(json["action"], "BUY");
        assert!(std::str::from_utf8(first.bytes).unwrap().contains("\"mid\":61800.000000005,"));
        assert_eq!(json["members"][0]["name"], "cerebellum");
        assert!(json["members"][1]["value"].is_null());
        assert_eq!(json["ts_signal_ns"], 4);
        signal.ts_signal_ns = 99;
        let second = encoder.line(&signal, &mut b).unwrap();
        assert_eq!(first.hashed, second.hashed);
        assert_ne!(first.bytes, second.bytes);
    }

    #[test]
    fn what_is_switched_off_is_absent_and_what_is_on_is_there() {
        let (encoder, mut signal) = sample();
        let mut buffer = [0; MAX_LINE_BYTES];
        let mut json = |signal: &Signal| -> serde_json::Value {
            serde_json::from_slice(encoder.line(signal, &mut buffer).unwrap().bytes).unwrap()
        };
        let names = ["decided_by", "challenger_evidence_log10", "conformal_set", "anomaly"];
        let off = json(&signal);
        assert!(names.iter().all(|name| off.get(name).is_none()), "{off}");
        signal.decided_by = Some(DecidedBy::Challenger);
        signal.challenger_evidence_log10 = -0.25;
        signal.conformal_set = Some(ConformalSet { up: false, down: false });
        signal.anomaly = 2.5;
        let on = json(&signal);
        let expected = serde_json::json!(["challenger", -0.25, "none", 2.5]);
        assert_eq!(serde_json::json!(names.map(|name| on[name].clone())), expected);
    }

    #[test]
    fn what_is_not_a_number_is_null_and_the_line_stays_json() {
        let (encoder, mut signal) = sample();
        (signal.value, signal.confidence, signal.agreement) = (f32::NAN, f32::INFINITY, f32::NAN);
        let mut buffer = [0; MAX_LINE_BYTES];
        let line = encoder.line(&signal, &mut buffer).unwrap();
        let json: serde_json::Value = serde_json::from_slice(line.bytes).unwrap();
        assert!(["value", "confidence", "agreement"].iter().all(|key| json[key].is_null()));
    }

    #[test]
    fn the_widest_signal_fits() {
        let (_, mut signal) = sample();
        let table = InstrumentTable::new(vec![Instrument {
            venue: Venue::BinanceCoinm,
            symbol: "S".repeat(64),
            price_decimals: 8,
            qty_decimals: 8,
        }])
        .unwrap();
        let name = "n".repeat(32);
        let names = [name.as_str(); MAX_MEMBERS];
        let encoder = Encoder::new(&table, &names, u32::MAX, u32::MAX, &"f".repeat(64));
        signal.seq = u64::MAX;
        signal.cycle = u64::MAX;
        for t in [&mut signal.ts_venue_ns, &mut signal.ts_recv_ns, &mut signal.ts_cycle_ns] {
            *t = i64::MIN;
        }
        signal.ts_signal_ns = i64::MIN;
        signal.decided_by = Some(DecidedBy::Challenger);
        signal.challenger_evidence_log10 = -12.3456;
        signal.conformal_set = Some(ConformalSet { up: true, down: true });
        signal.anomaly = 1e6;
        assert!(encoder.line(&signal, &mut [0; MAX_LINE_BYTES]).is_some());
    }
}
