//! How good forecasts of one part are: log loss and hit rate, and the two forecasters to beat.
//!
//! Only rows that rose or fell are scored, by the [log loss of an evaluation](log_loss). The forecasters to
//! beat are not those of an evaluation, as they learn what the circuit learns: targets between the sides,
//! each with its weight, by the daemon's own regression. Invariant: they learn from the training part alone.

use purkinje_kernels::{
    logistic::{LogisticConfig, LogisticError},
    scale_mixture::{Expect, ScaleMixture},
};
use serde::{Deserialize, Serialize};

use super::rows::{Part, Rows};
use crate::{
    config::Loaded,
    evaluation::metrics::log_loss,
    learning::{
        forecaster::{expectations, leaning},
        label::horizon_cycles,
    },
    training::cerebellum::model::InputKind,
};

/// Sums over scored rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Rows that rose or fell.
    pub rows: u64,
    /// Their weights.
    pub weight: f64,
    /// Weighted log loss, nat.
    pub loss: f64,
    /// Weights of the rows whose side was forecast; one half of those at even odds.
    pub hits: f64,
}

impl Score {
    /// Adds a forecast of P(up) and what the row asked for; a target of neither side is left out.
    pub fn add(&mut self, p_up: f64, target: f32, weight: f32) {
        if target != 0.0 && target != 1.0 {
            return;
        }
        let (up, weight) = (target == 1.0, f64::from(weight));
        let p = if up { p_up } else { 1.0 - p_up };
        self.rows += 1;
        self.weight += weight;
        self.loss += weight * log_loss(p_up, up);
        self.hits += weight * if p > 0.5 { 1.0 } else { f64::from(u8::from(p == 0.5)) / 2.0 };
    }

    /// Mean log loss, nat; none without a scored row.
    #[must_use]
    pub fn mean_loss(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.loss / self.weight)
    }

    /// Share of hits; none without a scored row.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.hits / self.weight)
    }
}

/// The forecasters to beat.
#[derive(Clone, Debug)]
pub struct Baselines {
    p_up: f64,
    logistic: ScaleMixture,
}

impl Baselines {
    /// Learns the base rate and, in one pass, the daemon's logistic regression on the same inputs.
    ///
    /// # Errors
    /// The regression refuses its settings.
    pub fn new(loaded: &Loaded, rows: &Rows) -> Result<Self, LogisticError> {
        let strategy = &loaded.strategy;
        let is_live = rows.inputs.iter().all(|input| input.kind != InputKind::Standardised);
        let expect: Vec<Expect> = if is_live {
            let all = expectations();
            leaning().map(|k| all[k]).collect()
        } else {
            vec![Expect::Weak; rows.inputs.len()]
        };
        let config = LogisticConfig {
            prior_sd: strategy.logistic.prior_sd,
            memory: strategy.logistic.memory_labels,
            ..LogisticConfig::new(rows.inputs.len())
        };
        let mut logistic = ScaleMixture::new(&config, &expect)?;
        let period_ns = i64::from(loaded.config.cycle.period_ms) * 1_000_000;
        let horizon_ns = strategy.horizon_ms as i64 * 1_000_000;
        let label_weight = 1.0 / horizon_cycles(horizon_ns, period_ns) as f64;
        let (mut up, mut all) = (0.0, 0.0);
        for row in rows.train.rows() {
            let task = rows.task(*row);
            let Some(target) = task.target.map(f64::from) else { continue };
            let weight = f64::from(task.weight);
            let opinion = logistic.predict(rows.features(*row));
            logistic.learn(rows.features(*row), &opinion, target, weight * label_weight);
            up += weight * target;
            all += weight;
        }
        Ok(Self { p_up: if all > 0.0 { up / all } else { 0.5 }, logistic })
    }

    /// Scores of the base rate and of the regression over a part; nothing is learned.
    pub fn score(&mut self, rows: &Rows, part: &Part) -> [Score; 2] {
        let mut scores = [Score::default(); 2];
        for row in part.rows() {
            let task = rows.task(*row);
            let Some(target) = task.target else { continue };
            scores[0].add(self.p_up, target, task.weight);
            let p = self.logistic.predict(rows.features(*row)).p;
            scores[1].add(p, target, task.weight);
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use purkinje_kernels::rng::Key;

    use super::*;
    use crate::evaluation::metrics::CLIP;

    #[test]
    fn a_score_is_the_mean_log_loss_and_the_share_of_hits_by_weight() {
        let mut score = Score::default();
        score.add(0.8, 1.0, 3.0);
        score.add(0.8, 0.0, 1.0);
        score.add(0.5, 1.0, 4.0);
        score.add(0.9, 0.5, 100.0);
        let loss = -(3.0 * 0.8_f64.ln() + 0.2_f64.ln() + 4.0 * 0.5_f64.ln()) / 8.0;
        assert!((score.mean_loss().unwrap() - loss).abs() < 1e-12);
        assert_eq!((score.accuracy(), score.rows), (Some(5.0 / 8.0), 3));
        assert_eq!(Score::default().mean_loss(), None);
    }

    #[test]
    fn the_loss_is_to_the_bit_the_weighted_logarithm_of_what_was_given_to_the_side_that_came() {
        let key = Key::new(3);
        let (mut score, mut loss) = (Score::default(), 0.0);
        for row in 0..10_000 {
            let uniform = |stream| key.fork(stream).uniform(row);
            let (p_up, up) = (f64::from(uniform(0)), uniform(1) < 0.5);
            let weight = uniform(2);
            score.add(p_up, if up { 1.0 } else { 0.0 }, weight);
            let p_up = p_up.clamp(1e-6, 1.0 - 1e-6);
            loss -= f64::from(weight) * (if up { p_up } else { 1.0 - p_up }).ln();
        }
        assert_eq!(score.loss.to_bits(), loss.to_bits());
    }

    #[test]
    fn a_sure_error_costs_a_bounded_loss() {
        let mut score = Score::default();
        score.add(0.0, 1.0, 1.0);
        assert!((score.mean_loss().unwrap() + CLIP.ln()).abs() < 1e-9);
    }
}
