//! Decimal numbers as other programs write them: with exponents, or through a binary double.
//!
//! `fixed::parse` reads the texts venues send. Files made by scripts also hold `7e-05`, and digits
//! that no venue sent: 0.101 comes out as `0.10099999999999999` when a double passes through a fast
//! parser, and 236.61 as `236.61000000000001` when it is printed with 17 digits.
//!
//! Invariants: [`exact`] never rounds; [`unprinted`] gives the decimal that a double was made from,
//! and only where the distance between the two is no more than the arithmetic of doubles explains.

use crate::fixed::{self, FixedError};
use crate::instrument::MAX_DECIMALS;

/// Most digits looked at; a double prints 17, venues send fewer.
const MAX_DIGITS: u32 = 30;

/// A double is within 2^-53 of what it stands for, its text within 10^-17 of it; a fast parser is
/// off by a few such steps. Any difference beyond this part of the value is somebody's digit.
const NOISE: i128 = 1 << 50;

/// What [`unprinted`] made of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unprinted {
    /// `value × 10^decimals`.
    pub(super) mantissa: i64,
    /// The text was not that decimal itself.
    pub(super) is_noisy: bool,
}

/// `digits × 10^-scale`, the sign in the digits.
struct Parts {
    digits: i128,
    scale: i32,
}

impl Parts {
    fn new(text: &[u8]) -> Result<Self, FixedError> {
        let mut at = usize::from(text.first() == Some(&b'-'));
        let is_negative = at == 1;
        let (mut digits, mut count, mut scale) = (0i128, 0u32, 0i32);
        let (mut seen_point, mut seen_digit) = (false, false);
        while let Some(&byte) = text.get(at) {
            match byte {
                b'0'..=b'9' => {
                    seen_digit = true;
                    count += u32::from(digits != 0);
                    if count > MAX_DIGITS {
                        return Err(FixedError::NotANumber { at });
                    }
                    digits = digits * 10 + i128::from(byte - b'0');
                    scale += i32::from(seen_point);
                    if scale > 1000 {
                        return Err(FixedError::NotANumber { at });
                    }
                }
                b'.' if seen_digit && !seen_point => seen_point = true,
                b'e' | b'E' if seen_digit => break,
                _ => return Err(FixedError::NotANumber { at }),
            }
            at += 1;
        }
        if !seen_digit || text.get(at.wrapping_sub(1)) == Some(&b'.') {
            return Err(FixedError::NotANumber { at });
        }
        if at < text.len() {
            let exponent = text[at + 1..].strip_prefix(b"+").unwrap_or(&text[at + 1..]);
            let exponent = std::str::from_utf8(exponent).ok().and_then(|e| e.parse::<i16>().ok());
            scale -= i32::from(exponent.ok_or(FixedError::NotANumber { at })?);
        }
        Ok(Self { digits: if is_negative { -digits } else { digits }, scale })
    }

    /// `(quotient, remainder, divisor)` of the value × 10^decimals.
    fn scaled(&self, decimals: u8) -> Result<(i128, i128, i128), FixedError> {
        let overflow = FixedError::Overflow { decimals };
        if self.digits == 0 {
            return Ok((0, 0, 1));
        }
        let shift = i32::from(decimals) - self.scale;
        // Digits below 10^31 divided by more than that leave nothing but a remainder.
        let power = 10i128.checked_pow(shift.unsigned_abs().min(38)).ok_or(overflow)?;
        if shift >= 0 {
            return Ok((self.digits.checked_mul(power).ok_or(overflow)?, 0, 1));
        }
        Ok((self.digits / power, self.digits % power, power))
    }
}

/// The mantissa of a decimal number, perhaps with an exponent, exactly.
pub(super) fn exact(text: &[u8], decimals: u8) -> Result<i64, FixedError> {
    let plain = fixed::parse(text, decimals);
    // A text with an exponent breaks off as one with too many digits as well as no number at all.
    if plain.is_ok() || !text.iter().any(|byte| matches!(byte, b'e' | b'E')) {
        return plain;
    }
    let (whole, rest, _) = Parts::new(text)?.scaled(decimals)?;
    if rest != 0 {
        return Err(FixedError::TooPrecise { at: text.len() - 1, decimals });
    }
    i64::try_from(whole).map_err(|_| FixedError::Overflow { decimals })
}

/// The mantissa of the decimal number from which the printed double `text` was made.
pub(super) fn unprinted(text: &[u8], decimals: u8) -> Result<Unprinted, FixedError> {
    if let Ok(mantissa) = fixed::parse(text, decimals) {
        return Ok(Unprinted { mantissa, is_noisy: false });
    }
    let parts = Parts::new(text)?;
    let (mut whole, mut rest, divisor) = parts.scaled(decimals)?;
    if rest.abs() > divisor / 2 {
        whole += rest.signum();
        rest -= rest.signum() * divisor;
    }
    if rest.abs() > parts.digits.abs() / NOISE {
        return Err(FixedError::TooPrecise { at: text.len() - 1, decimals });
    }
    let mantissa = i64::try_from(whole).map_err(|_| FixedError::Overflow { decimals })?;
    Ok(Unprinted { mantissa, is_noisy: rest != 0 })
}

