//! Fixed-point numbers parsed from their text: `"61837.63"` at 8 decimals is `6_183_763_000_000`.
//!
//! Invariants: parsing is exact and never passes through a float; a digit that the exponent cannot
//! hold is an error unless it is zero; nothing here allocates.

use std::fmt;

use thiserror::Error;

/// Powers of ten that fit a `u64`.
pub(crate) const POW10: [u64; 20] = {
    let mut table = [1u64; 20];
    let mut i = 1;
    while i < table.len() {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

/// Why a text is not a fixed-point number of the wanted exponent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FixedError {
    /// The text is not `-?digits(.digits)?`.
    #[error("byte {at} breaks a decimal number, expected -?digits(.digits)?")]
    NotANumber {
        /// Offset of the first byte that does not fit (the length, when the text ends too early).
        at: usize,
    },
    /// A non-zero digit beyond the exponent.
    #[error("a non-zero digit at byte {at}, expected at most {decimals} decimals")]
    TooPrecise {
        /// Offset of that digit.
        at: usize,
        /// How many decimals the number may have.
        decimals: u8,
    },
    /// The mantissa does not fit an `i64`.
    #[error("the number does not fit 64 bits with {decimals} decimals")]
    Overflow {
        /// How many decimals the mantissa counts.
        decimals: u8,
    },
}

/// The mantissa of `text` with `decimals` decimals: `value × 10^decimals`, exactly.
///
/// # Errors
/// Not a plain decimal number, more precise than `decimals`, or outside `i64`.
pub fn parse(text: &[u8], decimals: u8) -> Result<i64, FixedError> {
    match parse_plain(text, decimals) {
        Some(mantissa) => Ok(mantissa),
        None => parse_any(text, decimals),
    }
}

/// What nearly every number on the wire is: no sign, at most 18 digits, so that none of the sums can
/// overflow, and none but zeros beyond the decimals wanted. `None` for all others, right or wrong.
fn parse_plain(text: &[u8], decimals: u8) -> Option<i64> {
    const MOST_BYTES: usize = 19;
    if text.len() > MOST_BYTES {
        return None;
    }
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None if text.len() < MOST_BYTES => (text, &b"0"[..0]),
        None => return None,
    };
    let has_point = whole.len() < text.len();
    if whole.is_empty() || has_point && fraction.is_empty() {
        return None;
    }
    let (fraction, surplus) = fraction.split_at(fraction.len().min(usize::from(decimals)));
    if surplus.iter().any(|&byte| byte != b'0') {
        return None;
    }
    let (mut magnitude, mut is_digits) = (0u64, true);
    for byte in whole.iter().chain(fraction) {
        let digit = byte.wrapping_sub(b'0');
        is_digits &= digit <= 9;
        magnitude = magnitude.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    let missing = usize::from(decimals) - fraction.len();
    let scaled = magnitude.checked_mul(*POW10.get(missing)?)?;
    if is_digits { i64::try_from(scaled).ok() } else { None }
}

fn parse_any(text: &[u8], decimals: u8) -> Result<i64, FixedError> {
    let negative = text.first() == Some(&b'-');
    let whole_start = usize::from(negative);
    let overflow = FixedError::Overflow { decimals };

    let mut magnitude = 0u64;
    let mut at = whole_start;
    while let Some(digit) = digit_at(text, at) {
        magnitude = push_digit(magnitude, digit).ok_or(overflow)?;
        at += 1;
    }
    if at == whole_start {
        return Err(FixedError::NotANumber { at });
    }

    let mut fraction_digits = 0u8;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let fraction_start = at;
        while let Some(digit) = digit_at(text, at) {
            if fraction_digits < decimals {
                magnitude = push_digit(magnitude, digit).ok_or(overflow)?;
                fraction_digits += 1;
            } else if digit != 0 {
                return Err(FixedError::TooPrecise { at, decimals });
            }
            at += 1;
        }
        if at == fraction_start {
            return Err(FixedError::NotANumber { at });
        }
    }
    if at != text.len() {
        return Err(FixedError::NotANumber { at });
    }
    if magnitude == 0 {
        return Ok(0);
    }

    let scale = POW10.get(usize::from(decimals - fraction_digits)).ok_or(overflow)?;
    let magnitude = magnitude.checked_mul(*scale).ok_or(overflow)?;
    let signed =
        if negative { 0i64.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() };
    signed.ok_or(overflow)
}

fn digit_at(text: &[u8], at: usize) -> Option<u8> {
    let digit = text.get(at)?.wrapping_sub(b'0');
    (digit <= 9).then_some(digit)
}

fn push_digit(magnitude: u64, digit: u8) -> Option<u64> {
    magnitude.checked_mul(10)?.checked_add(u64::from(digit))
}

