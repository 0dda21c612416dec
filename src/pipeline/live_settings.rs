//! The settings that a running daemon takes anew, together, at a cycle's edge.
//!
//! Invariants: they are the keys that the table of configuration keys marks as live, no more and no fewer; their
//! text, which recordings and journals hold, is read back to the same bits. A value travels by copy, so that taking
//! one allocates nothing.

use std::io::Cursor;

use purkinje_strategies::decide::{DecideError, Limits, Thresholds};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::Loaded;

/// Room for the text of any settings, bytes.
pub const MAX_TEXT_BYTES: usize = 512;

/// See the module. Names in the text are those of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveSettings {
    /// BUY needs a value above this.
    #[serde(rename = "strategy.thresholds.buy_value")]
    pub buy_value: f64,
    /// SELL needs a value below this.
    #[serde(rename = "strategy.thresholds.sell_value")]
    pub sell_value: f64,
    /// Both need a confidence above this.
    #[serde(rename = "strategy.thresholds.confidence")]
    pub confidence: f64,
    /// Most BUY and SELL signals per instrument and second.
    #[serde(rename = "strategy.max_signals_per_s")]
    pub max_signals_per_s: u32,
    /// Age at which an instrument is stale, ms.
    #[serde(rename = "pipeline.stale_after_ms")]
    pub stale_after_ms: i64,
}

/// Why a text is not settings.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// Not JSON, or other fields than these.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// A number is out of its range.
    #[error(transparent)]
    Range(#[from] DecideError),
}

impl LiveSettings {
    /// What a configuration says.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        let thresholds = &loaded.strategy.thresholds;
        Self {
            buy_value: thresholds.buy_value,
            sell_value: thresholds.sell_value,
            confidence: thresholds.confidence,
            max_signals_per_s: loaded.strategy.max_signals_per_s,
            stale_after_ms: loaded.config.pipeline.stale_after_ms as i64,
        }
    }

    /// Reads a text that [`LiveSettings::write`] has written.
    ///
    /// # Errors
    /// It is no such text, or a number in it is out of its range.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let settings: Self = serde_json::from_str(text)?;
        settings.thresholds().validate()?;
        settings.limits(Limits::default()).validate()?;
        Ok(settings)
    }

    /// The text, one JSON object, in `buffer`.
    pub fn write<'a>(&self, buffer: &'a mut [u8; MAX_TEXT_BYTES]) -> &'a str {
        let mut out = Cursor::new(&mut buffer[..]);
        // Names and numbers of bounded length fit.
        let written = serde_json::to_writer(&mut out, self);
        let len = if written.is_ok() { out.position() as usize } else { 0 };
        std::str::from_utf8(&buffer[..len]).unwrap_or_default()
    }

    /// The thresholds among them.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        let Self { buy_value, sell_value, confidence, .. } = *self;
        Thresholds { buy_value, sell_value, confidence }
    }

    /// `limits` with those among them.
    #[must_use]
    pub fn limits(&self, limits: Limits) -> Limits {
        let Self { stale_after_ms, max_signals_per_s, .. } = *self;
        Limits { stale_after_ms, max_signals_per_s, ..limits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDEST: LiveSettings = LiveSettings {
        buy_value: 0.6000000000000001,
        sell_value: 1e-300,
        confidence: 0.9999999999999999,
        max_signals_per_s: 1_000,
        stale_after_ms: 3_600_000,
    };

    #[test]
    fn settings_are_read_back_to_the_same_bits() {
        let mut buffer = [0; MAX_TEXT_BYTES];
        let text = WIDEST.write(&mut buffer);
        assert!(
            text.starts_with("{\"strategy.thresholds.buy_value\":0.6000000000000001,"),
            "{text}"
        );
        assert_eq!(LiveSettings::parse(text).unwrap(), WIDEST);
    }

    #[test]
    fn a_text_with_a_number_out_of_range_or_another_key_is_refused_by_name() {
        let mut buffer = [0; MAX_TEXT_BYTES];
        let refusal = |settings: LiveSettings, buffer: &mut [u8; MAX_TEXT_BYTES]| {
            LiveSettings::parse(settings.write(buffer)).unwrap_err().to_string()
        };
        let wrong = LiveSettings { buy_value: 1.5, ..WIDEST };
        let told = refusal(wrong, &mut buffer);
        assert_eq!(told, "thresholds.buy_value is 1.5, expected 0 to 1");
        let wrong = LiveSettings { max_signals_per_s: 0, ..WIDEST };
        assert!(refusal(wrong, &mut buffer).starts_with("max_signals_per_s is 0"));
        let other = LiveSettings::parse("{\"strategy.horizon_ms\":1}").unwrap_err().to_string();
        assert!(other.contains("strategy.horizon_ms"), "{other}");
    }
}
