//! What the dashboard is sent: a greeting with all that stays, frames with what moves, a summary once a second, the
//! book that is looked at.
//!
//! Invariants: a frame is made at most once a cycle and [`super::server::TICK`], however many watch; its size is
//! bounded by the instruments and members there are.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use purkinje_feeds::{Instrument, InstrumentId, Side};
use serde_json::{Value, json};

use super::{
    heat::{COLUMNS, Column},
    hub::event,
    watch::Watch,
};
use crate::{
    clock::wall_ns,
    pipeline::live_histogram::{BUCKETS, upper_ns},
};

/// What stays the same, and the last two minutes of latency.
#[must_use]
pub fn hello(watch: &Watch, title: &str, period_ms: u32, has_token: bool) -> Bytes {
    let instruments: Vec<Value> = watch
        .table()
        .iter()
        .map(|(_, i)| json!({ "key": i.key(), "symbol": i.symbol, "venue": i.venue.name() }))
        .collect();
    let bounds: Vec<Option<u64>> = (0..BUCKETS).map(upper_ns).collect();
    let heat: BTreeMap<_, _> = watch.heat().columns().collect();
    let run = watch.run();
    let greeting = json!({
        "version": env!("CARGO_PKG_VERSION"), "title": title, "model": run.model(),
        "instruments": instruments, "members": run.member_names(), "period_ms": period_ms,
        "horizon_ms": run.horizon_ms(), "ttl_ms": run.ttl_ms(), "has_token": has_token,
        "bounds_ns": bounds, "seconds": COLUMNS, "heat": heat,
    });
    event("hello", None, &greeting.to_string())
}

/// What moves: the newest signals, weights, firing rates.
#[must_use]
pub fn frame(watch: &Watch) -> Bytes {
    let (now_ns, live, not_ready) = (wall_ns(), watch.stats().snapshot(), watch.not_ready());
    let run = watch.run();
    let ms = |ns: i64| (ns as f64 / 1e5).round() / 10.0;
    let share = |x: f32| x.is_finite().then(|| (f64::from(x) * 1e4).round() / 1e4);
    let signals: Vec<Value> = watch
        .newest()
        .iter()
        .map(|signal| {
            let Some(s) = signal else { return Value::Null };
            let members: Vec<_> = run.members(s).map(|(_, m)| share(m.value)).collect();
            let age_ms = (s.ts_recv_ns != 0).then(|| ms(now_ns.saturating_sub(s.ts_recv_ns)));
            json!({
                "action": s.action.name(), "reason": s.reason.name(), "value": share(s.value),
                "confidence": share(s.confidence), "agreement": share(s.agreement),
                "mid": (s.mid_x2 != 0).then(|| run.mid(s).to_string()), "age_ms": age_ms,
                "members": members,
            })
        })
        .collect();
    let firing = watch
        .model()
        .and_then(|view| view.rates)
        .map(|r| [r.mossy_hz, r.granule_hz, r.golgi_hz, r.purkinje_hz, r.nuclear_hz].map(share));
    let weights: Option<Vec<_>> = watch.weights().map(|all| all.into_iter().map(share).collect());
    let frame = json!({
        "ts_ns": now_ns, "halted": live.halted, "not_ready": not_ready, "cycles": live.cycles,
        "missed": live.missed, "events": live.events, "ready": live.ready, "signals": signals,
        "weights": weights, "firing_hz": firing,
    });
    event("frame", None, &frame.to_string())
}

/// What moves slowly: feeds, sinks, skill, the last second of latency.
#[must_use]
pub fn summary(watch: &Watch) -> Bytes {
    let heat: BTreeMap<&str, &Column> = watch.heat().newest().collect();
    let (skill, window) = watch.skills();
    let books: Vec<_> =
        watch.instruments().iter().map(|i| json!({ "book": i.book, "topics": i.topics })).collect();
    let view = watch.model();
    let summary = json!({
        "feeds": watch.feeds(), "books": books, "sinks": watch.sinks(), "skill": skill,
        "skill_window_s": window.as_secs(), "latency": watch.latency(), "heat": heat,
        "backend": watch.stats().backend.place(),
        "overruns": view.map_or(0, |view| view.overruns),
    });
    event("summary", None, &summary.to_string())
}

/// The best levels of an instrument; `None` where there is no such instrument or none are known yet.
#[must_use]
pub fn book(watch: &Watch, instrument: usize) -> Option<Bytes> {
    let ladder = watch.ladder(instrument)?;
    let scale = watch.table().get(InstrumentId(instrument as u16));
    let Instrument { price_decimals, qty_decimals, .. } = scale;
    let side = |side| -> Vec<[String; 2]> {
        let levels = ladder.side(side).iter();
        levels.map(|l| [decimal(l.price, *price_decimals), decimal(l.qty, *qty_decimals)]).collect()
    };
    let book = json!({
        "instrument": instrument, "cycle": ladder.cycle, "is_verified": ladder.is_verified,
        "bids": side(Side::Bid), "asks": side(Side::Ask),
    });
    Some(event("book", None, &book.to_string()))
}

/// A mantissa as an exact decimal number.
fn decimal(mantissa: i64, decimals: u8) -> String {
    let digits = format!("{:0width$}", mantissa.unsigned_abs(), width = usize::from(decimals) + 1);
    let (whole, part) = digits.split_at(digits.len() - usize::from(decimals));
    let sign = if mantissa < 0 { "-" } else { "" };
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mantissa_is_shown_with_all_its_decimals() {
        let table = [
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-12345, 3, "-12.345"),
            (7, 0, "7"),
            (1_000, 3, "1.000"),
        ];
        for (mantissa, decimals, expected) in table {
            assert_eq!(decimal(mantissa, decimals), expected);
        }
        assert_eq!(decimal(i64::MIN, 8), "-92233720368.54775808");
    }
}