/// A mantissa that displays as the number it stands for, with all its decimals: the inverse of
/// [`parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// `value × 10^decimals`.
    pub mantissa: i64,
    /// How many decimals the mantissa counts.
    pub decimals: u8,
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let magnitude = self.mantissa.unsigned_abs();
        let width = usize::from(self.decimals);
        match POW10.get(width) {
            _ if width == 0 => write!(f, "{sign}{magnitude}"),
            Some(one) => write!(f, "{sign}{}.{:0width$}", magnitude / one, magnitude % one),
            None => write!(f, "{sign}0.{magnitude:0width$}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(mantissa: i64, decimals: u8) -> String {
        Fixed { mantissa, decimals }.to_string()
    }

    #[test]
    fn numbers_become_mantissas() {
        let table: [(&str, u8, i64); 12] = [
            ("0", 8, 0),
            ("-0.000", 0, 0),
            ("1", 0, 1),
            ("61837.63000000", 2, 6_183_763),
            ("61837.63000000", 8, 6_183_763_000_000),
            ("0.00000001", 8, 1),
            ("-12.5", 3, -12_500),
            ("007.50", 1, 75),
            ("9223372036854775807", 0, i64::MAX),
            ("-9223372036854775808", 0, i64::MIN),
            ("-9.223372036854775808", 18, i64::MIN),
            ("0.6123456", 9, 612_345_600),
        ];
        for (input, decimals, mantissa) in table {
            assert_eq!(parse(input.as_bytes(), decimals), Ok(mantissa), "{input} at {decimals}");
        }
    }

    #[test]
    fn what_is_no_plain_decimal_is_refused() {
        for (input, at) in [
            ("", 0),
            ("-", 1),
            (".5", 0),
            ("1.", 2),
            ("+1", 0),
            ("1e3", 1),
            ("1.5 ", 3),
            ("NaN", 0),
            ("1.2.3", 3),
        ] {
            assert_eq!(parse(input.as_bytes(), 8), Err(FixedError::NotANumber { at }), "{input:?}");
        }
    }

    #[test]
    fn surplus_digits_must_be_zero() {
        assert_eq!(parse(b"1.2300", 2), Ok(123));
        assert_eq!(parse(b"1.2301", 2), Err(FixedError::TooPrecise { at: 5, decimals: 2 }));
        assert_eq!(parse(b"1.5", 0), Err(FixedError::TooPrecise { at: 2, decimals: 0 }));
    }

    #[test]
    fn what_does_not_fit_64_bits_overflows() {
        for (input, decimals) in [
            ("12345678901234567890", 0),
            ("99999999999999999999", 0),
            ("9223372036854775808", 0),
            ("-9223372036854775809", 0),
            ("92233720368547758.08", 3),
            ("1", 19),
            ("1", 200),
        ] {
            assert_eq!(
                parse(input.as_bytes(), decimals),
                Err(FixedError::Overflow { decimals }),
                "{input}"
            );
        }
        assert_eq!(parse(b"0", 200), Ok(0));
    }

    proptest! {
        #[test]
        fn the_fast_way_agrees_with_the_careful_one(text in "-?[0-9]{0,14}[.]?[0-9]{0,8}0{0,4}", decimals in 0u8..20) {
            if let Some(mantissa) = parse_plain(text.as_bytes(), decimals) {
                prop_assert_eq!(parse_any(text.as_bytes(), decimals), Ok(mantissa), "{}", text);
            }
        }

        #[test]
        fn text_and_mantissa_are_inverse(mantissa: i64, decimals in 0u8..=40) {
            let shown = text(mantissa, decimals);
            let held = parse(shown.as_bytes(), decimals);
            if decimals <= 18 {
                prop_assert_eq!(held, Ok(mantissa));
            } else {
                // The digits are exact even where the exponent is beyond any instrument's.
                prop_assert_eq!(shown.bytes().filter(u8::is_ascii_digit).count(), usize::from(decimals) + 1);
            }
        }

        #[test]
        fn parsing_agrees_with_128_bit_rationals(
            negative: bool, whole in "[0-9]{1,21}", fraction in "[0-9]{0,20}", decimals in 0u8..=15,
        ) {
            let sign = if negative { "-" } else { "" };
            let dot = if fraction.is_empty() { "" } else { "." };
            let input = format!("{sign}{whole}{dot}{fraction}");
            // value = numerator / 10^fraction.len(), so mantissa = numerator × 10^decimals / 10^len.
            let kept = fraction.len().min(usize::from(decimals));
            let surplus_is_zero = fraction[kept..].bytes().all(|b| b == b'0');
            let numerator: i128 = format!("{whole}{}", &fraction[..kept]).parse().unwrap();
            let wide = numerator * 10i128.pow((usize::from(decimals) - kept) as u32);
            let expected = i64::try_from(if negative { -wide } else { wide });
            match parse(input.as_bytes(), decimals) {
                Ok(mantissa) => {
                    prop_assert!(surplus_is_zero);
                    prop_assert_eq!(Ok(mantissa), expected);
                }
                Err(FixedError::TooPrecise { .. }) => prop_assert!(!surplus_is_zero),
                Err(FixedError::Overflow { .. }) => prop_assert!(expected.is_err()),
                Err(error) => prop_assert!(false, "{input}: {error}"),
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(input: Vec<u8>, decimals: u8) {
            let _ = parse(&input, decimals);
        }
    }
}
