//! What is the same for every signal of a run, rendered once and shared by all encoders.
//!
//! Invariant: reading a part never allocates.

use std::fmt;

use purkinje_feeds::InstrumentTable;

use super::{MAX_MEMBERS, MemberView, Signal};

/// Names, scales and settings that signals refer to.
#[derive(Clone, Debug)]
pub struct RunConstants {
    keys: Vec<String>,
    /// Decimals of half a price step, by instrument.
    mid_decimals: Vec<u32>,
    member_names: Vec<String>,
    horizon_ms: u32,
    ttl_ms: u32,
    model: String,
}

impl RunConstants {
    /// Renders them. Of `member_names` the first [`MAX_MEMBERS`] count.
    #[must_use]
    pub fn new(
        table: &InstrumentTable,
        member_names: &[impl AsRef<str>],
        horizon_ms: u32,
        ttl_ms: u32,
        model: &str,
    ) -> Self {
        Self {
            keys: table.iter().map(|(_, i)| i.key()).collect(),
            mid_decimals: table.iter().map(|(_, i)| u32::from(i.price_decimals) + 1).collect(),
            member_names: member_names
                .iter()
                .take(MAX_MEMBERS)
                .map(|s| s.as_ref().to_owned())
                .collect(),
            horizon_ms,
            ttl_ms,
            model: model.to_owned(),
        }
    }

    /// `venue:symbol` of the signal's instrument.
    #[must_use]
    pub fn key(&self, signal: &Signal) -> &str {
        &self.keys[signal.instrument.index()]
    }

    /// The keys of all instruments, in order of configuration.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The signal's mid price, exact.
    #[must_use]
    pub fn mid(&self, signal: &Signal) -> Mid {
        Mid { twice: signal.mid_x2, decimals: self.mid_decimals[signal.instrument.index()] }
    }

    /// What each member said, with its name.
    pub fn members<'a>(
        &'a self,
        signal: &'a Signal,
    ) -> impl Iterator<Item = (&'a str, &'a MemberView)> {
        self.member_names.iter().map(String::as_str).zip(&signal.members)
    }

    /// Names of the members.
    #[must_use]
    pub fn member_names(&self) -> &[String] {
        &self.member_names
    }

    /// How far ahead signals look, ms.
    #[must_use]
    pub fn horizon_ms(&self) -> u32 {
        self.horizon_ms
    }

    /// How long a signal may be acted on, ms.
    #[must_use]
    pub fn ttl_ms(&self) -> u32 {
        self.ttl_ms
    }

    /// Version of the model.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }
}

/// A mid price that displays as an exact decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mid {
    /// Bid plus offer, mantissas.
    twice: i64,
    /// Decimals of a price, and one more: half of an odd mantissa needs it.
    decimals: u32,
}

impl Mid {
    /// Most bytes of its text: sign, point and the digits of five times an `i64`.
    pub const MAX_BYTES: usize = 22;
}

impl fmt::Display for Mid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // mid = twice / 2 / 10^(decimals - 1) = twice * 5 / 10^decimals
        let sign = if self.twice < 0 { "-" } else { "" };
        let magnitude = u128::from(self.twice.unsigned_abs()) * 5;
        let one = 10_u128.pow(self.decimals);
        let width = self.decimals as usize;
        write!(f, "{sign}{}.{:0width$}", magnitude / one, magnitude % one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mid_price_is_exact_and_keeps_its_sign() {
        let table = [
            (0, 3, "0.000"),
            (123_601, 3, "618.005"),
            (-1, 3, "-0.005"),
            (-123_601, 3, "-618.005"),
            (i64::MAX, 1, "4611686018427387903.5"),
            (i64::MIN, 1, "-4611686018427387904.0"),
            (i64::MIN, 16, "-4611.6860184273879040"),
            (3, 16, "0.0000000000000015"),
        ];
        for (twice, decimals, expected) in table {
            let text = Mid { twice, decimals }.to_string();
            assert_eq!(text, expected);
            assert!(text.len() <= Mid::MAX_BYTES, "{text}");
        }
    }
}