/// How many decimals the number needs, trailing zeros aside; `None` when it is no number.
pub(super) fn decimals(text: &[u8]) -> Option<u8> {
    let Parts { mut digits, mut scale } = Parts::new(text).ok()?;
    while scale > 0 && digits % 10 == 0 {
        if digits == 0 {
            return Some(0);
        }
        digits /= 10;
        scale -= 1;
    }
    Some(u8::try_from(scale.max(0)).unwrap_or(u8::MAX))
}

/// The most decimals among numbers, kept for an instrument's table entry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Widest(u8);

impl Widest {
    /// Takes one number into account; what is no number is left to the reading proper to refuse, and
    /// so is one too precise for any table.
    pub(super) fn see(&mut self, text: &[u8]) {
        if let Some(decimals) = decimals(text).filter(|&decimals| decimals <= MAX_DECIMALS) {
            self.0 = self.0.max(decimals);
        }
    }

    pub(super) fn get(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn exponents_are_read_exactly() {
        for (text, decimals, mantissa) in [
            ("7.032e-05", 8, 7_032),
            ("1e3", 2, 100_000),
            ("-1.5E+2", 0, -150),
            ("1e-08", 8, 1),
            ("0e9", 8, 0),
            ("236.5", 2, 23_650),
        ] {
            assert_eq!(exact(text.as_bytes(), decimals), Ok(mantissa), "{text}");
            assert_eq!(
                unprinted(text.as_bytes(), decimals),
                Ok(Unprinted { mantissa, is_noisy: false }),
                "{text}"
            );
        }
        assert!(matches!(exact(b"1e-9", 8), Err(FixedError::TooPrecise { .. })));
        assert!(matches!(exact(b"1e40", 8), Err(FixedError::Overflow { .. })));
    }

    #[test]
    fn a_printed_double_gives_back_the_decimal_it_was_made_from() {
        for (text, decimals, mantissa) in [
            ("236.61000000000001", 2, 23_661),
            ("2.1138293799999999", 8, 211_382_938),
            ("0.10099999999999999", 8, 10_100_000),
            ("0.9009999999999999", 8, 90_100_000),
            ("0.0034240000000000004", 8, 342_400),
            ("-8.8351857299999992", 8, -883_518_573),
        ] {
            assert_eq!(
                unprinted(text.as_bytes(), decimals),
                Ok(Unprinted { mantissa, is_noisy: true }),
                "{text}"
            );
            assert!(matches!(exact(text.as_bytes(), decimals), Err(FixedError::TooPrecise { .. })));
        }
    }

    #[test]
    fn a_digit_that_no_double_explains_is_refused() {
        for text in ["0.101000001", "236.615", "0.1009999999999", "1e-9"] {
            let refused = unprinted(text.as_bytes(), 2);
            assert!(matches!(refused, Err(FixedError::TooPrecise { .. })), "{text}: {refused:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", ".", "1.", ".5", "1e", "e5", "1e99999", "1.2.3", "NaN", "inf", "1 "] {
            assert!(exact(text.as_bytes(), 8).is_err(), "{text:?}");
            assert!(unprinted(text.as_bytes(), 8).is_err(), "{text:?}");
            assert_eq!(decimals(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn decimals_are_those_the_value_needs() {
        for (text, needed) in [
            ("9682", 0),
            ("9681.92", 2),
            ("83.2900", 2),
            ("7.032e-05", 8),
            ("1e3", 0),
            ("0.000", 0),
        ] {
            assert_eq!(decimals(text.as_bytes()), Some(needed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_decimal_survives_the_way_through_a_double(
            mantissa in -9_000_000_000_000i64..9_000_000_000_000,
        ) {
            let decimal = fixed::Fixed { mantissa, decimals: 8 }.to_string();
            let double: f64 = decimal.parse().unwrap();
            for text in [format!("{double}"), format!("{double:e}"), format!("{double:.20}")] {
                // Twenty decimals of a large double are more digits than are looked at.
                if text.len() > 28 { continue; }
                prop_assert_eq!(unprinted(text.as_bytes(), 8).map(|u| u.mantissa), Ok(mantissa), "{}", text);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(text: Vec<u8>, decimals_wanted in 0u8..=15) {
            let _ = exact(&text, decimals_wanted);
            let _ = unprinted(&text, decimals_wanted);
            let _ = decimals(&text);
        }

        #[test]
        fn near_numbers_never_panic(text in "[-+0-9.eE]{0,45}", decimals_wanted in 0u8..=15) {
            let _ = exact(text.as_bytes(), decimals_wanted);
            let _ = unprinted(text.as_bytes(), decimals_wanted);
            let _ = decimals(text.as_bytes());
        }
    }
}
