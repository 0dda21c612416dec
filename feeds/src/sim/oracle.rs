//! The best forecast that anyone could make of the simulated mid price, solved, not sampled.
//!
//! Given the hidden state `x` the mid price moves up at rate `r s(x)` and down at `r (1 - s(x))`,
//! `s(x) = 1 / (1 + exp(-strength x))`, and `x` is an Ornstein-Uhlenbeck process. Let
//! `U(x) = P(displacement after the horizon > 0 | x)`. By symmetry `P(displacement < 0 | x) =
//! U(-x)`, so `P(up | moved, x) = U(x) / (U(x) + U(-x))`. `U` solves the backward Kolmogorov
//! equation of the pair (x, displacement). Here `x` is replaced by a birth-death chain on a grid
//! whose drift and variance per unit of time are exactly those of the process (inside the grid),
//! and the chain is run for the horizon by uniformisation (Jensen, Skand. Aktuarietidskr. 36,
//! 1953), which has only positive terms and no step-size error.
//!
//! Invariants: `p_up` is odd about one half; it is exactly one half for every `x` when the
//! strength is zero; nothing here is random.

/// Half the number of grid intervals over `x`.
const HALF: usize = 50;

/// Grid points over `x`.
const POINTS: usize = 2 * HALF + 1;

/// Spacing of the grid: it spans five standard deviations on either side.
const SPACING: f64 = 0.1;

/// Forecast skill that cannot be beaten, by state and on average.
#[derive(Clone, Debug)]
pub struct Oracle {
    horizon_ms: u32,
    /// Log-odds of up at the grid points; close to linear in `x`, so interpolation is accurate.
    log_odds: [f64; POINTS],
    /// Probability that the mid price differs after the horizon, at the grid points.
    moved: [f64; POINTS],
}

impl Oracle {
    /// Solves the market: `strength` multiplies `x` in the log-odds of a move, `memory_ms` is the
    /// time constant of `x`, `move_rate_hz` the rate of moves.
    ///
    /// The cost is bounded by [`MarketConfig::validate`](super::MarketConfig::validate): 0.1 s at
    /// the worst accepted values, a few milliseconds at the defaults.
    #[must_use]
    pub(crate) fn new(strength: f64, memory_ms: u32, horizon_ms: u32, move_rate_hz: f64) -> Self {
        let up = positive_displacement(
            strength,
            f64::from(memory_ms) / 1e3,
            f64::from(horizon_ms) / 1e3,
            move_rate_hz,
        );
        // Rounding may leave a vanishing probability at or below zero; its logarithm is needed.
        let up = up.map(|u| u.max(1e-12));
        Self {
            horizon_ms,
            log_odds: std::array::from_fn(|i| up[i].ln() - up[POINTS - 1 - i].ln()),
            moved: std::array::from_fn(|i| up[i] + up[POINTS - 1 - i]),
        }
    }

    /// The horizon the figures hold for, in milliseconds.
    #[must_use]
    pub fn horizon_ms(&self) -> u32 {
        self.horizon_ms
    }

    /// Probability that the mid price is higher after the horizon, given that it differs and that
    /// the hidden state is `x` (in standard deviations; beyond five it counts as five).
    #[must_use]
    pub fn p_up(&self, x: f64) -> f64 {
        logistic(interpolate(&self.log_odds, x))
    }

    /// Probability that the mid price differs after the horizon, given the hidden state `x`.
    #[must_use]
    pub fn p_moved(&self, x: f64) -> f64 {
        interpolate(&self.moved, x)
    }

    /// Expected fraction of right directions, over samples whose mid price moved.
    #[must_use]
    pub fn best_hit_rate(&self) -> f64 {
        self.expect_over_moved(|p| p.max(1.0 - p))
    }

    /// Expected log loss (natural logarithm), over samples whose mid price moved. The base rate's
    /// is ln 2.
    #[must_use]
    pub fn best_log_loss(&self) -> f64 {
        self.expect_over_moved(|p| -(p * p.ln() + (1.0 - p) * (1.0 - p).ln()))
    }

    /// Mean of a function of `p_up` under the stationary normal density of `x`, each `x` weighted
    /// by how often a sample there moves. The trapezoid rule on this grid is exact to 1e-6: the
    /// integrand is smooth and has vanished at the ends.
    fn expect_over_moved(&self, f: impl Fn(f64) -> f64) -> f64 {
        let (mut sum, mut weight) = (0.0, 0.0);
        for (i, &log_odds) in self.log_odds.iter().enumerate() {
            let x = grid_x(i);
            let w = (-0.5 * x * x).exp() * self.moved[i];
            sum += w * f(logistic(log_odds));
            weight += w;
        }
        sum / weight
    }
}

