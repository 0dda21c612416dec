//! The simulator's own random numbers, so that a seed means the same market for ever.
//!
//! Generator: xoshiro256++ 1.0 (Blackman and Vigna, "Scrambled linear pseudorandom number
//! generators", ACM TOMS 47, 2021), seeded by SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) as
//! its authors advise. Normals by Marsaglia's polar method (SIAM Review 6, 1964).
//! Invariants: no global state, no allocation; the draw sequence depends on the seed and the calls.

/// One independent stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
    /// The second normal of the last polar pair.
    spare: Option<f64>,
}

/// One step of SplitMix64: advances the state and returns the mixed output.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream numbered `stream` of a seed; streams of one seed are unrelated.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut mix = seed;
        // Mixing the seed before the stream number is added keeps (1, 0) and (0, 1) apart.
        let mut mix = split_mix(&mut mix) ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        Self { state: std::array::from_fn(|_| split_mix(&mut mix)), spare: None }
    }

    /// 64 uniform bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Uniform in the open interval (0, 1), so that its logarithm is finite.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next_u64() >> 11) as f64 + 0.5) * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform integer below `bound` (multiply-shift; the bias is below `bound` / 2^64).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Exponential waiting time of a process of `rate_hz`, in seconds.
    pub(crate) fn waiting_s(&mut self, rate_hz: f64) -> f64 {
        -self.uniform().ln() / rate_hz
    }

    /// Standard normal.
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(z) = self.spare.take() {
            return z;
        }
        loop {
            let u = 2.0 * self.uniform() - 1.0;
            let v = 2.0 * self.uniform() - 1.0;
            let s = u * u + v * v;
            if s < 1.0 && s > 0.0 {
                let scale = (-2.0 * s.ln() / s).sqrt();
                self.spare = Some(v * scale);
                return u * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_agrees_with_the_published_recurrences() {
        // First outputs of SplitMix64 from state 1234567 (reference implementation, splitmix64.c).
        let mut state = 1_234_567;
        let first: Vec<u64> = (0..3).map(|_| split_mix(&mut state)).collect();
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
        // First outputs of xoshiro256++ from the state 1, 2, 3, 4.
        let mut rng = Rng { state: [1, 2, 3, 4], spare: None };
        let first: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn streams_and_seeds_differ_and_repeat() {
        let draw = |seed, stream| Rng::new(seed, stream).next_u64();
        assert_eq!(draw(7, 3), draw(7, 3));
        let all = [draw(0, 0), draw(0, 1), draw(1, 0), draw(1, 1)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "streams collide: {all:?}");
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut rng = Rng::new(42, 0);
        let n = 200_000;
        let (mut sum, mut square, mut fourth, mut wait) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..n {
            let z = rng.normal();
            sum += z;
            square += z * z;
            fourth += z.powi(4);
            wait += rng.waiting_s(4.0);
        }
        let n = f64::from(n);
        // Bounds are about five standard errors of each estimate.
        assert!((sum / n).abs() < 0.012, "mean {}", sum / n);
        assert!((square / n - 1.0).abs() < 0.016, "variance {}", square / n);
        assert!((fourth / n - 3.0).abs() < 0.12, "fourth moment {}", fourth / n);
        assert!((wait / n - 0.25).abs() < 0.003, "mean wait {}", wait / n);
    }

    #[test]
    fn bounded_integers_cover_their_range_and_stay_in_it() {
        let mut rng = Rng::new(1, 1);
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            seen[rng.below(7)] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "uneven: {seen:?}");
    }
}
