//! The incremental features against their definitions.
//!
//! A slow model keeps the whole history and computes every feature of a cut from scratch, by naive
//! loops over the events that its definition names. It shares no code with the crate. Both must agree
//! on seeded random streams (with missed cycles, one-sided books and cycles of several lengths) and on
//! a recorded session of BTCUSDT futures.

// The whole file is a test; the lint's exemption sees only the functions marked as such.
#![allow(clippy::unwrap_used)]

mod features_slow;
mod random;

use features_slow::{Event, Levels, Slow};
use purkinje_feeds::Side;
use purkinje_strategies::features::{FeatureConfig, FeatureState, N, NAMES};
use random::Random;
use std::io::Read;
use std::process::{Command, Stdio};

/// The incremental state and the slow model, fed alike.
struct Pair {
    fast: FeatureState,
    slow: Slow,
    cuts: usize,
    compared: usize,
    /// Cuts at which each feature was not 0: shows that the comparison was not of zeros.
    alive: [usize; N],
}

impl Pair {
    fn new(cycle_ms: u32) -> Self {
        Self {
            fast: FeatureState::new(&FeatureConfig { cycle_ms }).unwrap(),
            slow: Slow::new(cycle_ms),
            cuts: 0,
            compared: 0,
            alive: [0; N],
        }
    }

    fn see(&mut self, ts_ns: i64, event: Event) {
        match &event {
            Event::Top { bid, ask } => self.fast.on_top(ts_ns, bid.0, bid.1, ask.0, ask.1),
            Event::Trade { buyer, price, qty, count } => {
                let aggressor = if *buyer { Side::Bid } else { Side::Ask };
                self.fast.on_trade(ts_ns, aggressor, *price, *qty, *count);
            }
            Event::Book { bids, asks } => self.fast.on_book(ts_ns, bids, asks),
        }
        self.slow.see(ts_ns, event);
    }

    fn cut(&mut self, ts_ns: i64, compare_every: usize) {
        let mut out = [f32::NAN; N];
        self.fast.cut(ts_ns, &mut out);
        self.slow.cut(ts_ns);
        self.cuts += 1;
        if self.cuts.is_multiple_of(compare_every) {
            self.compare(&out);
        }
    }

    fn compare(&mut self, out: &[f32; N]) {
        let expected = self.slow.features();
        assert_eq!(expected.len(), N, "the slow model leaves a feature out");
        for (name, value) in expected {
            let index = NAMES.iter().position(|known| *known == name).unwrap();
            let got = f64::from(out[index]);
            // Beside the relative error, differences of prices of 1e4 in f64 leave about 1e-8 bps.
            assert!(
                (got - value).abs() <= 1e-6 * value.abs() + 1e-7,
                "{name} at cut {}: {got}, by its definition {value}",
                self.cuts
            );
            self.alive[index] += usize::from(got != 0.0);
        }
        self.compared += 1;
    }

    fn assert_alive(&self, dead: &[&str]) {
        println!("{} cuts, {} compared in all {N} features", self.cuts, self.compared);
        for (name, alive) in NAMES.iter().zip(self.alive) {
            if !dead.iter().any(|prefix| name.starts_with(prefix)) {
                assert!(alive * 20 >= self.compared, "{name} was alive at only {alive} cuts");
            }
        }
    }
}

/// Draws of a market.
struct Rng(Random);

impl Rng {
    fn qty(&mut self) -> f64 {
        (1 + self.0.below(5_000)) as f64 * 0.001
    }

    fn side(&mut self, best: i64, direction: i64) -> Levels {
        let mut price = best;
        let levels = self.0.below(24);
        let mut side = Vec::new();
        for _ in 0..levels {
            side.push((price as f64 * 0.01, self.qty()));
            price += direction * (1 + self.0.below(4) as i64);
        }
        side
    }

    fn event(&mut self, best_bid: i64, with_tops: bool) -> Event {
        let spread = self.0.below(3) as i64;
        let kinds = if with_tops { 10 } else { 5 };
        match self.0.below(kinds) {
            0 | 1 => Event::Trade {
                buyer: self.0.below(2) == 0,
                price: (best_bid + self.0.below(3) as i64) as f64 * 0.01,
                qty: self.qty(),
                count: 1 + self.0.below(3) as u32,
            },
            2..=4 => Event::Book {
                bids: self.side(best_bid, -1),
                asks: self.side(best_bid + 1 + spread, 1),
            },
            kind => {
                let (mut bid, mut ask) = (self.qty(), self.qty());
                if self.0.below(40) == 0 {
                    *(if kind % 2 == 0 { &mut bid } else { &mut ask }) = 0.0;
                }
                let price =
                    |ticks: i64, qty: f64| if qty > 0.0 { ticks as f64 * 0.01 } else { 0.0 };
                Event::Top {
                    bid: (price(best_bid, bid), bid),
                    ask: (price(best_bid + 1 + spread, ask), ask),
                }
            }
        }
    }
}