pub(crate) fn logistic(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

fn grid_x(i: usize) -> f64 {
    (i as f64 - HALF as f64) * SPACING
}

fn interpolate(table: &[f64; POINTS], x: f64) -> f64 {
    let at = (x / SPACING + HALF as f64).clamp(0.0, (POINTS - 1) as f64);
    let i = (at as usize).min(POINTS - 2);
    table[i] + (at - i as f64) * (table[i + 1] - table[i])
}

/// `U` on the grid: P(displacement after `horizon_s` > 0 | x).
fn positive_displacement(
    strength: f64,
    memory_s: f64,
    horizon_s: f64,
    move_rate_hz: f64,
) -> [f64; POINTS] {
    let moves = move_rate_hz * horizon_s;
    // More moves than this have a probability below 1e-12, so the edges are never felt at 0.
    let reach = (moves + 8.0 * moves.sqrt() + 10.0).ceil() as usize;
    let width = 2 * reach + 1;
    let hop_hz = 1.0 / (memory_s * SPACING * SPACING);
    let uniform_hz = 2.0 * hop_hz + move_rate_hz;
    let jumps = uniform_hz * horizon_s;

    // One row per x, one column per displacement; at the horizon, 1 where it is positive.
    let mut now = vec![0.0_f64; POINTS * width];
    now.chunks_exact_mut(width).for_each(|row| row[reach + 1..].fill(1.0));
    let mut next = now.clone();
    let mut total = [0.0; POINTS];
    // ln of the Poisson weight of n jumps, n = 0, 1, …
    let mut log_weight = -jumps;
    let last = (jumps + 10.0 * jumps.sqrt() + 20.0).ceil() as usize;
    for n in 0..=last {
        let weight = log_weight.exp();
        for (sum, row) in total.iter_mut().zip(now.chunks_exact(width)) {
            *sum += weight * row[reach];
        }
        log_weight += (jumps / (n + 1) as f64).ln();
        for i in 0..POINTS {
            let x = grid_x(i);
            let rates = RowRates {
                // Outward hops from the ends are left out: x is reflected there.
                right: if i + 1 < POINTS { hop_hz * (1.0 - 0.5 * x * SPACING) } else { 0.0 },
                left: if i > 0 { hop_hz * (1.0 + 0.5 * x * SPACING) } else { 0.0 },
                up: move_rate_hz * logistic(strength * x),
                down: move_rate_hz * logistic(-strength * x),
            };
            let row = &mut next[i * width..][..width];
            rates.scaled(1.0 / uniform_hz).jump_once(&now, i, row);
        }
        std::mem::swap(&mut now, &mut next);
    }
    total
}

/// Rates out of the states of one row of the chain.
struct RowRates {
    right: f64,
    left: f64,
    up: f64,
    down: f64,
}

impl RowRates {
    fn scaled(self, by: f64) -> Self {
        let Self { right, left, up, down } = self;
        Self { right: right * by, left: left * by, up: up * by, down: down * by }
    }

    /// The expectation of `now` one jump of the uniformised chain later, for the states of row `i`.
    ///
    /// Written in differences, so that a function that does not depend on x stays so to the bit.
    fn jump_once(&self, now: &[f64], i: usize, out: &mut [f64]) {
        let width = out.len();
        let row = |i: usize| &now[i * width..][..width];
        let (here, left, right) = (row(i), row(i.saturating_sub(1)), row((i + 1).min(POINTS - 1)));
        for k in 0..width {
            let u = here[k];
            let above = if k + 1 < width { here[k + 1] } else { 1.0 };
            let below = if k > 0 { here[k - 1] } else { 0.0 };
            out[k] = u
                + self.right * (right[k] - u)
                + self.left * (left[k] - u)
                + self.up * (above - u)
                + self.down * (below - u);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    #[test]
    fn without_a_planted_component_the_forecast_is_exactly_one_half() {
        let oracle = Oracle::new(0.0, 4_000, 1_000, 4.0);
        for x in [-9.0, -2.345, -0.01, 0.0, 0.7, 3.3, 5.0] {
            assert_eq!(oracle.p_up(x), 0.5);
        }
        assert_eq!(oracle.best_hit_rate(), 0.5);
        assert!((oracle.best_log_loss() - 2.0_f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn the_forecast_is_odd_about_one_half_and_rises_with_the_state() {
        let oracle = Oracle::new(1.3, 4_000, 1_000, 4.0);
        let mut previous = 0.0;
        for i in -60..=60 {
            let x = f64::from(i) * 0.083;
            let p = oracle.p_up(x);
            assert!((p + oracle.p_up(-x) - 1.0).abs() < 1e-15, "not odd at {x}");
            assert!(p >= previous, "falls at {x}");
            previous = p;
        }
    }

    #[test]
    fn a_frozen_state_and_rare_moves_give_the_odds_of_a_single_move() {
        // With 0.01 moves per horizon two moves are rarer than 1 %, and x does not change.
        let oracle = Oracle::new(1.5, 3_600_000, 100, 0.1);
        for x in [-2.0, -0.5, 0.3, 1.0] {
            let single = logistic(1.5 * x);
            assert!((oracle.p_up(x) - single).abs() < 2e-3, "{} {single}", oracle.p_up(x));
            assert!((oracle.p_moved(x) - (1.0 - (-0.01_f64).exp())).abs() < 1e-4);
        }
    }

    #[test]
    fn a_frozen_state_gives_the_difference_of_two_poisson_counts() {
        // P(A > B) for A ~ Poisson(a), B ~ Poisson(b), summed directly.
        let x = 0.8;
        let (a, b) = (4.0 * logistic(1.3 * x), 4.0 * logistic(-1.3 * x));
        let poisson = |mean: f64| {
            let mut p = (-mean).exp();
            (0..60).map(move |n| {
                let next = p * mean / f64::from(n + 1);
                std::mem::replace(&mut p, next)
            })
        };
        let (mut more, mut less) = (0.0, 0.0);
        for (i, pa) in poisson(a).enumerate() {
            for (j, pb) in poisson(b).enumerate() {
                more += if i > j { pa * pb } else { 0.0 };
                less += if i < j { pa * pb } else { 0.0 };
            }
        }
        let oracle = Oracle::new(1.3, 3_600_000, 1_000, 4.0);
        assert!((oracle.p_up(x) - more / (more + less)).abs() < 3e-4, "{}", oracle.p_up(x));
        assert!((oracle.p_moved(x) - (more + less)).abs() < 3e-4);
    }

    #[test]
    fn the_solution_agrees_with_sampled_paths_when_the_state_forgets_quickly() {
        // Memory of half a horizon, strong planting: the hard case for the grid.
        let (strength, memory_s, rate_hz) = (3.0, 0.5, 6.0);
        let oracle = Oracle::new(strength, 500, 1_000, rate_hz);
        let mut rng = Rng::new(5, 0);
        let start = 1.2;
        let (mut up, mut moved) = (0.0, 0.0);
        let paths = 60_000;
        for _ in 0..paths {
            let (mut x, mut at_s, mut net) = (start, 0.0_f64, 0);
            loop {
                let wait_s = rng.waiting_s(rate_hz);
                at_s += wait_s;
                if at_s > 1.0 {
                    break;
                }
                let decay = (-wait_s / memory_s).exp();
                x = x * decay + (1.0 - decay * decay).sqrt() * rng.normal();
                net += if rng.uniform() < logistic(strength * x) { 1 } else { -1 };
            }
            up += f64::from(u8::from(net > 0));
            moved += f64::from(u8::from(net != 0));
        }
        let sampled = up / moved;
        println!("sampled {sampled:.4}, solved {:.4}", oracle.p_up(start));
        // Four standard errors are 0.007.
        assert!((sampled - oracle.p_up(start)).abs() < 0.007);
        assert!((moved / f64::from(paths) - oracle.p_moved(start)).abs() < 0.007);
    }

    #[test]
    fn the_corners_of_the_accepted_values_are_solved() {
        for (strength, memory_ms, horizon_ms, move_rate_hz) in [
            (20.0, 3_600_000, 10, 100.0),
            (20.0, 3_600_000, 10, 0.01),
            (20.0, 50, 500, 100.0),
            (20.0, 10_000, 100_000, 1.0),
            (0.01, 60_000, 600_000, 0.1),
        ] {
            let oracle = Oracle::new(strength, memory_ms, horizon_ms, move_rate_hz);
            for x in [-5.0, -1.0, 0.05, 2.0] {
                assert!(oracle.p_up(x) > 0.0 && oracle.p_up(x) < 1.0 && oracle.p_moved(x) > 0.0);
                assert!(oracle.p_moved(x) < 1.0 + 1e-9);
            }
            let (hit, loss) = (oracle.best_hit_rate(), oracle.best_log_loss());
            assert!((0.5..1.0).contains(&hit) && loss > 0.0 && loss < 0.694, "{hit} {loss}");
        }
    }

    #[test]
    fn the_default_strength_gives_a_best_hit_rate_of_three_in_four() {
        let config = super::super::MarketConfig::default();
        let oracle =
            Oracle::new(config.strength, config.memory_ms, config.horizon_ms, config.move_rate_hz);
        let (hit, loss) = (oracle.best_hit_rate(), oracle.best_log_loss());
        println!("best hit rate {hit:.4}, best log loss {loss:.4} of 0.6931");
        assert!((hit - 0.75).abs() < 0.01, "hit rate {hit}");
        assert!(loss < 0.55, "log loss {loss}");
    }
}
