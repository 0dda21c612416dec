//! Hit rate and log loss of several forecasters on the same rows, with intervals.
//!
//! Labels of neighbouring rows overlap, and instruments move together, so that rows are no independent
//! draws. Intervals are 95 % percentile intervals of the circular block bootstrap (Politis and Romano,
//! 1992, after Künsch, Annals of Statistics 17, 1989): what is drawn are blocks of at least
//! [`BLOCK_HORIZONS`] horizons with all their rows, the same blocks for all forecasters, so that the gain
//! over the first one is paired. Beside them stand the rows that do not overlap: rows × cycle / horizon.
//!
//! Invariants: equal forecasts give equal numbers (the seed is fixed); probabilities are kept
//! [`CLIP`] away from 0 and 1.

use std::fmt::Write as _;

use purkinje_kernels::rng::Key;

use crate::training::cerebellum::score::CLIP;

/// Horizons of a block, at least.
pub const BLOCK_HORIZONS: usize = 10;
/// Blocks that are drawn for one replicate, at most: longer data have longer blocks.
const MAX_BLOCKS: usize = 2_000;
/// Replicates.
const REPLICATES: usize = 1_000;
/// Of the draws.
const SEED: u64 = 1;
/// Percentiles of an interval.
const TAILS: [f64; 2] = [0.025, 0.975];

/// What is forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// When, ns since the epoch; judged rows are in its order.
    pub ts_cycle_ns: i64,
    /// Whether it rose.
    pub is_up: bool,
}

/// P(up) of each judged row by one forecaster.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecasts {
    /// The forecaster.
    pub name: String,
    /// One a row.
    pub p_up: Vec<f64>,
}

/// A figure and where it may lie. The ends are NaN where there are too few blocks to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Of all rows.
    pub value: f64,
    /// 2.5 % of the replicates are below.
    pub low: f64,
    /// 2.5 % of the replicates are above.
    pub high: f64,
}

/// What a forecaster is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Skill {
    /// The forecaster.
    pub name: String,
    /// Rows judged.
    pub rows: usize,
    /// Those whose labels do not overlap: rows × cycle / horizon.
    pub effective_rows: f64,
    /// Share on the right side of one half; exactly one half counts half.
    pub hit_rate: Figure,
    /// Mean log loss, nat.
    pub log_loss: Figure,
    /// Log loss of the first forecaster less its own, nat.
    pub gain: Figure,
}

/// Times that overlap depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Between two rows of an instrument, ms.
    pub cycle_ms: u64,
    /// From a row to its label, ms.
    pub horizon_ms: u64,
}

/// Sums up to a slot, over the slots before it.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    rows: f64,
    hits: f64,
    loss: f64,
}

/// Skill of each forecaster; gains are over the first.
///
/// # Panics
/// Where a forecaster has not one probability a row.
#[must_use]
pub fn skills(judged: &[Judged], forecasts: &[Forecasts], times: Times) -> Vec<Skill> {
    let effective_rows = judged.len() as f64 * times.cycle_ms as f64 / times.horizon_ms as f64;
    let slots = slots(judged, times);
    let sums: Vec<Vec<Sums>> =
        forecasts.iter().map(|forecast| prefix_sums(judged, &forecast.p_up, &slots)).collect();
    let mut replicates = vec![Vec::with_capacity(REPLICATES); forecasts.len()];
    draw(slots.last().map_or(0, |last| last + 1), |blocks| {
        for (sums, replicates) in sums.iter().zip(&mut replicates) {
            replicates.push(ratios(blocks.iter().map(|[from, to]| between(sums, *from, *to))));
        }
    });
    let whole = |sums: &[Sums]| ratios(sums.last().copied());
    let first = sums.first().map_or([f64::NAN; 2], |sums| whole(sums));
    let figure = |value: f64, of: &dyn Fn(usize) -> f64| {
        let mut values: Vec<f64> = (0..replicates[0].len()).map(of).collect();
        values.sort_by(f64::total_cmp);
        let at = |tail: f64| {
            let index = (tail * values.len() as f64) as usize;
            values.get(index).copied().unwrap_or(f64::NAN)
        };
        Figure { value, low: at(TAILS[0]), high: at(TAILS[1]) }
    };
    let skill = |n: usize| {
        let [hit_rate, log_loss] = whole(&sums[n]);
        Skill {
            name: forecasts[n].name.clone(),
            rows: judged.len(),
            effective_rows,
            hit_rate: figure(hit_rate, &|r| replicates[n][r][0]),
            log_loss: figure(log_loss, &|r| replicates[n][r][1]),
            gain: figure(first[1] - log_loss, &|r| replicates[0][r][1] - replicates[n][r][1]),
        }
    };
    (0..forecasts.len()).map(skill).collect()
}