const START_NS: i64 = 1_722_816_000_000_000_000;

fn random_session(seed: u64, cycle_ms: u32, with_tops: bool, cycles: usize) -> Pair {
    let mut rng = Rng(Random(seed));
    let mut pair = Pair::new(cycle_ms);
    let cycle_ns = i64::from(cycle_ms) * 1_000_000;
    let (mut now_ns, mut best_bid) = (START_NS, 968_000_i64);
    for cycle in 0..cycles {
        // Nothing at all for the first cycles, then from silence to bursts.
        let events = if cycle < 7 { 0 } else { rng.0.below(4) * rng.0.below(4) };
        for k in 0..events {
            best_bid += rng.0.below(3) as i64 - 1;
            let event = rng.event(best_bid, with_tops);
            pair.see(now_ns - cycle_ns + (k as i64 + 1) * 1_000_003, event);
        }
        pair.cut(now_ns, 23);
        let missed = if rng.0.below(50) == 0 { rng.0.below(9) as i64 } else { 0 };
        now_ns += cycle_ns * (1 + missed);
    }
    assert_eq!(pair.fast.counters().rejected_events, 0);
    pair
}

#[test]
fn features_equal_their_definitions_on_random_streams() {
    for seed in 1..=3 {
        random_session(seed, 100, true, 1_000).assert_alive(&[]);
    }
}

#[test]
fn features_equal_their_definitions_when_books_are_all_there_is() {
    random_session(11, 100, false, 800).assert_alive(&[]);
}

#[test]
fn features_equal_their_definitions_at_other_cycle_lengths() {
    random_session(21, 50, true, 1_200).assert_alive(&[]);
    random_session(22, 1_000, true, 400).assert_alive(&[]);
}

#[test]
fn features_equal_their_definitions_on_a_recorded_session() {
    let (Some(quotes), Some(trades)) = (recorded("quotes"), recorded("trades")) else {
        return;
    };
    let mut events: Vec<(i64, Event)> = quotes.lines().skip(1).map(quote_row).collect();
    let last_ns = events[events.len() - 1].0;
    events.extend(trades.lines().skip(1).map(trade_row).filter(|(ts_ns, _)| *ts_ns <= last_ns));
    events.sort_by_key(|(ts_ns, _)| *ts_ns);
    let total = events.len();

    let mut pair = Pair::new(100);
    let mut next_cut_ns = events[0].0 / 100_000_000 * 100_000_000 + 100_000_000;
    for (ts_ns, event) in events {
        while ts_ns >= next_cut_ns {
            pair.cut(next_cut_ns, 19);
            next_cut_ns += 100_000_000;
        }
        pair.see(ts_ns, event);
    }
    println!("{total} recorded events");
    assert_eq!(pair.fast.counters().rejected_events, 0);
    // The recording has no books.
    pair.assert_alive(&[
        "depth_",
        "weighted_",
        "book_",
        "log_depth",
        "level_flow",
        "trade_flow_100ms",
        "trade_imbalance_100ms",
    ]);
    assert!(pair.cuts > 2_000 && pair.compared > 100);
}

/// The text of a recorded table, or `None` (and a line saying so) where the data is not there.
fn recorded(table: &str) -> Option<String> {
    let path = format!(
        "{}/../../shared/data/crypto/tardis_binance_futures_btcusdt/{table}_2020-02-22.csv.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    if !std::path::Path::new(&path).exists() {
        println!("skipped: {path} is not there");
        return None;
    }
    let mut child =
        Command::new("gzip").args(["-dc", &path]).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    Some(text)
}

fn number(field: &str) -> f64 {
    field.parse().unwrap()
}

fn received_ns(fields: &[&str]) -> i64 {
    fields[3].parse::<i64>().unwrap() * 1_000
}

fn quote_row(row: &str) -> (i64, Event) {
    let fields: Vec<&str> = row.split(',').collect();
    let ask = (number(fields[5]), number(fields[4]));
    let bid = (number(fields[6]), number(fields[7]));
    (received_ns(&fields), Event::Top { bid, ask })
}

fn trade_row(row: &str) -> (i64, Event) {
    let fields: Vec<&str> = row.split(',').collect();
    let trade = Event::Trade {
        buyer: fields[5] == "buy",
        price: number(fields[6]),
        qty: number(fields[7]),
        count: 1,
    };
    (received_ns(&fields), trade)
}
