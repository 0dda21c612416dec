//! The slow model: the whole history, and every feature of the latest cut from its definition.
//!
//! Naive loops over everything seen; no state but the history; no code shared with the crate.

pub(crate) type Levels = Vec<(f64, f64)>;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Top { bid: (f64, f64), ask: (f64, f64) },
    Trade { buyer: bool, price: f64, qty: f64, count: u32 },
    Book { bids: Levels, asks: Levels },
}

/// Number of cuts before a quote, its time, bid and ask.
type QuoteRow = (usize, i64, (f64, f64), (f64, f64));

/// An event, when it was received, and the number of cuts made before it.
struct Seen {
    ts_ns: i64,
    cuts_before: usize,
    event: Event,
}

/// A cut: its time and its place on the grid, counted from the first.
struct Cut {
    ts_ns: i64,
    point: usize,
}

pub(crate) struct Slow {
    cycle_ns: i64,
    history: Vec<Seen>,
    cuts: Vec<Cut>,
}

impl Slow {
    pub(crate) fn new(cycle_ms: u32) -> Self {
        let cycle_ns = i64::from(cycle_ms) * 1_000_000;
        Self { cycle_ns, history: Vec::new(), cuts: Vec::new() }
    }

    pub(crate) fn see(&mut self, ts_ns: i64, event: Event) {
        self.history.push(Seen { ts_ns, cuts_before: self.cuts.len(), event });
    }

    pub(crate) fn cut(&mut self, ts_ns: i64) {
        let point = self.cuts.first().map_or(0, |first| (ts_ns - first.ts_ns) / self.cycle_ns);
        self.cuts.push(Cut { ts_ns, point: point as usize });
    }

    fn cycles(&self, seconds: f64) -> usize {
        ((seconds * 1e9 / self.cycle_ns as f64).round() as usize).max(1)
    }

    /// Quotes in order, each with the number of cuts before it and its time: books until the first
    /// top, tops from then on.
    fn quotes(&self) -> Vec<QuoteRow> {
        let first_top =
            self.history.iter().position(|seen| matches!(seen.event, Event::Top { .. }));
        let mut quotes = Vec::new();
        for (index, seen) in self.history.iter().enumerate() {
            match &seen.event {
                Event::Top { bid, ask } => {
                    quotes.push((seen.cuts_before, seen.ts_ns, *bid, *ask));
                }
                Event::Book { bids, asks } if first_top.is_none_or(|first| index < first) => {
                    let bid = bids.first().copied().unwrap_or((0.0, 0.0));
                    let ask = asks.first().copied().unwrap_or((0.0, 0.0));
                    quotes.push((seen.cuts_before, seen.ts_ns, bid, ask));
                }
                _ => {}
            }
        }
        quotes
    }

    /// The mid at every grid point up to the last cut; 0 where unknown.
    fn mids_by_point(&self) -> Vec<f64> {
        let quotes = self.quotes();
        let last_point = self.cuts.last().unwrap().point;
        let mut mids = vec![0.0; last_point + 1];
        for (index, cut) in self.cuts.iter().enumerate() {
            let mut mid = 0.0;
            for (cuts_before, _, bid, ask) in &quotes {
                if *cuts_before <= index && bid.1 > 0.0 && ask.1 > 0.0 {
                    mid = f64::midpoint(bid.0, ask.0);
                }
            }
            // It holds until the next cut overwrites it.
            mids[cut.point..].fill(mid);
        }
        mids
    }

    /// The grid point whose cycle an event belongs to, if a cut has closed it; the first cut's is 0.
    fn point_of(&self, cuts_before: usize) -> Option<usize> {
        self.cuts.get(cuts_before).map(|cut| cut.point)
    }

    /// Whether something that `cuts_before` cuts preceded lies in the last `cycles` cycles.
    fn in_window(&self, cuts_before: usize, cycles: usize) -> bool {
        let now = self.cuts.last().unwrap().point;
        let point = self.point_of(cuts_before);
        now >= cycles && point.is_some_and(|point| point > 0 && point > now - cycles)
    }

