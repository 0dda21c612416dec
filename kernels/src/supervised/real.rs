//! The numbers that training runs in: `f32` to train, `f64` to check gradients.
//!
//! Invariants: [`Real::of`] rounds to nearest; bytes are little-endian and keep every bit.

use std::fmt::{Debug, Display};
use std::iter::Sum;

use num_traits::{Float, NumAssign};

/// A floating-point number that a network can be trained in.
pub trait Real: Float + NumAssign + Sum + Debug + Display + Send + Sync + 'static {
    /// Bytes of one number in a saved state.
    const BYTES: usize;

    /// The nearest number to `x`.
    fn of(x: f64) -> Self;

    /// The number as `f64`, exactly.
    fn wide(self) -> f64;

    /// Appends the number's bytes, little-endian.
    fn write(self, out: &mut Vec<u8>);

    /// The number whose bytes begin `bytes`; none when there are fewer than [`Real::BYTES`].
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! real {
    ($number:ty) => {
        impl Real for $number {
            const BYTES: usize = size_of::<$number>();

            fn of(x: f64) -> Self {
                x as $number
            }

            fn wide(self) -> f64 {
                self.into()
            }

            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Option<Self> {
                bytes.first_chunk().map(|bytes| Self::from_le_bytes(*bytes))
            }
        }
    };
}

real!(f32);
real!(f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_from_its_bytes_bit_for_bit() {
        for x in [0.1, -0.0, f64::MIN_POSITIVE, f64::INFINITY] {
            let (mut wide, mut narrow) = (Vec::new(), Vec::new());
            x.write(&mut wide);
            (x as f32).write(&mut narrow);
            assert_eq!(f64::read(&wide).map(f64::to_bits), Some(x.to_bits()));
            assert_eq!(f32::read(&narrow).map(f32::to_bits), Some((x as f32).to_bits()));
        }
        assert_eq!(f32::read(&[0; 3]), None);
    }
}
