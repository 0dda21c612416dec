//! How unusual features lower confidence.
//!
//! A reconstruction error becomes a *score*, its share of the scale that all but few known errors
//! stay under: at most 1 is usual. P(up) is then pulled towards one half by the score, and so is
//! the confidence, which is the probability of a side:
//!
//! ```text
//! score = min(error / scale, SCORE_MAX)      an error that is no number, or negative: SCORE_MAX
//! p'    = 1/2 + (p - 1/2) / max(1, score)
//! ```
//!
//! Invariants: a score is in [0, [`SCORE_MAX`]]; the side of a forecast never changes, and a usual
//! one is returned to the bit.

/// Largest score; with it a probability is one half for all that matters.
pub const SCORE_MAX: f64 = 1e6;

/// Score of a reconstruction error; `scale` is above 0 and finite.
#[must_use]
pub fn score(error: f64, scale: f64) -> f64 {
    let score = error / scale;
    if (0.0..=SCORE_MAX).contains(&score) { score } else { SCORE_MAX }
}

/// P(up) pulled towards one half by a score over 1; NaN stays NaN.
#[must_use]
pub fn shrink(p_up: f64, score: f64) -> f64 {
    if score <= 1.0 { p_up } else { 0.5 + (p_up - 0.5) / score }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_forecast_stays_to_the_bit_and_an_unusual_one_keeps_its_side() {
        for p in [0.0, 0.1, 0.3, 0.5, 0.8, 1.0] {
            assert_eq!((shrink(p, 0.0), shrink(p, 1.0)), (p, p));
            for score in [1.5, 2.0, 100.0, SCORE_MAX] {
                let shrunk = shrink(p, score);
                assert!((shrunk - 0.5).abs() <= (p - 0.5).abs() / score + 1e-15);
                assert!((shrunk - 0.5) * (p - 0.5) >= 0.0, "{p} became {shrunk}");
            }
        }
        assert_eq!(shrink(0.9, 2.0), 0.7);
        assert!(shrink(f64::NAN, 3.0).is_nan());
    }

    #[test]
    fn an_error_that_is_no_number_is_the_greatest_anomaly() {
        assert_eq!((score(0.5, 2.0), score(6.0, 2.0), score(0.0, 2.0)), (0.25, 3.0, 0.0));
        for error in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
            assert_eq!(score(error, 2.0), SCORE_MAX);
        }
        assert!((shrink(1.0, SCORE_MAX) - 0.5).abs() < 1e-6);
    }
}