    fn last_book(&self) -> (Levels, Levels) {
        let mut last = (vec![], vec![]);
        for seen in &self.history {
            if let Event::Book { bids, asks } = &seen.event {
                last = (bids.clone(), asks.clone());
            }
        }
        last
    }

    /// Σ e_n over the window.
    fn order_flow(&self, quotes: &[QuoteRow], cycles: usize) -> f64 {
        let mut total = 0.0;
        for pair in quotes.windows(2) {
            if self.in_window(pair[1].0, cycles) {
                total += e_n(pair[0].2, pair[0].3, pair[1].2, pair[1].3);
            }
        }
        total
    }

    fn level_flow(&self, cycles: usize) -> f64 {
        let mut before: Option<(&Levels, &Levels)> = None;
        let mut total = 0.0;
        for seen in &self.history {
            let Event::Book { bids, asks } = &seen.event else {
                continue;
            };
            if let Some((old_bids, old_asks)) = before
                && self.in_window(seen.cuts_before, cycles)
            {
                let at = |levels: &Levels, m: usize| levels.get(m).copied().unwrap_or((0.0, 0.0));
                for m in 0..5 {
                    total += e_n(at(old_bids, m), at(old_asks, m), at(bids, m), at(asks, m));
                }
            }
            before = Some((bids, asks));
        }
        total
    }

    /// (bought, sold, notional, number) of the trades in the window.
    fn trades(&self, cycles: usize) -> (f64, f64, f64, f64) {
        let mut sums = (0.0, 0.0, 0.0, 0.0);
        for seen in &self.history {
            let Event::Trade { buyer, price, qty, count } = seen.event else {
                continue;
            };
            if self.in_window(seen.cuts_before, cycles) {
                if buyer {
                    sums.0 += qty;
                } else {
                    sums.1 += qty;
                }
                sums.2 += price * qty;
                sums.3 += f64::from(count);
            }
        }
        sums
    }

    /// Mean over the last `cycles` grid points of a value known at each cut.
    fn mean_at_cuts(&self, cycles: usize, value_at: impl Fn(usize) -> f64) -> f64 {
        let now = self.cuts.last().unwrap().point;
        if now < cycles {
            return 0.0;
        }
        let mut total = 0.0;
        for point in now + 1 - cycles..=now {
            let holder = self.cuts.iter().rposition(|cut| cut.point <= point).unwrap();
            // The first cut closes no cycle, so cycles missed right after it hold nothing.
            total += if holder == 0 { 0.0 } else { value_at(holder) };
        }
        total / cycles as f64
    }

    fn queue_imbalance_at(&self, cut: usize) -> f64 {
        let quotes = self.quotes();
        let last = quotes.iter().rfind(|quote| quote.0 <= cut);
        last.map_or(0.0, |(_, _, bid, ask)| {
            imbalance(&[(1.0, usable(*bid).1)], &[(1.0, usable(*ask).1)])
        })
    }

    fn depth_imbalance_at(&self, cut: usize) -> f64 {
        let mut last = 0.0;
        for seen in self.history.iter().filter(|seen| seen.cuts_before <= cut) {
            if let Event::Book { bids, asks } = &seen.event {
                last = imbalance(&bids[..bids.len().min(10)], &asks[..asks.len().min(10)]);
            }
        }
        last
    }

    /// (close, volume) of each finished bar; bars without a mid are left out.
    fn bars(&self, mids: &[f64]) -> Vec<(f64, f64)> {
        let length = self.cycles(1.0);
        let mut bars = Vec::new();
        for end in (length..mids.len()).step_by(length) {
            let mut volume = 0.0;
            for seen in &self.history {
                if let Event::Trade { qty, .. } = seen.event
                    && let Some(point) = self.point_of(seen.cuts_before)
                    && point > end - length
                    && point <= end
                {
                    volume += qty;
                }
            }
            if mids[end] > 0.0 {
                bars.push((mids[end], volume));
            }
        }
        bars
    }

    /// Every feature of the last cut.
    pub(crate) fn features(&self) -> Vec<(&'static str, f64)> {
        let mut out = Vec::new();
        self.book_features(&mut out);
        self.flow_features(&mut out);
        let mids = self.mids_by_point();
        self.price_features(&mids, &mut out);
        self.bar_features(&mids, &mut out);
        self.move_features(&mut out);
        self.time_features(&mut out);
        out
    }

