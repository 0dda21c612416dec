//! From features to signals, and from outcomes back to the members.
//!
//! Once per cycle: forecasts whose horizon has passed are compared with what the mid price did, and
//! every learner is told (`think`, first half); the members look at the new features (`think`, second
//! half); their probabilities are calibrated, combined, judged and become signals (`decide`). Where they are
//! switched on, a second combination forecasts in shadow ([`super::shadow`]), unusual features lower confidence
//! ([`super::anomaly`]) and conformal prediction abstains.
//!
//! Invariants: a pure function of the sequence of batches (no clock is read but to stamp signals);
//! nothing allocates after the first cycle; what a learner is told was unknown when it forecast; a
//! forecast that a gap in the book has made unverifiable is discarded and counted, never scored.

use purkinje_feeds::InstrumentId;
use purkinje_kernels::{
    cerebellum::Cerebellum,
    logistic::{LogisticConfig, OnlineLogistic},
    scale_mixture::{Expect, Opinion, ScaleMixture},
};
use purkinje_strategies::{
    calibrate::Calibrator,
    decide::{Decider, Situation},
    features::{Feature, MIRRORS, Mirror, N as FEATURES},
    score::{Direction, Outcome, Persistence, Sample, ScoreConfig, Scorecard},
};

use super::{
    ForecasterError,
    judge::{Judge, Judgement},
    label::{Age, Waiting, horizon_cycles, outcome, pending_slots},
    models::{Models, Shown},
    names::{
        CHALLENGER, COMBINED, ORACLE, RECALIBRATED, member_name, member_names, missing_baselines,
    },
    network::Network,
    pending::Pending,
    settings::{ForecasterConfig, Networks},
};
use crate::{
    clock::monotonic_ns,
    config::Member,
    pipeline::{
        batch::{CycleBatch, Status},
        input::Cut,
        live_settings::LiveSettings,
        sink::Output,
    },
    signals::{MAX_MEMBERS, MemberView, Signal},
};

/// Labels after which what persistence learned has faded by e.
const PERSISTENCE_MEMORY_LABELS: f64 = 20_000.0;

/// Prior standard deviation of the two queue imbalances' weights: known to matter in every market
/// (Cont, Kukanov and Stoikov, J. Financial Econometrics 12, 2014), so that they are not held back
/// with the weak features.
const IMBALANCE_SD: f64 = 0.5;

/// One forecast that waits for its outcome.
#[derive(Clone, Copy, Debug)]
struct Made {
    cycle: u64,
    ts_cycle_ns: i64,
    mid_x2: i64,
    judgement: Judgement,
    /// Members before calibration; NaN where absent.
    raw: [f64; MAX_MEMBERS],
    imbalance: [f32; 2],
    opinion: Opinion,
    imbalance_p: f64,
    persistence_p: f64,
    last_move: Option<Direction>,
    oracle: f64,
}

/// Counters of the learning loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearningCounts {
    /// Forecasts made.
    pub forecasts: u64,
    /// Outcomes with a move: learned from.
    pub moved: u64,
    /// Outcomes without a move: nothing to learn.
    pub unchanged: u64,
    /// Forecasts discarded because the book was lost or the clock jumped before their horizon.
    pub discarded: u64,
    /// Forecasts displaced because too many were waiting.
    pub displaced: u64,
}

impl LearningCounts {
    /// Forecasts whose horizon had not passed.
    #[must_use]
    pub fn open(&self) -> u64 {
        let closed = self.moved + self.unchanged + self.discarded + self.displaced;
        self.forecasts.saturating_sub(closed)
    }
}

