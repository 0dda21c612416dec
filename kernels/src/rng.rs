//! Randomness as a pure function of a key and a counter.
//!
//! Nothing here keeps a position: a word depends only on the key it is asked of and on its counter,
//! so the order in which cells, instruments or threads draw cannot change a result. Invariants:
//! equal keys and counters give equal words on every platform; no word is drawn from the
//! environment.

/// The increment of Weyl's sequence used by SplitMix64 (2^64 divided by the golden ratio).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Scrambles one word: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
const fn scramble(word: u64) -> u64 {
    let z = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of random words, addressed by counter and derived from a seed by a path of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The root of all streams of one seed.
    pub const fn new(seed: u64) -> Self {
        Self(scramble(seed.wrapping_add(GOLDEN)))
    }

    /// A stream of its own for `tag`: a population, an instrument, a cycle.
    #[must_use]
    pub const fn fork(self, tag: u64) -> Self {
        Self(scramble(self.0 ^ scramble(tag.wrapping_mul(GOLDEN).wrapping_add(1))))
    }

    /// What makes this stream what it is, for those who draw from it elsewhere.
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    /// The word at `counter`: 64 bits, each 0 or 1 with equal probability.
    #[inline]
    pub const fn word(self, counter: u64) -> u64 {
        scramble(self.0.wrapping_add(counter.wrapping_mul(GOLDEN)))
    }

    /// A number at `counter`, uniform in [0, 1) on a grid of 2^-24.
    #[inline]
    pub const fn uniform(self, counter: u64) -> f32 {
        (self.word(counter) >> 40) as f32 * (1.0 / 16_777_216.0)
    }

    /// An index at `counter`, uniform in `0..bound`; 0 when `bound` is 0.
    ///
    /// The bias of the multiply-shift method is below `bound` / 2^32.
    #[inline]
    pub const fn below(self, counter: u64, bound: u32) -> u32 {
        (((self.word(counter) >> 32) * bound as u64) >> 32) as u32
    }

    /// A standard normal deviate at `counter` (Box and Muller, 1958; the cosine branch only).
    pub fn normal(self, counter: u64) -> f32 {
        let word = self.word(counter);
        // The radius takes the upper half, offset so that it is never zero, the angle the lower
        // half.
        let radius = (-2.0 * (((word >> 32) as f64 + 0.5) / 4_294_967_296.0).ln()).sqrt();
        let angle = (word as u32) as f64 * (std::f64::consts::TAU / 4_294_967_296.0);
        (radius * angle.cos()) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_do_not_depend_on_the_order_in_which_they_are_drawn() {
        let key = Key::new(7).fork(3);
        let forwards: Vec<u64> = (0..100).map(|k| key.word(k)).collect();
        let mut backwards: Vec<u64> = (0..100).rev().map(|k| key.word(k)).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        assert_ne!(key.word(0), Key::new(7).fork(4).word(0));
        assert_ne!(key.word(0), Key::new(8).fork(3).word(0));
    }

    #[test]
    fn words_are_the_same_on_every_machine() {
        // SplitMix64 started at zero is published to give this first output.
        assert_eq!(scramble(GOLDEN), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn uniforms_and_normals_have_their_moments() {
        let key = Key::new(1);
        let n = 100_000;
        let (mut sum, mut mean, mut square) = (0.0, 0.0, 0.0);
        for k in 0..n {
            sum += key.uniform(k) as f64;
            let z = key.fork(1).normal(k) as f64;
            mean += z;
            square += z * z;
        }
        let n = n as f64;
        assert!((sum / n - 0.5).abs() < 0.004, "uniform mean {}", sum / n);
        assert!((mean / n).abs() < 0.015, "normal mean {}", mean / n);
        assert!((square / n - 1.0).abs() < 0.02, "normal variance {}", square / n);
    }

    #[test]
    fn indices_stay_below_their_bound() {
        let key = Key::new(5);
        let mut seen = [0_u32; 7];
        for k in 0..7_000 {
            seen[key.below(k, 7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert_eq!(key.below(0, 0), 0);
    }
}
