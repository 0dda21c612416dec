//! Skill over the last while: what each forecaster gained over the base rate, and over persistence, lately.
//!
//! Samples of running totals are kept and subtracted. Invariants: at most [`SAMPLES`] are kept, each
//! [`SAMPLE_EVERY`] after the other; a forecaster without labels in the window has no skill there, not one of zero.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use crate::{learning::names::member_name, pipeline::model_board::SkillView};

/// Time between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Samples kept: a window of ten minutes.
pub const SAMPLES: usize = 121;

/// One forecaster. Losses and gains are means over labels, nats; `None` without a label.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Skill {
    /// Its name.
    pub name: String,
    /// Labels since the start of the scoring.
    pub labels: u64,
    /// Share on the right side of 0.5 since then.
    pub hit_rate: Option<f64>,
    /// Log loss since then.
    pub log_loss: Option<f64>,
    /// Gain over the base rate since then.
    pub gain: Option<f64>,
    /// Standard error of that gain.
    pub gain_se: Option<f64>,
    /// Labels within the window.
    pub window_labels: u64,
    /// Gain over the base rate within the window.
    pub window_gain: Option<f64>,
    /// Gain over persistence within the window.
    pub window_gain_over_persistence: Option<f64>,
}

/// Labels and summed gain of one forecaster.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    labels: u64,
    gain: f64,
}

impl Total {
    fn of(view: &SkillView) -> Self {
        let gain = if view.labels == 0 { 0.0 } else { view.gain * view.labels as f64 };
        Self { labels: view.labels, gain }
    }

    fn mean_since(self, earlier: Self) -> (u64, Option<f64>) {
        let labels = self.labels.saturating_sub(earlier.labels);
        let mean = (self.gain - earlier.gain) / labels as f64;
        (labels, (labels > 0).then_some(mean))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct SkillWindow {
    samples: VecDeque<Vec<Total>>,
}

impl SkillWindow {
    /// Keeps the totals of now; to be called every [`SAMPLE_EVERY`].
    pub fn sample(&mut self, skills: &[SkillView]) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(skills.iter().map(Total::of).collect());
    }

    /// How long the window is by now.
    #[must_use]
    pub fn length(&self) -> Duration {
        SAMPLE_EVERY * self.samples.len() as u32
    }

    /// Skill of every forecaster, as of `skills`.
    #[must_use]
    pub fn skills(&self, names: &[String], skills: &[SkillView]) -> Vec<Skill> {
        let begin = |k: usize| {
            self.samples.front().and_then(|sample| sample.get(k)).copied().unwrap_or_default()
        };
        let in_window = |k: usize| Total::of(&skills[k]).mean_since(begin(k));
        let persistence = member_name(crate::config::Member::Persistence);
        let persistence = names.iter().position(|name| name == persistence);
        let persistence = persistence.filter(|k| *k < skills.len()).and_then(|k| in_window(k).1);
        let one = |(k, (name, view)): (usize, (&String, &SkillView))| {
            let (window_labels, window_gain) = in_window(k);
            let known = |value: f64| Some(value).filter(|value| value.is_finite());
            Skill {
                name: name.clone(),
                labels: view.labels,
                hit_rate: known(view.hit_rate),
                log_loss: known(view.log_loss),
                gain: known(view.gain),
                gain_se: known(view.gain_se),
                window_labels,
                window_gain,
                window_gain_over_persistence: window_gain
                    .zip(persistence)
                    .map(|(own, theirs)| own - theirs),
            }
        };
        names.iter().zip(skills).enumerate().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(labels: u64, gain: f64) -> SkillView {
        let unknown = f64::NAN;
        SkillView { labels, hit_rate: unknown, log_loss: unknown, gain, gain_se: unknown }
    }

    #[test]
    fn what_was_gained_before_the_window_does_not_count_in_it() {
        let names = ["base rate", "member", "persistence"].map(str::to_owned);
        let mut window = SkillWindow::default();
        let none = window.skills(&names, &[view(0, f64::NAN); 3]);
        assert!(none.iter().all(|skill| skill.window_gain.is_none() && skill.gain.is_none()));
        window.sample(&[view(100, 0.0), view(100, 0.5), view(100, -0.1)]);
        let now = [view(200, 0.0), view(200, 0.2), view(200, -0.1)];
        let skills = window.skills(&names, &now);
        let member = &skills[1];
        assert_eq!((member.labels, member.window_labels, member.gain), (200, 100, Some(0.2)));
        assert!((member.window_gain.unwrap() + 0.1).abs() < 1e-12, "0.5 before, -0.1 since");
        assert!(member.window_gain_over_persistence.unwrap().abs() < 1e-12);
        for _ in 0..2 * SAMPLES {
            window.sample(&now);
        }
        assert_eq!(window.length(), SAMPLE_EVERY * SAMPLES as u32);
        assert_eq!(window.skills(&names, &now)[1].window_gain, None, "nothing since");
    }
}
