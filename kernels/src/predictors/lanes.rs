//! Sixteen numbers that are computed side by side: what a vector register of 512 bits holds, or two of 256.

/// Numbers in a [`Lanes`].
pub(crate) const LANES: usize = 16;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub(crate) [f32; LANES]);

impl Lanes {
    /// Zeros.
    pub const ZERO: Self = Self([0.0; LANES]);

    /// So many groups of lanes as hold `len` numbers, all zero.
    #[must_use]
    pub fn zeros(len: usize) -> Vec<Self> {
        vec![Self::ZERO; len.div_ceil(LANES)]
    }

    /// The numbers themselves.
    #[must_use]
    pub fn flat(lanes: &[Self]) -> &[f32] {
        // SAFETY: `Lanes` is an array of numbers without padding (64 bytes, aligned to as many).
        unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast(), lanes.len() * LANES) }
    }

    /// The numbers themselves.
    #[must_use]
    pub fn flat_mut(lanes: &mut [Self]) -> &mut [f32] {
        // SAFETY: `Lanes` is an array of numbers without padding (64 bytes, aligned to as many).
        unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), lanes.len() * LANES) }
    }

    /// Adds `weights · input`, each rounded once.
    #[inline(always)]
    pub(crate) fn add_product(&mut self, weights: Self, input: f32) {
        for (sum, weight) in self.0.iter_mut().zip(weights.0) {
            *sum = weight.mul_add(input, *sum);
        }
    }

    /// Their sum: halves are added until one number is left.
    #[inline(always)]
    pub(crate) fn sum(mut self) -> f32 {
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                self.0[lane] += self.0[lane + half];
            }
            half /= 2;
        }
        self.0[0]
    }
}