    fn book_features(&self, out: &mut Vec<(&'static str, f64)>) {
        let quotes = self.quotes();
        let (_, _, bid, ask) = quotes.last().copied().unwrap_or((0, 0, (0.0, 0.0), (0.0, 0.0)));
        let two_sided = bid.1 > 0.0 && ask.1 > 0.0;
        let mid = f64::midpoint(bid.0, ask.0);
        let micro = (bid.0 * ask.1 + ask.0 * bid.1) / (bid.1 + ask.1);
        let or_zero = |value: f64| if two_sided { value } else { 0.0 };
        let now = self.cuts.len() - 1;
        out.push(("microprice_deviation", or_zero(1e4 * (micro - mid) / mid)));
        out.push(("spread", or_zero(1e4 * (ask.0 - bid.0) / mid)));
        out.push(("queue_imbalance", self.queue_imbalance_at(now)));
        let second = self.cycles(1.0);
        let five = self.cycles(5.0);
        let queue = |cut| self.queue_imbalance_at(cut);
        let depth = |cut| self.depth_imbalance_at(cut);
        out.push(("queue_imbalance_mean_1s", self.mean_at_cuts(second, queue)));
        out.push(("depth_imbalance_mean_1s", self.mean_at_cuts(second, depth)));
        out.push(("depth_imbalance_mean_5s", self.mean_at_cuts(five, depth)));

        let (bids, asks) = self.last_book();
        for (name, levels) in [
            ("depth_imbalance_3", 3),
            ("depth_imbalance_5", 5),
            ("depth_imbalance_10", 10),
            ("depth_imbalance_20", 20),
        ] {
            let best = |side: &Levels| side[..side.len().min(levels)].to_vec();
            out.push((name, imbalance(&best(&bids), &best(&asks))));
        }
        let ten = |side: &Levels| side[..side.len().min(10)].to_vec();
        let (bids, asks) = (ten(&bids), ten(&asks));
        let by_rank = |side: &Levels| -> Levels {
            side.iter().enumerate().map(|(k, l)| (l.0, l.1 / (k + 1) as f64)).collect()
        };
        out.push(("weighted_depth_imbalance", imbalance(&by_rank(&bids), &by_rank(&asks))));
        let total: f64 = bids.iter().chain(&asks).map(|level| level.1).sum();
        out.push(("log_depth", if total > 0.0 { total.ln() } else { 0.0 }));
        let (mut pressure, mut slope) = (0.0, 0.0);
        if !bids.is_empty() && !asks.is_empty() {
            let mid = f64::midpoint(bids[0].0, asks[0].0);
            let by_distance = |side: &Levels| -> Levels {
                side.iter().map(|level| (level.0, level.1 / (level.0 - mid).abs())).collect()
            };
            pressure = imbalance(&by_distance(&bids), &by_distance(&asks));
            let side_slope = |side: &Levels| {
                let total: f64 = side.iter().map(|level| level.1).sum();
                total / (side[side.len() - 1].0 - mid).abs()
            };
            slope = (side_slope(&bids) / side_slope(&asks)).ln();
        }
        out.push(("book_pressure", pressure));
        out.push(("depth_slope", slope));
    }

    fn flow_features(&self, out: &mut Vec<(&'static str, f64)>) {
        let quotes = self.quotes();
        let names = [
            (0.1, "order_flow_100ms", "level_flow_100ms", "trade_flow_100ms"),
            (0.5, "order_flow_500ms", "level_flow_500ms", "trade_flow_500ms"),
            (1.0, "order_flow_1s", "level_flow_1s", "trade_flow_1s"),
            (5.0, "order_flow_5s", "level_flow_5s", "trade_flow_5s"),
        ];
        let imbalances = [
            "trade_imbalance_100ms",
            "trade_imbalance_500ms",
            "trade_imbalance_1s",
            "trade_imbalance_5s",
        ];
        for ((seconds, order, level, trade), imbalance) in names.into_iter().zip(imbalances) {
            let cycles = self.cycles(seconds);
            let (bought, sold, _, _) = self.trades(cycles);
            out.push((order, self.order_flow(&quotes, cycles)));
            out.push((level, self.level_flow(cycles)));
            out.push((trade, bought - sold));
            let total = bought + sold;
            out.push((imbalance, if total > 0.0 { (bought - sold) / total } else { 0.0 }));
        }
        let mid = self.mids_by_point().last().copied().unwrap();
        for (seconds, rate, vwap_name) in [
            (1.0, "trade_rate_1s", "vwap_deviation_1s"),
            (5.0, "trade_rate_5s", "vwap_deviation_5s"),
        ] {
            let cycles = self.cycles(seconds);
            let (bought, sold, notional, number) = self.trades(cycles);
            out.push((rate, (1.0 + number / self.seconds(cycles)).ln()));
            let vwap = notional / (bought + sold);
            let defined = bought + sold > 0.0 && mid > 0.0;
            out.push((vwap_name, if defined { 1e4 * (mid / vwap - 1.0) } else { 0.0 }));
        }
        let second = self.cycles(1.0);
        let (bought, sold, _, _) = self.trades(second);
        out.push(("volume_1s", bought + sold));
        let updates = quotes.iter().filter(|quote| self.in_window(quote.0, second)).count();
        out.push(("quote_rate_1s", (1.0 + updates as f64 / self.seconds(second)).ln()));
    }

    fn seconds(&self, cycles: usize) -> f64 {
        cycles as f64 * self.cycle_ns as f64 * 1e-9
    }

    fn price_features(&self, mids: &[f64], out: &mut Vec<(&'static str, f64)>) {
        let now = mids.len() - 1;
        for (seconds, name) in [
            (0.1, "return_100ms"),
            (0.5, "return_500ms"),
            (1.0, "return_1s"),
            (5.0, "return_5s"),
            (30.0, "return_30s"),
        ] {
            let cycles = self.cycles(seconds);
            let known = now >= cycles && mids[now - cycles] > 0.0;
            out.push((name, if known { 1e4 * (mids[now] / mids[now - cycles]).ln() } else { 0.0 }));
        }
        for (seconds, name) in [
            (1.0, "realised_volatility_1s"),
            (5.0, "realised_volatility_5s"),
            (30.0, "realised_volatility_30s"),
        ] {
            let cycles = self.cycles(seconds);
            let mut sum = 0.0;
            if now >= cycles {
                for point in now + 1 - cycles..=now {
                    if mids[point - 1] > 0.0 {
                        sum += (mids[point] / mids[point - 1]).ln().powi(2);
                    }
                }
            }
            out.push((name, 1e4 * sum.sqrt()));
        }
    }

    fn bar_features(&self, mids: &[f64], out: &mut Vec<(&'static str, f64)>) {
        let bars = self.bars(mids);
        let mid = mids[mids.len() - 1];
        let closes: Vec<f64> = bars.iter().map(|bar| bar.0).collect();
        let (mut sma, mut mean_volume, mut ratio) = (0.0, 0.0, 0.0);
        if bars.len() >= 10 {
            let last_ten = &bars[bars.len() - 10..];
            sma = 1e4 * (mid / (last_ten.iter().map(|bar| bar.0).sum::<f64>() / 10.0) - 1.0);
            mean_volume = last_ten.iter().map(|bar| bar.1).sum::<f64>() / 10.0;
            if mean_volume > 0.0 {
                ratio = last_ten[9].1 / mean_volume - 1.0;
            }
        }
        out.push(("sma_deviation_10", sma));
        out.push(("volume_sma_10", mean_volume));
        out.push(("volume_ratio", ratio));

        let mut ema_deviation = 0.0;
        if closes.len() >= 21 {
            // The explicit weights of the recursion: α(1−α)^age, and what is left on the first close.
            let keep: f64 = 1.0 - 2.0 / 22.0;
            let newest = closes.len() - 1;
            let mut ema = closes[0] * keep.powi(newest as i32);
            for age in 0..newest {
                ema += closes[newest - age] * (2.0 / 22.0) * keep.powi(age as i32);
            }
            ema_deviation = 1e4 * (mid / ema - 1.0);
        }
        out.push(("ema_deviation_21", ema_deviation));

        let mut rsi = 50.0;
        if closes.len() >= 15 {
            let changes: Vec<f64> = closes.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let up = |change: f64| if change > 0.0 { change } else { 0.0 };
            let mut gain = changes[..14].iter().map(|&c| up(c)).sum::<f64>() / 14.0;
            let mut loss = changes[..14].iter().map(|&c| up(-c)).sum::<f64>() / 14.0;
            for &change in &changes[14..] {
                gain = (13.0 * gain + up(change)) / 14.0;
                loss = (13.0 * loss + up(-change)) / 14.0;
            }
            if gain + loss > 0.0 {
                rsi = 100.0 - 100.0 / (1.0 + gain / loss);
            }
        }
        out.push(("rsi_14", (rsi - 50.0) / 50.0));
    }

    fn move_features(&self, out: &mut Vec<(&'static str, f64)>) {
        let mut mids = Vec::new();
        for (_, ts_ns, bid, ask) in self.quotes() {
            if bid.1 > 0.0 && ask.1 > 0.0 {
                mids.push((ts_ns, f64::midpoint(bid.0, ask.0)));
            }
        }
        let mut moves: Vec<(i64, f64)> = Vec::new();
        for pair in mids.windows(2) {
            let change = pair[1].1 - pair[0].1;
            if change.abs() > 1e-9 {
                moves.push((pair[1].0, change.signum()));
            }
        }
        let mut persistence = 0.0;
        for pair in moves.windows(2) {
            persistence = 0.875 * persistence + 0.125 * pair[0].1 * pair[1].1;
        }
        let now_ns = self.cuts.last().unwrap().ts_ns;
        let last = moves.last().copied();
        let age_s = last.map_or(0.0, |(ts_ns, _)| ((now_ns - ts_ns) as f64 / 1e9).clamp(0.0, 60.0));
        out.push(("last_move_sign", last.map_or(0.0, |(_, sign)| sign)));
        out.push(("move_persistence", persistence));
        out.push(("log_move_age", (1.0 + age_s).ln()));
    }

    fn time_features(&self, out: &mut Vec<(&'static str, f64)>) {
        let seconds = self.cuts.last().unwrap().ts_ns as f64 / 1e9;
        let day = seconds / 86_400.0;
        // Day 4 of the epoch was the first Monday.
        let week = (day - 4.0) / 7.0;
        out.push(("time_of_day_sin", (std::f64::consts::TAU * day.fract()).sin()));
        out.push(("time_of_day_cos", (std::f64::consts::TAU * day.fract()).cos()));
        out.push(("day_of_week_sin", (std::f64::consts::TAU * week.fract()).sin()));
        out.push(("day_of_week_cos", (std::f64::consts::TAU * week.fract()).cos()));
    }
}

/// A side counts only with a price and a quantity.
fn usable(level: (f64, f64)) -> (f64, f64) {
    if level.0 > 0.0 { level } else { (0.0, 0.0) }
}

fn imbalance(bids: &[(f64, f64)], asks: &[(f64, f64)]) -> f64 {
    let bid: f64 = bids.iter().map(|level| level.1).sum();
    let ask: f64 = asks.iter().map(|level| level.1).sum();
    if bid + ask > 0.0 { (bid - ask) / (bid + ask) } else { 0.0 }
}

/// Cont, Kukanov & Stoikov 2014, equation 3, an empty side taken as quantity 0 at the worst price.
fn e_n(bid0: (f64, f64), ask0: (f64, f64), bid1: (f64, f64), ask1: (f64, f64)) -> f64 {
    let worst = |ask: (f64, f64)| if ask.1 > 0.0 { ask.0 } else { f64::MAX };
    let one = |condition: bool| if condition { 1.0 } else { 0.0 };
    one(bid1.0 >= bid0.0) * bid1.1
        - one(bid1.0 <= bid0.0) * bid0.1
        - one(worst(ask1) <= worst(ask0)) * ask1.1
        + one(worst(ask1) >= worst(ask0)) * ask0.1
}