/// The members and all that surrounds them.
#[derive(Debug)]
pub struct Forecaster {
    config: ForecasterConfig,
    /// The networks that only the challenger sees stand last.
    models: Models,
    logistic: ScaleMixture,
    imbalance: OnlineLogistic,
    persistence: Persistence,
    /// `None` for members whose values are probabilities by construction.
    calibrators: Vec<Option<Calibrator>>,
    judge: Judge,
    decider: Decider,
    scorecard: Scorecard,
    pending: Vec<Pending<Made>>,
    counts: LearningCounts,
    /// Weight of one label: horizons overlap, so it is worth less than an independent one.
    label_weight: f64,
    started: bool,
    halted: bool,
    settings: Option<LiveSettings>,
    seq: u64,
    // Scratch of one cycle.
    features: Vec<f32>,
    active: Vec<bool>,
    /// Whose book was lost since the last cycle.
    begins: Vec<bool>,
}

impl Forecaster {
    /// Builds members and learners.
    ///
    /// # Errors
    /// A setting of one of them is out of range, or there are too many members or two of one name.
    pub fn new(config: ForecasterConfig, networks: Networks) -> Result<Self, ForecasterError> {
        let n = config.instruments;
        let Networks { members: mut networks, challenger: of_challenger, anomaly } = networks;
        let combined_members = config.members.len() + networks.len();
        networks.extend(of_challenger);
        let members = config.members.len() + networks.len();
        if config.members.is_empty() || members > MAX_MEMBERS {
            return Err(ForecasterError::Members { found: members });
        }
        let slots = pending_slots(config.horizon_ns, config.period_ns);
        let score = ScoreConfig {
            cycle_ns: config.period_ns,
            horizon_ns: config.horizon_ns,
            warm_until_ns: 0,
        };
        let scorecard = {
            let mut names: Vec<&str> = member_names(&config.members, &networks).collect();
            for baseline in missing_baselines(&config.members) {
                names.push(member_name(baseline));
            }
            names.extend([COMBINED, RECALIBRATED]);
            if config.challenger.is_some() {
                names.push(CHALLENGER);
            }
            names.push(ORACLE);
            if let Some(k) = (1..names.len()).find(|k| names[..*k].contains(&names[*k])) {
                return Err(ForecasterError::Twice { name: names[k].to_owned() });
            }
            Scorecard::new(score, &names, Some(names.len() - 1))?
        };
        let has_cerebellum = config.members.contains(&Member::Cerebellum);
        let cerebellum = has_cerebellum.then(|| Cerebellum::new(config.cerebellum.clone()));
        let calibrator = || Calibrator::new(config.members_calibration);
        Ok(Self {
            logistic: ScaleMixture::new(
                &LogisticConfig { features: FEATURES, ..config.logistic.clone() },
                &expectations(),
            )?,
            // A broad prior: two inputs, and it is the baseline that must not be held back.
            imbalance: OnlineLogistic::new(LogisticConfig {
                prior_sd: 2.0,
                ..LogisticConfig::new(2)
            })?,
            persistence: Persistence::new(n, PERSISTENCE_MEMORY_LABELS),
            calibrators: config
                .members
                .iter()
                .map(|member| *member == Member::Cerebellum)
                .chain(networks.iter().map(|_| true))
                .map(|is_raw| is_raw.then(calibrator).transpose())
                .collect::<Result<_, _>>()?,
            judge: Judge::new(&config, combined_members, members)?,
            decider: Decider::new(n, config.thresholds, config.limits)?,
            scorecard,
            pending: vec![Pending::new(slots, FEATURES); n],
            counts: LearningCounts::default(),
            label_weight: 1.0 / horizon_cycles(config.horizon_ns, config.period_ns) as f64,
            started: false,
            halted: false,
            settings: None,
            seq: 0,
            features: vec![0.0; n * FEATURES],
            active: vec![false; n],
            begins: vec![false; n],
            models: Models::new(cerebellum.transpose()?, networks, anomaly, n),
            config,
        })
    }

    /// Names of the members, in order.
    #[must_use]
    pub fn member_names(&self) -> Vec<String> {
        member_names(&self.config.members, self.models.networks()).map(str::to_owned).collect()
    }