/// The slot of each row, one horizon long; slots without rows are not counted.
fn slots(judged: &[Judged], times: Times) -> Vec<usize> {
    let horizon_ns = times.horizon_ms.max(1) as i64 * 1_000_000;
    let (mut slot, mut newest) = (0, None);
    let slot_of = |row: &Judged| {
        let time = row.ts_cycle_ns.div_euclid(horizon_ns);
        if newest.is_some_and(|newest| newest != time) {
            slot += 1;
        }
        newest = Some(time);
        slot
    };
    judged.iter().map(slot_of).collect()
}

/// Sums before each slot, and over all.
fn prefix_sums(judged: &[Judged], p_up: &[f64], slots: &[usize]) -> Vec<Sums> {
    assert_eq!(judged.len(), p_up.len(), "one probability a row");
    let mut sums = vec![Sums::default(); slots.last().map_or(1, |last| last + 2)];
    for ((row, p_up), slot) in judged.iter().zip(p_up).zip(slots) {
        let p_up = p_up.clamp(CLIP, 1.0 - CLIP);
        let p = if row.is_up { p_up } else { 1.0 - p_up };
        let sum = &mut sums[slot + 1];
        sum.rows += 1.0;
        sum.loss -= p.ln();
        sum.hits += if p == 0.5 { 0.5 } else { f64::from(u8::from(p > 0.5)) };
    }
    for slot in 1..sums.len() {
        let Sums { rows, hits, loss } = sums[slot - 1];
        sums[slot].rows += rows;
        sums[slot].hits += hits;
        sums[slot].loss += loss;
    }
    sums
}

/// Draws blocks of slots, again and again; a block is one or two stretches `[from, to)`. Nothing is drawn
/// where there are not two blocks.
fn draw(slots: usize, mut each: impl FnMut(&[[usize; 2]])) {
    let length = BLOCK_HORIZONS.max(slots.div_ceil(MAX_BLOCKS));
    if slots < 2 * length {
        return;
    }
    let mut blocks = Vec::new();
    for replicate in 0..REPLICATES {
        let key = Key::new(SEED).fork(replicate as u64);
        blocks.clear();
        for block in 0..slots.div_ceil(length) {
            let from = key.below(block as u64, slots as u32) as usize;
            blocks.push([from, slots.min(from + length)]);
            if from + length > slots {
                blocks.push([0, from + length - slots]);
            }
        }
        each(&blocks);
    }
}

fn between(sums: &[Sums], from: usize, to: usize) -> Sums {
    let (before, until) = (sums[from], sums[to]);
    Sums {
        rows: until.rows - before.rows,
        hits: until.hits - before.hits,
        loss: until.loss - before.loss,
    }
}

/// Hit rate and log loss.
fn ratios(sums: impl IntoIterator<Item = Sums>) -> [f64; 2] {
    let [mut rows, mut hits, mut loss] = [0.0; 3];
    for sum in sums {
        rows += sum.rows;
        hits += sum.hits;
        loss += sum.loss;
    }
    [hits / rows, loss / rows]
}

