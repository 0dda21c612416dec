//! What a step of a network takes on this machine, and what it holds in memory.
//!
//! A step is one cycle of all instruments, timed by itself with the monotonic clock, whose own cost is told
//! and not taken off. Before each cold step a buffer of [`COLD_BYTES`] is written from end to end, so that
//! the weights have left the core's own caches, though perhaps not the one it shares: at a cadence of
//! 100 ms that is how a step finds them. These are measurements: no two are alike.

use std::{hint::black_box, path::Path, time::Instant};

use purkinje_kernels::{isa::Isa, rng::Key};
use purkinje_strategies::features::N as FEATURES;

use super::folder::Folder;
use crate::learning::network::{Network, NetworkError};

/// Bytes written before a cold step.
pub const COLD_BYTES: usize = 8 << 20;
const LINE_BYTES: usize = 64;
/// Cycles of features that steps take in turn.
const CYCLES: usize = 64;
const SEED: u64 = 0x006c_6174;

/// Quantiles of steps, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// Steps.
    pub calls: usize,
    /// Median.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// 99.9th percentile.
    pub p999_ns: u64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Instruments of a step.
    pub instruments: usize,
    /// Instruction set of the hot loops.
    pub isa: String,
    /// Two readings of the clock with nothing between.
    pub clock: Quantiles,
    /// Steps with everything in cache.
    pub warm: Quantiles,
    /// Steps without.
    pub cold: Quantiles,
    /// Bytes of weights that an answer reads.
    pub weight_bytes: usize,
    /// By how much loading let the process grow, bytes; none where the system does not say. Of worth in a
    /// fresh process only: another one gives out memory it has.
    pub resident_bytes: Option<u64>,
}

/// How often is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Warm steps.
    pub warm: usize,
    /// Cold ones, each of which takes about a millisecond more to prepare.
    pub cold: usize,
}

/// Loads a network for so many instruments and times it.
///
/// # Errors
/// The network is refused.
pub fn measure(folder: &Path, instruments: usize, calls: Calls) -> Result<Latency, NetworkError> {
    let description = Folder::read(folder)?;
    let key = Key::new(SEED);
    let width = instruments * FEATURES;
    let rows: Vec<f32> = (0..(CYCLES * width) as u64).map(|k| key.normal(k)).collect();
    let active = vec![true; instruments];
    let before = resident_bytes();
    let mut network = Network::load(folder, &description.demands(instruments))?;
    // Whatever is touched first by a step is touched now.
    network.advance(&rows[..width], &active);
    let after = resident_bytes();
    let mut step = |call: usize| {
        network.advance(&rows[call % CYCLES * width..][..width], &active);
        black_box(network.p_up(0));
    };
    for call in 0..calls.warm / 10 {
        step(call);
    }
    let warm = Quantiles::of((0..calls.warm).map(|call| timed(|| step(call))).collect());
    let mut buffer = vec![0_u8; COLD_BYTES];
    let cold = (0..calls.cold).map(|call| {
        for byte in buffer.iter_mut().step_by(LINE_BYTES) {
            *byte = byte.wrapping_add(1);
        }
        black_box(&mut buffer);
        timed(|| step(call))
    });
    let cold = Quantiles::of(cold.collect());
    Ok(Latency {
        instruments,
        isa: format!("{:?}", Isa::best()),
        clock: Quantiles::of((0..calls.warm).map(|_| timed(|| {})).collect()),
        warm,
        cold,
        weight_bytes: network.weight_bytes(),
        resident_bytes: before.zip(after).map(|(before, after)| after.saturating_sub(before)),
    })
}

fn timed(work: impl FnOnce()) -> u64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as u64
}

impl Quantiles {
    /// Zeros without a call.
    fn of(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        let last = nanoseconds.len().saturating_sub(1);
        let at = |q: f64| nanoseconds.get((q * last as f64) as usize).copied().unwrap_or(0);
        let calls = nanoseconds.len();
        Self { calls, p50_ns: at(0.5), p99_ns: at(0.99), p999_ns: at(0.999) }
    }
}

/// Memory of this process that is in the machine's, as Linux counts it.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    // SAFETY: takes no pointer and changes nothing.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page_bytes).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_ordered_calls() {
        let found = Quantiles::of((0..1_001).rev().collect());
        assert_eq!(found, Quantiles { calls: 1_001, p50_ns: 500, p99_ns: 990, p999_ns: 999 });
        assert_eq!(Quantiles::of(Vec::new()).p50_ns, 0);
    }
}