    /// The trained networks among them, in order.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        self.models.networks()
    }

    /// Number of members.
    fn members(&self) -> usize {
        self.calibrators.len()
    }

    /// Skill so far.
    #[must_use]
    pub fn scorecard(&self) -> &Scorecard {
        &self.scorecard
    }

    /// Counters of the learning loop.
    #[must_use]
    pub fn counts(&self) -> LearningCounts {
        self.counts
    }

    /// The cerebellum, if it is a member.
    #[must_use]
    pub fn cerebellum(&self) -> Option<&Cerebellum> {
        self.models.cerebellum()
    }

    /// The cerebellum, to give it weights.
    pub fn cerebellum_mut(&mut self) -> Option<&mut Cerebellum> {
        self.models.cerebellum_mut()
    }

    /// What the models are and where they run.
    #[must_use]
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// The models, to be moved to a device.
    pub fn models_mut(&mut self) -> &mut Models {
        &mut self.models
    }

    /// What is made of the members' forecasts.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Appends what the identity of the model is hashed from: settings and weights of the members.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        for member in &self.config.members {
            out.extend_from_slice(member_name(*member).as_bytes());
        }
        for network in self.models.networks() {
            out.extend_from_slice(network.name().as_bytes());
            out.extend_from_slice(network.sha256());
        }
        if let Some(anomaly) = self.models.anomaly() {
            out.extend_from_slice(anomaly.name().as_bytes());
            out.extend_from_slice(anomaly.sha256());
        }
        if let Some(cerebellum) = self.models.cerebellum() {
            cerebellum.write_state(out);
        }
        self.logistic.write_state(out);
        self.imbalance.write_state(out);
    }

    /// Shows `visit` every number that was learned outside of the cerebellum, in an order that the settings alone
    /// decide; what it changes is taken up. Scores and forecasts that wait are not among them.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        self.logistic.visit_learned(visit);
        self.imbalance.visit_learned(visit);
        self.persistence.visit_learned(visit);
        for map in self.calibrators.iter_mut().flatten() {
            map.visit_learned(visit);
        }
        self.judge.visit_learned(visit);
    }

    /// Learns from what has matured by this cycle and lets the members look at its features.
    pub fn think(&mut self, batch: &CycleBatch) {
        let now_ns = batch.cut.ts_cycle_ns;
        if !self.started {
            self.started = true;
            self.scorecard.warm_until(now_ns.saturating_add(self.config.warmup_ns));
        }
        for (instrument, row) in batch.rows.iter().enumerate() {
            let waiting = Waiting::on(row.status);
            match waiting {
                Waiting::Discard => {
                    self.counts.discarded += self.pending[instrument].clear() as u64;
                    self.persistence.reset(instrument);
                }
                Waiting::Wait => {}
                Waiting::Judge => {
                    self.mature(instrument, now_ns, row.mid_x2);
                    self.persistence.observe(instrument, row.mid_x2);
                }
            }
            self.active[instrument] = row.status == Status::Ready;
            self.begins[instrument] = waiting == Waiting::Discard;
        }
        let rows =
            self.features.chunks_exact_mut(FEATURES).zip(batch.features.chunks_exact(FEATURES));
        for (mine, theirs) in rows {
            for ((to, from), shown) in mine.iter_mut().zip(theirs).zip(&self.config.feature_mask) {
                *to = if *shown { *from } else { 0.0 };
            }
        }
        let shown = Shown {
            cycle: batch.cut.cycle,
            features: &self.features,
            active: &self.active,
            begins: &self.begins,
        };
        self.models.advance(&shown);
    }

    /// Combines, judges and emits one signal per instrument; remembers the forecasts.
    pub fn decide(&mut self, batch: &CycleBatch, emit: &mut impl FnMut(Output)) {
        let cut = batch.cut;
        if batch.halted != self.halted {
            self.halted = batch.halted;
            emit(Output::State {
                cycle: cut.cycle,
                ts_cycle_ns: cut.ts_cycle_ns,
                halted: self.halted,
            });
        }
        if batch.settings != self.settings {
            self.settings = batch.settings;
            self.change(batch, emit);
        }
        let ts_signal_ns = self.config.clock.stamp_ns(cut.ts_cycle_ns);
        for (instrument, row) in batch.rows.iter().enumerate() {
            let judgement = if self.active[instrument] {
                self.forecast(instrument, batch)
            } else {
                self.judge.absent(instrument)
            };
            let forecast = &judgement.decided().forecast;
            let decision = self.decider.decide(
                instrument,
                &Situation {
                    ts_cycle_ns: cut.ts_cycle_ns,
                    age_ns: row.book_age_ns,
                    halted: self.halted,
                    synchronised: row.status != Status::Unsynchronised,
                    crossed: row.status == Status::Crossed,
                    warm: row.status != Status::WarmingUp,
                    members_awake: forecast.awake.count_ones(),
                    value: forecast.p_up,
                    recalibrated: judgement.confident,
                    conformal: judgement.conformal,
                },
            );
            self.seq += 1;
            let mut members = [MemberView { value: f32::NAN, weight: 0.0 }; MAX_MEMBERS];
            let said = judgement.members().iter().zip(&forecast.weights).take(self.members());
            for (view, (value, weight)) in members.iter_mut().zip(said) {
                (view.value, view.weight) = (*value as f32, *weight as f32);
            }
            let duel = self.judge.duel(instrument);
            let agreement = forecast.agreement();
            emit(Output::Signal(Signal {
                seq: self.seq,
                cycle: cut.cycle,
                instrument: InstrumentId(instrument as u16),
                action: decision.action,
                reason: decision.reason,
                value: forecast.p_up as f32,
                confidence: decision.confidence as f32,
                mid_x2: row.mid_x2,
                agreement: if agreement.is_nan() { 0.0 } else { agreement as f32 },
                decided_by: judgement.decided_by(),
                challenger_evidence_log10: duel.map_or(f32::NAN, |d| d.evidence_log10() as f32),
                conformal_set: judgement.conformal,
                anomaly: judgement.anomaly as f32,
                ts_venue_ns: row.ts_venue_ns,
                ts_recv_ns: row.ts_recv_ns,
                ts_cycle_ns: cut.ts_cycle_ns,
                ts_signal_ns,
                recv_mono_ns: row.recv_mono_ns,
                made_mono_ns: monotonic_ns(),
                members,
                member_count: self.members() as u8,
            }));
        }
    }

    /// Takes the batch's settings and says so.
    fn change(&mut self, batch: &CycleBatch, emit: &mut impl FnMut(Output)) {
        let Some(settings) = batch.settings else { return };
        let limits = settings.limits(self.config.limits);
        // What is configured or read from a recording has been checked: it is not refused here.
        if self.decider.change(settings.thresholds(), limits).is_ok() {
            let Cut { cycle, ts_cycle_ns, .. } = batch.cut;
            emit(Output::Settings { cycle, ts_cycle_ns, settings });
        }
    }

    /// One instrument's combined forecast, remembered until its horizon has passed.
    fn forecast(&mut self, instrument: usize, batch: &CycleBatch) -> Judgement {
        let row = &batch.rows[instrument];
        let features = &self.features[instrument * FEATURES..][..FEATURES];
        let persistence_p = self.persistence.p_up(instrument);
        let opinion = self.logistic.predict(features);
        let imbalance_p = self.imbalance.predict(&row.queue_imbalance);
        let mut raw = [f64::NAN; MAX_MEMBERS];
        let mut calibrated = [f64::NAN; MAX_MEMBERS];
        for (k, member) in self.config.members.iter().enumerate() {
            raw[k] = match member {
                Member::Cerebellum => f64::from(self.models.value(instrument)),
                Member::Logistic => opinion.p,
                Member::QueueImbalance => imbalance_p,
                Member::Persistence => persistence_p,
            };
        }
        for (to, network) in raw[self.config.members.len()..].iter_mut().zip(self.models.networks())
        {
            *to = network.p_up(instrument);
        }
        for (k, map) in self.calibrators.iter().enumerate() {
            calibrated[k] = map.as_ref().map_or(raw[k], |map| map.apply(raw[k]));
        }
        let anomaly = self.models.anomaly_score(instrument);
        let judgement = self.judge.judge(instrument, &calibrated[..self.members()], anomaly);
        let made = Made {
            cycle: batch.cut.cycle,
            ts_cycle_ns: batch.cut.ts_cycle_ns,
            mid_x2: row.mid_x2,
            judgement,
            raw,
            imbalance: row.queue_imbalance,
            opinion,
            imbalance_p,
            persistence_p,
            last_move: self.persistence.last_move(instrument),
            oracle: row.oracle,
        };
        self.counts.forecasts += 1;
        let features = &self.features[instrument * FEATURES..][..FEATURES];
        self.counts.displaced += u64::from(!self.pending[instrument].push(made, features));
        judgement
    }

    /// Takes every forecast of an instrument whose horizon has passed and learns from it.
    fn mature(&mut self, instrument: usize, now_ns: i64, mid_x2: i64) {
        while let Some((made, _)) = self.pending[instrument].front() {
            match Age::of(made.ts_cycle_ns, now_ns, self.config.horizon_ns) {
                Age::Open => return,
                Age::Due => self.outcome(instrument, mid_x2),
                Age::Lost => self.counts.discarded += 1,
            }
            self.pending[instrument].pop();
        }
    }

    /// Tells everybody what became of the oldest forecast of an instrument.
    fn outcome(&mut self, instrument: usize, mid_x2: i64) {
        let Some((made, features)) = self.pending[instrument].front() else { return };
        let outcome = outcome(made.mid_x2, mid_x2);
        let mut sample = Sample::new(made.ts_cycle_ns, outcome);
        let judgement = &made.judgement;
        let members = &judgement.members()[..self.calibrators.len()];
        let baselines = missing_baselines(&self.config.members).map(|baseline| match baseline {
            Member::Persistence => made.persistence_p,
            _ => made.imbalance_p,
        });
        let challenger = judgement.in_shadow().map(|said| said.recalibrated);
        let others = baselines
            .chain([judgement.decided().forecast.p_up, judgement.confident])
            .chain(challenger)
            .chain([made.oracle]);
        for (to, p) in sample.p_up.iter_mut().zip(members.iter().copied().chain(others)) {
            *to = p;
        }
        self.scorecard.record(&sample);
        if outcome == Outcome::Unchanged {
            self.counts.unchanged += 1;
            return;
        }
        self.counts.moved += 1;
        let up = outcome == Outcome::Up;
        let target = f64::from(u8::from(up));
        for (k, member) in self.config.members.iter().enumerate() {
            if *member == Member::Cerebellum
                && let Some(cerebellum) = self.models.cerebellum_mut()
            {
                cerebellum.learn(instrument, made.cycle, (target - made.raw[k]) as f32);
            }
        }
        for (map, raw) in self.calibrators.iter_mut().zip(made.raw) {
            if let Some(map) = map.as_mut().filter(|_| !raw.is_nan()) {
                map.learn(raw, up, self.label_weight);
            }
        }
        self.logistic.learn(features, &made.opinion, target, self.label_weight);
        self.imbalance.learn(&made.imbalance, target, self.label_weight);
        self.persistence.learn(instrument, made.last_move, up);
        self.judge.learn(instrument, judgement, up, made.ts_cycle_ns);
    }
}

/// What the regression expects of each feature: of those that lean to no side, nothing.
pub(crate) fn expectations() -> [Expect; FEATURES] {
    let mut expect = MIRRORS.map(|mirror| match mirror {
        Mirror::Odd => Expect::Weak,
        Mirror::Even => Expect::Nothing,
    });
    for feature in [Feature::QueueImbalance, Feature::DepthImbalance5] {
        expect[feature as usize] = Expect::Strong(IMBALANCE_SD);
    }
    expect
}

/// Indices of the features that lean to a side: what the cerebellum sees.
pub fn leaning() -> impl Iterator<Item = usize> {
    (0..FEATURES).filter(|k| MIRRORS[*k] == Mirror::Odd)
}
