//! From the members' probabilities to what is decided about: combined, recalibrated, lowered where the features
//! are unusual, and the directions that are left.
//!
//! Two combinations where there is a challenger: who decides is a matter of each instrument ([`super::shadow`]).
//! Invariants: what is off costs nothing and changes nothing; a judgement holds all that its outcome teaches;
//! nothing allocates after construction.

use purkinje_strategies::{
    anomaly::shrink,
    calibrate::{Conformal, ConformalSet},
};

use super::{
    ForecasterError,
    ensemble::{Combined, Ensemble},
    label::horizon_cycles,
    settings::ForecasterConfig,
    shadow::{Duel, Shadow},
};
use crate::signals::DecidedBy;

/// What was made of the members' forecasts of one instrument.
#[derive(Clone, Copy, Debug)]
pub struct Judgement {
    by_combiner: Combined,
    /// `None` without a challenger.
    by_challenger: Option<Combined>,
    decided_by: DecidedBy,
    /// P(up) that confidence is taken from: of who decided, recalibrated, lowered by an anomaly.
    pub confident: f64,
    /// Directions left; `None` where conformal prediction is off or nothing was forecast.
    pub conformal: Option<ConformalSet>,
    /// Score of the features; NaN where nobody says or nothing was forecast.
    pub anomaly: f64,
}

impl Judgement {
    /// What the combination that decides said.
    #[must_use]
    pub fn decided(&self) -> &Combined {
        match (self.decided_by, &self.by_challenger) {
            (DecidedBy::Challenger, Some(challenger)) => challenger,
            _ => &self.by_combiner,
        }
    }

    /// What the other one said; `None` without a challenger.
    #[must_use]
    pub fn in_shadow(&self) -> Option<&Combined> {
        match self.decided_by {
            DecidedBy::Combiner => self.by_challenger.as_ref(),
            DecidedBy::Challenger => Some(&self.by_combiner),
        }
    }

    /// Which combination decides; `None` without a challenger.
    #[must_use]
    pub fn decided_by(&self) -> Option<DecidedBy> {
        self.by_challenger.map(|_| self.decided_by)
    }

    /// What each member said, those that only the challenger sees included; NaN where absent.
    #[must_use]
    pub fn members(&self) -> &[f64] {
        &self.by_challenger.as_ref().unwrap_or(&self.by_combiner).forecast.members
    }
}

/// See the module.
#[derive(Debug)]
pub struct Judge {
    /// Members that the combiner sees, the first of all.
    combined_members: usize,
    combiner: Ensemble,
    shadow: Option<Shadow>,
    /// One per instrument; none where it is off.
    conformal: Vec<Conformal>,
}

impl Judge {
    /// For so many members, the first `combined_members` of which the combiner sees and all of which the
    /// challenger does.
    ///
    /// # Errors
    /// A setting is out of range.
    pub fn new(
        config: &ForecasterConfig,
        combined_members: usize,
        members: usize,
    ) -> Result<Self, ForecasterError> {
        let label_weight = 1.0 / horizon_cycles(config.horizon_ns, config.period_ns) as f64;
        let ensemble = |members, rule| {
            Ensemble::new(members, config.combiner, rule, config.calibration, label_weight)
        };
        let mut shadow = None;
        if let Some(challenger) = &config.challenger {
            let theirs = ensemble(members, challenger.rule)?;
            let duels = config.instruments;
            shadow = Some(Shadow::new(theirs, challenger, config.horizon_ns, duels)?);
        }
        let conformal = match config.conformal {
            Some(settings) => (0..config.instruments)
                .map(|_| Conformal::new(settings))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let combiner = ensemble(combined_members, config.rule)?;
        Ok(Self { combined_members, combiner, shadow, conformal })
    }

    /// Judges an instrument by its members' calibrated probabilities, of which NaN is a member that takes no part,
    /// and by the score of its features, if anybody says how unusual they are.
    #[must_use]
    pub fn judge(&self, instrument: usize, calibrated: &[f64], anomaly: Option<f64>) -> Judgement {
        let mut judgement = Judgement {
            by_combiner: self.combiner.predict(&calibrated[..self.combined_members]),
            by_challenger: self.shadow.as_ref().map(|shadow| shadow.predict(calibrated)),
            decided_by: self.decided_by(instrument),
            confident: 0.5,
            conformal: None,
            anomaly: f64::NAN,
        };
        judgement.confident = judgement.decided().recalibrated;
        if let Some(score) = anomaly {
            judgement.anomaly = score;
            judgement.confident = shrink(judgement.confident, judgement.anomaly);
        }
        let conformal = self.conformal.get(instrument);
        judgement.conformal = conformal.map(|conformal| conformal.predict(judgement.confident));
        judgement
    }

    /// What is said of an instrument that cannot be forecast: the base rate, and no confidence in it.
    #[must_use]
    pub fn absent(&self, instrument: usize) -> Judgement {
        Judgement {
            by_combiner: self.combiner.absent(),
            by_challenger: self.shadow.as_ref().map(Shadow::absent),
            decided_by: self.decided_by(instrument),
            confident: 0.5,
            conformal: None,
            anomaly: f64::NAN,
        }
    }

    fn decided_by(&self, instrument: usize) -> DecidedBy {
        self.duel(instrument).map_or(DecidedBy::Combiner, Duel::decided_by)
    }

    /// Learns which way the price moved after a judgement made at `ts_cycle_ns`.
    pub fn learn(&mut self, instrument: usize, made: &Judgement, up: bool, ts_cycle_ns: i64) {
        self.combiner.learn(&made.by_combiner, up);
        if let (Some(shadow), Some(said)) = (&mut self.shadow, &made.by_challenger) {
            shadow.learn(instrument, &made.by_combiner, said, up, ts_cycle_ns);
        }
        if let (Some(conformal), Some(set)) = (self.conformal.get_mut(instrument), made.conformal) {
            conformal.learn(set, made.confident, up);
        }
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        self.combiner.visit_learned(visit);
        if let Some(shadow) = &mut self.shadow {
            shadow.visit_learned(visit);
        }
        for conformal in &mut self.conformal {
            conformal.visit_learned(visit);
        }
    }

    /// Weight in the combiner of each member it sees when all are awake, then of the base rate.
    pub fn weights(&self) -> impl Iterator<Item = f64> + use<> {
        self.combiner.weights()
    }

    /// An instrument's duel; `None` without a challenger.
    #[must_use]
    pub fn duel(&self, instrument: usize) -> Option<&Duel> {
        self.shadow.as_ref().map(|shadow| shadow.duel(instrument))
    }

    /// The challenger and its duels, if there is one.
    #[must_use]
    pub fn shadow(&self) -> Option<&Shadow> {
        self.shadow.as_ref()
    }

    /// What abstains, by instrument; empty where nothing does.
    #[must_use]
    pub fn conformal(&self) -> &[Conformal] {
        &self.conformal
    }
}
