//! The exponential function, the same to the bit on every machine.
//!
//! The system's differs from one C library to the next, and none is vectorised. Where a spike depends on
//! the last bit, as in encoding, that would make replays differ. Invariant: the same operations in the same
//! order everywhere; `kernels/cuda/cells.cuh` has their twin.

/// e^x for x ≤ 0 to within a few units in the last place: a polynomial in the fraction of x / ln 2
/// and an exponent put together from its integer part. 0 below -87.
#[allow(clippy::inline_always, reason = "part of vector loops")]
#[inline(always)]
pub(crate) fn negative(x: f32) -> f32 {
    // Rounding to nearest by adding and taking off 1.5 · 2^23.
    const ROUND: f32 = 12_582_912.0;
    let t = x.max(-87.0) * std::f32::consts::LOG2_E;
    let rounded = t + ROUND;
    let whole = rounded - ROUND;
    // ln 2 in two parts, so that the fraction is exact (Cody and Waite, 1980).
    let f = (x.max(-87.0) - whole * 0.693_359_4) - whole * -2.121_944_4e-4;
    let p = 1.0
        + f * (1.0
            + f * (0.5
                + f * (0.166_666_67
                    + f * (0.041_666_67 + f * (0.008_333_334 + f * 0.001_388_889)))));
    // The lowest bits of `rounded` are the integer itself. No cast, which would saturate, and no
    // checked addition: either keeps the loop from being vectorised.
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    let scale = f32::from_bits(exponent << 23);
    if x < -87.0 { 0.0 } else { p * scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_a_few_units_in_the_last_place() {
        for k in 0..200_000 {
            let x = -(k as f32) * 4.4e-4;
            let exact = (x as f64).exp();
            let error = (negative(x) as f64 - exact).abs() / exact;
            assert!(error < 3e-7 || exact < 1e-37, "{x}: {error}");
        }
        assert_eq!(negative(0.0), 1.0);
        assert_eq!(negative(-1e9), 0.0);
    }
}
