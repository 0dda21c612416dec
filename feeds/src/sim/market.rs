//! The whole simulated market: its instruments' events merged in time order, rendered as frames.
//!
//! Invariants: a pure function of configuration and start time (on one platform: `exp` and `ln`
//! come from its mathematics library); frames come in order of time, those of one event in the
//! order a venue sends them; no allocation after construction.

use super::config::{MarketConfig, MarketError};
use super::instrument::SimInstrument;
use super::oracle::Oracle;
use super::wire::{self, Outbox, SimFrame};
use crate::Instrument;

/// A running simulated market.
#[derive(Clone, Debug)]
pub struct Market {
    instruments: Vec<SimInstrument>,
    oracle: Oracle,
    outbox: Outbox,
    now_ns: i64,
}

impl Market {
    /// A market whose time starts at `start_ns` (ns since the epoch, UTC).
    ///
    /// # Errors
    /// The first value of the configuration that is out of range.
    pub fn new(config: &MarketConfig, start_ns: i64) -> Result<Self, MarketError> {
        config.validate()?;
        let instruments = (0..config.symbols.len())
            .map(|index| SimInstrument::new(config, index, start_ns))
            .collect();
        let MarketConfig { strength, memory_ms, horizon_ms, move_rate_hz, .. } = *config;
        let oracle = Oracle::new(strength, memory_ms, horizon_ms, move_rate_hz);
        Ok(Self { instruments, oracle, outbox: Outbox::new(), now_ns: start_ns })
    }

