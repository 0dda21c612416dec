//! The challenger: a second combination that forecasts in shadow and decides once it has earned it.
//!
//! Both combinations forecast every instrument in every cycle and learn from every outcome. Which of them
//! decides is a matter of each instrument: its duel weighs the recalibrated probabilities of both on the
//! same outcomes (`purkinje_strategies::challenger`), and when the one in shadow wins, the two change
//! places from the next decision on and the duel begins anew. Recalibrated, because that is what decisions are made
//! of, and so that no rule wins by a distortion that recalibration repairs; before anomalies lower it,
//! because they lower both.
//!
//! Invariants: a pure function of the outcomes in their order; what an instrument's duel decides touches
//! no other instrument; nothing allocates after construction.

use purkinje_strategies::{
    challenger::{Challenger, ChallengerConfig, ChallengerError, Promotion},
    combine::CombineRule,
};

use super::ensemble::{Combined, Ensemble};
use crate::signals::DecidedBy;

/// What makes a challenger.
#[derive(Clone, Copy, Debug)]
pub struct ShadowConfig {
    /// How it combines the members.
    pub rule: CombineRule,
    /// Largest probability of a promotion in one duel where the one in shadow is not better.
    pub alpha: f64,
    /// Labels that must have counted before a promotion.
    pub labels_min: u64,
}

/// One instrument's duel.
#[derive(Clone, Debug)]
pub struct Duel {
    evidence: Challenger,
    decided_by: DecidedBy,
    last: Option<Promotion>,
}

impl Duel {
    /// Who decides about the instrument now.
    #[must_use]
    pub fn decided_by(&self) -> DecidedBy {
        self.decided_by
    }

    /// log10 of the wealth of who bets on the one in shadow: 0 at the start.
    #[must_use]
    pub fn evidence_log10(&self) -> f64 {
        self.evidence.wealth().log10()
    }

    /// Labels that counted since the last promotion.
    #[must_use]
    pub fn labels(&self) -> u64 {
        self.evidence.labels()
    }

    /// Promotions so far.
    #[must_use]
    pub fn promotions(&self) -> u64 {
        self.evidence.promotions()
    }

    /// The last promotion.
    #[must_use]
    pub fn last(&self) -> Option<&Promotion> {
        self.last.as_ref()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Shadow {
    ensemble: Ensemble,
    rule: &'static str,
    duels: Vec<Duel>,
}

impl Shadow {
    /// Duels without evidence; `strategy.combiner` decides everywhere.
    ///
    /// # Errors
    /// The level or the horizon is out of range.
    pub fn new(
        ensemble: Ensemble,
        config: &ShadowConfig,
        horizon_ns: i64,
        instruments: usize,
    ) -> Result<Self, ChallengerError> {
        let ShadowConfig { rule, alpha, labels_min } = *config;
        let evidence = Challenger::new(ChallengerConfig { alpha, horizon_ns, labels_min })?;
        let duel = Duel { evidence, decided_by: DecidedBy::Combiner, last: None };
        Ok(Self { ensemble, rule: rule.name(), duels: vec![duel; instruments] })
    }

    /// What the challenger says.
    #[must_use]
    pub fn predict(&self, calibrated: &[f64]) -> Combined {
        self.ensemble.predict(calibrated)
    }

    /// What it says of an instrument that cannot be forecast.
    #[must_use]
    pub fn absent(&self) -> Combined {
        self.ensemble.absent()
    }

    /// Learns what followed, for the challenger and for the instrument's duel. `said_by_combiner` is what
    /// the other combination said at the same time.
    pub fn learn(
        &mut self,
        instrument: usize,
        said_by_combiner: &Combined,
        said: &Combined,
        up: bool,
        ts_cycle_ns: i64,
    ) {
        self.ensemble.learn(said, up);
        let duel = &mut self.duels[instrument];
        let (champion, challenger) = match duel.decided_by {
            DecidedBy::Combiner => (said_by_combiner.recalibrated, said.recalibrated),
            DecidedBy::Challenger => (said.recalibrated, said_by_combiner.recalibrated),
        };
        if let Some(promotion) = duel.evidence.observe(champion, challenger, up, ts_cycle_ns) {
            duel.decided_by = duel.decided_by.other();
            duel.last = Some(promotion);
        }
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        self.ensemble.visit_learned(visit);
        for duel in &mut self.duels {
            duel.evidence.visit_learned(visit);
            let mut is_challenger = f64::from(u8::from(duel.decided_by == DecidedBy::Challenger));
            visit(&mut is_challenger);
            duel.decided_by =
                if is_challenger == 1.0 { DecidedBy::Challenger } else { DecidedBy::Combiner };
        }
    }

    /// An instrument's duel.
    #[must_use]
    pub fn duel(&self, instrument: usize) -> &Duel {
        &self.duels[instrument]
    }

    /// All duels, in the order of the instruments.
    #[must_use]
    pub fn duels(&self) -> &[Duel] {
        &self.duels
    }

    /// Name of the challenger's rule.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    /// Weight of each member in the challenger when all are awake, then of the base rate.
    pub fn weights(&self) -> impl Iterator<Item = f64> + use<> {
        self.ensemble.weights()
    }
}

#[cfg(test)]
mod tests {
    use purkinje_strategies::{calibrate::Calibration, combine::CombinerConfig};

    use super::*;

    const HORIZON_NS: i64 = 1_000;

    fn combined(ensemble: &Ensemble, recalibrated: f64) -> Combined {
        Combined { recalibrated, ..ensemble.predict(&[recalibrated]) }
    }

    #[test]
    fn the_better_one_is_promoted_for_its_instrument_alone_and_holds_its_place() {
        let rule = CombineRule::Median;
        let ensemble = Ensemble::new(1, CombinerConfig::default(), rule, Calibration::None, 1.0);
        let ensemble = ensemble.unwrap();
        let config = ShadowConfig { rule, alpha: 0.01, labels_min: 30 };
        let mut shadow = Shadow::new(ensemble.clone(), &config, HORIZON_NS, 2).unwrap();
        let mut promoted_at = None;
        for i in 0..400i64 {
            let up = i % 3 != 0;
            // It knows on the first instrument, and is wrong on the second.
            let p = if up { 0.8 } else { 0.2 };
            let (dull, good, bad) =
                (combined(&ensemble, 0.5), combined(&ensemble, p), combined(&ensemble, 1.0 - p));
            shadow.learn(0, &dull, &good, up, i * HORIZON_NS);
            shadow.learn(1, &dull, &bad, up, i * HORIZON_NS);
            if shadow.duel(0).promotions() == 1 {
                promoted_at.get_or_insert(i);
            }
        }
        assert!((29..120).contains(&promoted_at.unwrap()), "{promoted_at:?}");
        let [better, worse] = [shadow.duel(0), shadow.duel(1)];
        assert_eq!((better.decided_by(), better.promotions()), (DecidedBy::Challenger, 1));
        assert_eq!((worse.decided_by(), worse.promotions()), (DecidedBy::Combiner, 0));
        assert!(better.last().unwrap().wealth >= 100.0 && worse.last().is_none());
        // The old champion is the challenger now, and has nothing to show.
        assert!(better.evidence_log10() < 0.0 && better.labels() > 200);
    }
}
