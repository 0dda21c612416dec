//! What the model thread tells slow threads after every cycle: that it runs, how its cells fire, how good its
//! forecasts are.
//!
//! Invariants: written once a cycle, when its signals are on their way; nothing allocates after construction;
//! what a reader gets is of one cycle.

use purkinje_kernels::cerebellum::Rates;

use super::seqlock::{SeqlockReader, SeqlockWriter, seqlock};
use crate::learning::forecaster::{Forecaster, LearningCounts};

/// Words of [`ModelView`] before its skills.
const HEAD_WORDS: usize = 14;

/// Words of one skill.
const SKILL_WORDS: usize = 5;

/// The model thread's end.
#[derive(Debug)]
pub struct ModelBoard(SeqlockWriter);

/// The readers' end.
#[derive(Clone, Debug)]
pub struct ModelBoardReader {
    words: SeqlockReader,
    names: Vec<String>,
}

/// How good one column of the scorecard was until now. Means are over its own labels; NaN without any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SkillView {
    /// Labels that it was scored on.
    pub labels: u64,
    /// Share on the right side of 0.5.
    pub hit_rate: f64,
    /// Mean log loss, nats.
    pub log_loss: f64,
    /// Mean log loss of the base rate less its own on the same labels, nats.
    pub gain: f64,
    /// Standard error of the gain, nats.
    pub gain_se: f64,
}

/// What the model thread told last.
#[derive(Clone, Debug)]
pub struct ModelView {
    /// The cycle.
    pub cycle: u64,
    /// When it was done, monotonic ns.
    pub done_mono_ns: u64,
    /// Cycles whose work took longer than the period.
    pub overruns: u64,
    /// Firing rates; `None` without a cerebellum.
    pub rates: Option<Rates>,
    /// What became of the forecasts.
    pub learning: LearningCounts,
    /// By column of the scorecard, as [`ModelBoardReader::names`] has them.
    pub skills: Vec<SkillView>,
}

/// Both ends, for a forecaster as it is.
#[must_use]
pub fn model_board(forecaster: &Forecaster) -> (ModelBoard, ModelBoardReader) {
    let names: Vec<_> =
        forecaster.scorecard().skills().map(|skill| skill.name.to_owned()).collect();
    let (writer, words) = seqlock(HEAD_WORDS + SKILL_WORDS * names.len());
    (ModelBoard(writer), ModelBoardReader { words, names })
}

impl ModelBoard {
    /// Tells of a cycle that was done at `done_mono_ns`.
    pub fn publish(
        &mut self,
        (cycle, done_mono_ns): (u64, u64),
        overruns: u64,
        forecaster: &Forecaster,
    ) {
        let rates = forecaster.cerebellum().map(purkinje_kernels::cerebellum::Cerebellum::rates);
        let Rates { mossy_hz, granule_hz, golgi_hz, purkinje_hz, nuclear_hz } =
            rates.unwrap_or_default();
        let LearningCounts { forecasts, moved, unchanged, discarded, displaced } =
            forecaster.counts();
        let head = [cycle, done_mono_ns, overruns, u64::from(rates.is_some())]
            .into_iter()
            .chain(
                [mossy_hz, granule_hz, golgi_hz, purkinje_hz, nuclear_hz]
                    .map(|hz| u64::from(hz.to_bits())),
            )
            .chain([forecasts, moved, unchanged, discarded, displaced]);
        let skills = forecaster.scorecard().skills().flat_map(|skill| {
            let means = [skill.hit_rate, skill.log_loss, skill.gain, skill.gain_se];
            let [a, b, c, d] = means.map(f64::to_bits);
            [skill.n, a, b, c, d]
        });
        self.0.publish(head.chain(skills));
    }
}

impl ModelBoardReader {
    /// Names of the scorecard's columns; the first is the base rate.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What was told last; `None` before the first cycle.
    #[must_use]
    pub fn view(&self) -> Option<ModelView> {
        let mut words = vec![0; self.words.words()];
        if !self.words.read(&mut words) {
            return None;
        }
        let hz = |at: usize| f32::from_bits(words[at] as u32);
        let rates = Rates {
            mossy_hz: hz(4),
            granule_hz: hz(5),
            golgi_hz: hz(6),
            purkinje_hz: hz(7),
            nuclear_hz: hz(8),
        };
        let skill = |words: &[u64]| SkillView {
            labels: words[0],
            hit_rate: f64::from_bits(words[1]),
            log_loss: f64::from_bits(words[2]),
            gain: f64::from_bits(words[3]),
            gain_se: f64::from_bits(words[4]),
        };
        Some(ModelView {
            cycle: words[0],
            done_mono_ns: words[1],
            overruns: words[2],
            rates: (words[3] == 1).then_some(rates),
            learning: LearningCounts {
                forecasts: words[9],
                moved: words[10],
                unchanged: words[11],
                discarded: words[12],
                displaced: words[13],
            },
            skills: words[HEAD_WORDS..].chunks_exact(SKILL_WORDS).map(skill).collect(),
        })
    }
}