    /// The next frame. There is always one: markets do not end.
    pub fn next_frame(&mut self) -> SimFrame<'_> {
        while self.outbox.is_drained() {
            self.step();
        }
        match self.outbox.take() {
            Some(frame) => frame,
            None => unreachable!("an outbox that is not drained has a frame"),
        }
    }

    /// Passes every frame up to and including `until_ns` to `f`, in order.
    pub fn advance(&mut self, until_ns: i64, mut f: impl FnMut(SimFrame<'_>)) {
        loop {
            while let Some(frame) = self.outbox.take() {
                f(frame);
            }
            if self.next_event_ns() > until_ns {
                return;
            }
            self.step();
        }
    }

    /// When the next event happens, ns since the epoch; it may have no visible frame.
    #[must_use]
    pub fn next_event_ns(&self) -> i64 {
        self.instruments.iter().map(SimInstrument::next_ns).min().unwrap_or(i64::MAX)
    }

    fn step(&mut self) {
        let next = self.instruments.iter_mut().enumerate().min_by_key(|(_, i)| i.next_ns());
        // A valid configuration has at least one symbol.
        let Some((index, instrument)) = next else {
            return;
        };
        self.now_ns = instrument.next_ns();
        self.outbox.begin(index, self.now_ns);
        instrument.step(&self.oracle, &mut self.outbox);
    }

    /// What cannot be beaten.
    #[must_use]
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The instruments in order of configuration, with the decimals of their prices and sizes.
    #[must_use]
    pub fn instruments(&self) -> Vec<Instrument> {
        self.instruments.iter().map(|i| i.listing.instrument(&i.names.upper)).collect()
    }

    /// The place of an upper-case symbol in the configuration.
    #[must_use]
    pub fn symbol_index(&self, symbol: &str) -> Option<usize> {
        self.instruments.iter().position(|i| i.names.upper == symbol)
    }

    /// Appends the body of a REST depth snapshot: at most `limit` levels on either side, as of the
    /// last depth frame of the symbol, whose `u` is the `lastUpdateId`. A `symbol` that is no
    /// place in the configuration appends nothing.
    pub fn snapshot(&self, symbol: usize, limit: usize, out: &mut Vec<u8>) {
        let Some(instrument) = self.instruments.get(symbol) else {
            return;
        };
        let (ladder, id) = instrument.published();
        let ms = self.now_ns.div_euclid(1_000_000);
        wire::snapshot(out, ms, &instrument.listing, id, limit, ladder);
    }

    /// Appends the body of the REST `exchangeInfo`: symbols with their tick and lot filters.
    pub fn exchange_info(&self, out: &mut Vec<u8>) {
        wire::put(out, b"{\"timezone\":\"UTC\"");
        wire::field_int(out, b",\"serverTime\":", self.now_ns.div_euclid(1_000_000));
        wire::put(out, b",\"rateLimits\":[],\"exchangeFilters\":[],\"symbols\":[");
        for (i, instrument) in self.instruments.iter().enumerate() {
            wire::put(out, if i == 0 { b"" } else { b"," });
            wire::listing_info(out, &instrument.names, &instrument.listing);
        }
        wire::put(out, b"]}");
    }

    /// Lower-case symbols in order of configuration, as stream names begin.
    pub(crate) fn stream_symbols(&self) -> Vec<String> {
        self.instruments.iter().map(|i| i.names.lower.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::StreamKind;
    use super::*;
    use crate::Side;
    use std::collections::{BTreeMap, HashMap};
    use std::io::{BufRead, BufReader};

    const SECOND_NS: i64 = 1_000_000_000;
    /// An arbitrary start that is not on a round second.
    const START_NS: i64 = 1_700_000_000_123_456_789;

    fn market(change: impl FnOnce(&mut MarketConfig)) -> Market {
        let mut config = MarketConfig::default();
        change(&mut config);
        Market::new(&config, START_NS).unwrap()
    }

    /// FNV-1a over all bytes and times of the first `seconds`, and the number of frames.
    fn fingerprint(market: &mut Market, seconds: i64) -> (u64, u64) {
        let (mut hash, mut frames) = (0xcbf2_9ce4_8422_2325_u64, 0);
        market.advance(START_NS + seconds * SECOND_NS, |frame| {
            for &byte in frame.ts_ns.to_le_bytes().iter().chain(frame.json) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
            frames += 1;
        });
        (hash, frames)
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        let (first, frames) = fingerprint(&mut market(|_| ()), 20);
        assert!(frames > 5_000, "only {frames} frames");
        assert_eq!(fingerprint(&mut market(|_| ()), 20), (first, frames));
        assert_ne!(fingerprint(&mut market(|c| c.seed = 2), 20).0, first);
    }

    #[test]
    fn the_text_buffer_never_grows_after_construction() {
        let mut market = market(|c| (c.activity, c.move_rate_hz) = (10.0, 20.0));
        let room = market.outbox.room();
        market.advance(START_NS + 60 * SECOND_NS, |_| ());
        assert_eq!(market.outbox.room(), room);
    }

    #[test]
    fn frame_by_frame_and_advancing_in_steps_give_the_same_frames_in_time_order() {
        let (mut one, mut other) = (market(|_| ()), market(|_| ()));
        let mut last_ns = START_NS;
        for ms in (0..5_000).step_by(7) {
            other.advance(START_NS + ms * 1_000_000, |frame| {
                assert_eq!(one.next_frame(), frame);
                assert!(frame.ts_ns >= last_ns, "time goes back");
                last_ns = frame.ts_ns;
            });
        }
        assert!(last_ns > START_NS + 4 * SECOND_NS);
    }

    /// A reader of the depth stream that checks every rule of USD-M futures.
    #[derive(Default)]
    struct Reader {
        sides: [BTreeMap<i64, i64>; 2],
        last_id: u64,
        top: Option<[i64; 4]>,
    }

    fn mantissa(text: &serde_json::Value) -> i64 {
        text.as_str().unwrap().replace('.', "").parse().unwrap()
    }

    impl Reader {
        fn apply(&mut self, side: usize, levels: &serde_json::Value) {
            for level in levels.as_array().unwrap() {
                match mantissa(&level[1]) {
                    0 => self.sides[side].remove(&mantissa(&level[0])),
                    qty => self.sides[side].insert(mantissa(&level[0]), qty),
                };
            }
        }

        fn from_snapshot(market: &Market, symbol: usize) -> Self {
            let mut body = Vec::new();
            market.snapshot(symbol, 1_000, &mut body);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let mut new =
                Self { last_id: body["lastUpdateId"].as_u64().unwrap(), ..Self::default() };
            new.apply(0, &body["bids"]);
            new.apply(1, &body["asks"]);
            new
        }

        fn best(&self) -> [i64; 4] {
            let (bid, ask) = (self.sides[0].last_key_value(), self.sides[1].first_key_value());
            let ((bid, bid_qty), (ask, ask_qty)) = (bid.unwrap(), ask.unwrap());
            [*bid, *bid_qty, *ask, *ask_qty]
        }

        fn take(&mut self, kind: StreamKind, data: &serde_json::Value) {
            match kind {
                StreamKind::Depth => {
                    let id = |key: &str| data[key].as_u64().unwrap();
                    assert_eq!(id("pu"), self.last_id, "the chain is broken");
                    assert!(id("U") > id("pu") && id("u") >= id("U"));
                    self.last_id = id("u");
                    self.apply(0, &data["b"]);
                    self.apply(1, &data["a"]);
                    let best = self.best();
                    assert!(best[0] < best[2], "crossed or locked: {best:?}");
                    // Every change of the top was told on its own stream before.
                    assert!(self.top.is_none_or(|top| top == best), "{:?} {best:?}", self.top);
                }
                StreamKind::BookTicker => {
                    let top = ["b", "B", "a", "A"].map(|key| mantissa(&data[key]));
                    assert!(top[0] < top[2] && top[1] > 0 && top[3] > 0);
                    self.top = Some(top);
                }
                StreamKind::Trade => {
                    assert!(mantissa(&data["q"]) > 0);
                    assert_eq!(data["X"], "MARKET");
                }
                StreamKind::Oracle => {
                    let p = data["p"].as_f64().unwrap();
                    assert!(p > 0.0 && p < 1.0);
                }
            }
        }
    }

    #[test]
    fn a_book_kept_from_the_stream_equals_every_later_snapshot_and_never_crosses() {
        let mut market = market(|c| c.activity = 1.0);
        let mut readers: Vec<_> = (0..6).map(|s| Reader::from_snapshot(&market, s)).collect();
        for second in 1..=20 {
            market.advance(START_NS + second * SECOND_NS, |frame| {
                let whole: serde_json::Value = serde_json::from_slice(frame.json).unwrap();
                let data: serde_json::Value = serde_json::from_slice(frame.data).unwrap();
                assert_eq!(whole["data"], data);
                let symbol = data["s"].as_str().unwrap();
                let stream = format!("{}@{}", symbol.to_lowercase(), frame.kind.suffix());
                assert_eq!(whole["stream"], stream);
                readers[frame.symbol].take(frame.kind, &data);
            });
            for (symbol, reader) in readers.iter().enumerate() {
                let fresh = Reader::from_snapshot(&market, symbol);
                assert_eq!(fresh.last_id, reader.last_id);
                assert!(fresh.sides == reader.sides, "symbol {symbol} differs at {second} s");
            }
        }
    }

    /// One observation: the hidden state, hints at it, and whether the mid price then rose or fell.
    #[derive(Clone, Copy)]
    struct Sample {
        p: f64,
        top: f64,
        ten: f64,
        /// 1 in a busy regime, -1 in a quiet one.
        lean: f64,
        rose: bool,
    }

    /// Samples of all symbols every 200 ms whose mid price moved within the horizon.
    fn samples(market: &mut Market, seconds: i64) -> Vec<Sample> {
        let symbols = market.instruments.len();
        let horizon_steps = market.oracle.horizon_ms() as usize / 200;
        let mut history: Vec<Vec<(i64, Sample)>> = vec![Vec::new(); symbols];
        for step in 1..=seconds * 5 {
            market.advance(START_NS + step * SECOND_NS / 5, |_| ());
            for (instrument, past) in market.instruments.iter().zip(&mut history) {
                let ladder = instrument.ladder();
                let sum = |side, n| (0..n).map(|d| ladder.lots(side, d)).sum::<i64>().max(1) as f64;
                let lean = |n| (sum(Side::Bid, n) / sum(Side::Ask, n)).ln();
                let p = market.oracle.p_up(instrument.hidden_state());
                let (top, ten, regime) = (lean(1), lean(10), instrument.regime_lean());
                let sample = Sample { p, top, ten, lean: regime, rose: false };
                past.push((ladder.tick(Side::Bid, 0), sample));
            }
        }
        let mut found = Vec::new();
        for past in &history {
            for (now, later) in past.iter().zip(&past[horizon_steps..]) {
                if now.0 != later.0 {
                    found.push(Sample { rose: later.0 > now.0, ..now.1 });
                }
            }
        }
        found
    }

    fn log_loss(samples: &[Sample], p: impl Fn(&Sample) -> f64) -> f64 {
        let loss = |s: &Sample| {
            if s.rose { -p(s).ln() } else { -(1.0 - p(s)).ln() }
        };
        samples.iter().map(loss).sum::<f64>() / samples.len() as f64
    }

    /// Log loss of a logistic regression without intercept (the market is symmetric) on one hint,
    /// fitted to the samples by Newton's method.
    fn fitted_loss(samples: &[Sample], hint: impl Fn(&Sample) -> f64) -> f64 {
        let p = |w: f64, s: &Sample| 1.0 / (1.0 + (-w * hint(s)).exp());
        let mut w = 0.0;
        for _ in 0..20 {
            let (mut gradient, mut curvature) = (0.0, 1e-9);
            for s in samples {
                let (h, p) = (hint(s), p(w, s));
                gradient += h * (f64::from(u8::from(s.rose)) - p);
                curvature += h * h * p * (1.0 - p);
            }
            w += gradient / curvature;
        }
        log_loss(samples, |s| p(w, s))
    }

    #[test]
    fn the_oracle_scores_over_market_minutes_what_it_says_it_will() {
        let symbols = (0..24).map(|i| format!("S{i}")).collect::<Vec<_>>();
        let mut market = market(|c| (c.symbols, c.activity) = (symbols, 0.02));
        let samples = samples(&mut market, 600);
        let hits = samples.iter().filter(|s| (s.p > 0.5) == s.rose).count();
        let hit_rate = hits as f64 / samples.len() as f64;
        let loss = log_loss(&samples, |s| s.p);
        let oracle = market.oracle();
        println!(
            "{} samples: hit rate {hit_rate:.4} (solved {:.4}), log loss {loss:.4} (solved {:.4})",
            samples.len(),
            oracle.best_hit_rate(),
            oracle.best_log_loss()
        );
        // 24 symbols × 600 s hold some 3000 independent states: four standard errors of the hit
        // rate, whose samples overlap, are about 0.02.
        assert!((hit_rate - oracle.best_hit_rate()).abs() < 0.02);
        assert!((loss - oracle.best_log_loss()).abs() < 0.02);
    }

    #[test]
    fn ten_levels_reveal_the_state_well_and_the_best_level_alone_badly() {
        let samples = samples(&mut market(|_| ()), 900);
        let gain = |loss: f64| 2.0_f64.ln() - loss;
        let oracle = gain(log_loss(&samples, |s| s.p));
        let ten = gain(fitted_loss(&samples, |s| s.ten)) / oracle;
        let top = gain(fitted_loss(&samples, |s| s.top)) / oracle;
        println!("of the oracle's gain: ten levels {ten:.3}, best level {top:.3}");
        assert!(ten > 0.85, "ten levels reach {ten:.3} of the oracle's gain");
        assert!(top > 0.15 && top < 0.65, "the best level reaches {top:.3}");
    }

    #[test]
    fn in_regimes_the_lean_of_the_book_predicts_nothing_alone_and_much_with_the_regime() {
        let mut market = market(|c| c.regime_ms = 10_000);
        let samples = samples(&mut market, 900);
        let gain = |loss: f64| 2.0_f64.ln() - loss;
        let oracle = gain(log_loss(&samples, |s| s.p));
        let alone = gain(fitted_loss(&samples, |s| s.ten)) / oracle;
        let with = gain(fitted_loss(&samples, |s| s.ten * s.lean)) / oracle;
        println!("of the oracle's gain: the book alone {alone:.3}, with the regime {with:.3}");
        assert!(alone < 0.05, "the book alone reaches {alone:.3}");
        assert!(with > 0.7, "with the regime it reaches {with:.3}");
    }

    #[test]
    fn without_a_planted_component_the_book_leans_and_predicts_nothing() {
        let samples = samples(&mut market(|c| c.strength = 0.0), 600);
        assert!(samples.iter().all(|s| s.p == 0.5));
        let spread = samples.iter().map(|s| s.ten * s.ten).sum::<f64>() / samples.len() as f64;
        let gain = 2.0_f64.ln() - fitted_loss(&samples, |s| s.ten);
        println!("variance of the lean {spread:.2}, gain of the fit {gain:.6}");
        assert!(spread > 0.5, "the book does not lean");
        // One fitted weight gains about 1 / (2 n) by chance for each of the n independent samples.
        assert!(gain < 0.005, "the book predicts: {gain}");
    }

    /// Quantiles 0.5, 0.9, 0.99 and 1 of the number of frames per 100 ms.
    fn quantiles(times_ns: impl Iterator<Item = i64>, first_ns: i64, windows: usize) -> [u32; 4] {
        let mut counts = vec![0_u32; windows];
        for ts_ns in times_ns {
            if let Some(n) = counts.get_mut(((ts_ns - first_ns) / 100_000_000) as usize) {
                *n += 1;
            }
        }
        counts.sort_unstable();
        [0.5, 0.9, 0.99, 1.0].map(|q| counts[(q * (windows - 1) as f64) as usize])
    }

    #[test]
    fn windows_of_100_ms_hold_as_many_frames_as_a_recorded_session() {
        let mut market = market(|c| {
            c.activity = 1.0;
            c.symbols.truncate(1);
        });
        let (mut times, mut kinds) = (Vec::new(), HashMap::new());
        market.advance(START_NS + 1_800 * SECOND_NS, |frame| {
            *kinds.entry(frame.kind).or_insert(0) += 1;
            if frame.kind != StreamKind::Oracle {
                times.push(frame.ts_ns);
            }
        });
        let total = times.len();
        let found = quantiles(times.into_iter(), START_NS, 18_000);
        println!("simulated p50, p90, p99, max: {found:?}; {total} frames in 1800 s: {kinds:?}");
        assert!((8..=18).contains(&found[0]), "p50 {}", found[0]);
        assert!((120..=350).contains(&found[2]), "p99 {}", found[2]);
        assert!((500..=2_500).contains(&found[3]), "max {}", found[3]);

        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../shared/data/ws_captures/hftbacktest/usdm/btcusdt_20240808.gz"
        );
        let Ok(file) = std::fs::File::open(path) else {
            println!("skipped: {path} is absent");
            return;
        };
        let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
        let times: Vec<i64> = lines
            .map_while(Result::ok)
            .filter_map(|line| line.split(' ').next().and_then(|t| t.parse().ok()))
            .collect();
        let windows = ((times[times.len() - 1] - times[0]) / 100_000_000) as usize;
        let recorded = quantiles(times.iter().copied(), times[0], windows);
        println!("recorded  p50, p90, p99, max: {recorded:?}");
        for (i, what) in ["p50", "p90", "p99", "max"].iter().enumerate() {
            let ratio = f64::from(found[i]) / f64::from(recorded[i]);
            assert!((0.4..=2.5).contains(&ratio), "{what} is {ratio:.2} of the recorded one");
        }
    }
}