/// The skills as lines for people; the gain is marked where its interval does not hold 0.
#[must_use]
pub fn table(skills: &[Skill]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{:<22}{:>9}{:>11}  {:<24}{:<26}gain over base rate, nat",
        "forecaster", "moves", "effective", "hit rate %", "log loss, nat"
    );
    for skill in skills {
        let figure = |figure: Figure, scale: f64, digits: usize| {
            let Figure { value, low, high } = figure;
            let [value, low, high] = [value, low, high].map(|x| x * scale);
            format!("{value:.digits$} [{low:.digits$}, {high:.digits$}]")
        };
        let is_told = skill.gain.low > 0.0 || skill.gain.high < 0.0;
        let _ = writeln!(
            text,
            "{:<22}{:>9}{:>11.0}  {:<24}{:<26}{}{}",
            skill.name,
            skill.rows,
            skill.effective_rows,
            figure(skill.hit_rate, 100.0, 2),
            figure(skill.log_loss, 1.0, 4),
            figure(skill.gain, 1.0, 4),
            if is_told { " *" } else { "" },
        );
    }
    let _ = write!(
        text,
        "[95 % intervals: circular block bootstrap, blocks of {BLOCK_HORIZONS} horizons or more; * gain \
         other than 0]"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { cycle_ms: 100, horizon_ms: 1_000 };
    const CYCLE_NS: i64 = 100_000_000;

    /// Labels in runs of ten equal ones, as overlapping labels come, and a forecaster that is right with
    /// the probability that it says, a run at a time.
    fn runs(count: usize, seed: u64, p: f64) -> (Vec<Judged>, Vec<f64>) {
        let key = Key::new(seed);
        let (mut judged, mut says) = (Vec::new(), Vec::new());
        for run in 0..count as u64 {
            let is_up = key.uniform(2 * run) < 0.5;
            let is_right = f64::from(key.uniform(2 * run + 1)) < p;
            for n in 0..10 {
                judged.push(Judged { ts_cycle_ns: (run as i64 * 10 + n) * CYCLE_NS, is_up });
                says.push(if is_right == is_up { p } else { 1.0 - p });
            }
        }
        (judged, says)
    }

    fn forecasts(p_up: Vec<f64>) -> [Forecasts; 2] {
        let half = Forecasts { name: "base rate".into(), p_up: vec![0.5; p_up.len()] };
        [half, Forecasts { name: "one".into(), p_up }]
    }

    #[test]
    fn figures_are_those_of_all_rows() {
        let (judged, says) = runs(400, 3, 0.7);
        let found = skills(&judged, &forecasts(says.clone()), TIMES);
        let right = says.iter().zip(&judged).filter(|(p, row)| (**p > 0.5) == row.is_up).count();
        let rate = right as f64 / 4_000.0;
        let loss = -(rate * 0.7_f64.ln() + (1.0 - rate) * 0.3_f64.ln());
        let one = &found[1];
        assert!((one.hit_rate.value - rate).abs() < 1e-12);
        assert!((one.log_loss.value - loss).abs() < 1e-12);
        assert!((one.gain.value - (std::f64::consts::LN_2 - loss)).abs() < 1e-12);
        assert_eq!((one.rows, one.effective_rows), (4_000, 400.0));
        assert_eq!((found[0].hit_rate.value, found[0].gain.value), (0.5, 0.0));
        assert!(one.gain.low > 0.0 && one.hit_rate.low < rate && rate < one.hit_rate.high);
    }

    #[test]
    fn an_interval_is_as_wide_as_that_of_rows_that_do_not_overlap() {
        let (judged, says) = runs(2_000, 5, 0.6);
        let one = &skills(&judged, &forecasts(says), TIMES)[1];
        let width = one.hit_rate.high - one.hit_rate.low;
        // Of 2,000 independent draws, and not of 20,000.
        let expected = 2.0 * 1.96 * (0.6_f64 * 0.4 / 2_000.0).sqrt();
        assert!((0.8..1.2).contains(&(width / expected)), "{width}, expected {expected}");
    }

    #[test]
    fn most_intervals_hold_what_is_true() {
        let mut held = 0;
        for seed in 0..60 {
            let (judged, says) = runs(300, 100 + seed, 0.6);
            let rate = skills(&judged, &forecasts(says), TIMES)[1].hit_rate;
            held += u32::from(rate.low <= 0.6 && 0.6 <= rate.high);
        }
        // Of 60 at 95 %, 50 or fewer have a probability below 0.1 %.
        assert!(held > 50, "{held} of 60");
    }

    #[test]
    fn too_few_rows_have_figures_and_no_intervals() {
        let (judged, says) = runs(15, 9, 0.6);
        let found = skills(&judged, &forecasts(says), TIMES);
        assert!(found[1].hit_rate.value.is_finite() && found[1].hit_rate.low.is_nan());
        assert!(skills(&[], &forecasts(Vec::new()), TIMES)[0].log_loss.value.is_nan());
        let text = table(&found);
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
