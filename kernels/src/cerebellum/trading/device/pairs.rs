//! Pair STDP on a device: its constants there, and its state on the way there and back.
//!
//! Invariant: a state is laid out as `pair_places` of `pairs.cuh` reads it.

use purkinje_cuda::driver::{Address, Driver, DriverError};

use super::super::circuit::{PARALLEL_AT, PURKINJE_AT};
use super::arguments::{PairState, Pairs};
use super::plan::put;
use super::sizes::PairSizes;
use crate::cerebellum::engine::{PairParts, PairRule, Plastic, State, Synapses};

/// Puts a rule's constants on the device, whose states lie at `state`.
pub(super) fn constants(
    driver: &mut dyn Driver,
    rule: &PairRule<'_>,
    sizes: PairSizes,
    state: Address,
) -> Result<Pairs, DriverError> {
    let [least, most] = rule.bounds;
    Ok(Pairs {
        state: state.0,
        decay: put(driver, bytemuck::cast_slice(rule.decay))?,
        growth: put(driver, bytemuck::cast_slice(rule.growth))?,
        potentiation: rule.potentiation,
        depression: rule.depression,
        keep: rule.keep,
        least,
        most,
        span: rule.span as u32,
        epoch: rule.epoch as u32,
        scan: rule.scan as u32,
        chunk: sizes.chunk as u32,
        state_bytes: sizes.state_bytes as u32,
    })
}

fn parts(synapses: &mut Synapses) -> Option<PairParts<'_>> {
    synapses.plastic_mut(PARALLEL_AT).and_then(Plastic::pair_parts_mut)
}

/// Appends the state of one instrument's cells and synapses.
pub(super) fn save(state: &State, synapses: &mut Synapses, sizes: PairSizes, bytes: &mut Vec<u8>) {
    let Some(mut parts) = parts(synapses) else { return };
    let end = bytes.len() + sizes.state_bytes;
    let head = PairState {
        step: state.step_count(),
        now: parts.now(),
        presynaptic: parts.effect.presynaptic_spikes,
        postsynaptic: parts.effect.postsynaptic_spikes,
        settled_early: parts.effect.settled_early,
        up: parts.effect.paired_up,
        down: parts.effect.paired_down,
        head: *parts.head,
        unused: 0,
    };
    bytes.extend_from_slice(bytemuck::bytes_of(&head));
    bytes.extend_from_slice(bytemuck::cast_slice(parts.post));
    let mut fired = vec![0_u32; parts.post.len().div_ceil(32)];
    for &cell in state.spikes(PURKINJE_AT) {
        fired[cell as usize / 32] |= 1 << (cell % 32);
    }
    bytes.extend_from_slice(bytemuck::cast_slice(&fired));
    bytes.extend_from_slice(bytemuck::cast_slice(parts.row_at));
    let (settled, traces): (Vec<u32>, Vec<f32>) =
        parts.sources_mut().map(|(settled, trace)| (*settled, *trace)).unzip();
    bytes.extend_from_slice(bytemuck::cast_slice(&settled));
    bytes.extend_from_slice(bytemuck::cast_slice(&traces));
    bytes.extend_from_slice(bytemuck::cast_slice(parts.rows));
    bytes.resize(end, 0);
}

/// Takes up the state of one instrument's cells and synapses.
pub(super) fn load(bytes: &[u8], state: &mut State, synapses: &mut Synapses) {
    let Some(mut parts) = parts(synapses) else { return };
    let (head, mut rest) = bytes.split_at(size_of::<PairState>());
    let head: PairState = bytemuck::pod_read_unaligned(head);
    let mut take = |words: usize| {
        let (taken, after) = rest.split_at(4 * words);
        rest = after;
        taken
    };
    *state.step_count_mut() = head.step;
    parts.set_now(head.now);
    *parts.head = head.head;
    parts.effect.presynaptic_spikes = head.presynaptic;
    parts.effect.postsynaptic_spikes = head.postsynaptic;
    parts.effect.settled_early = head.settled_early;
    parts.effect.paired_up = head.up;
    parts.effect.paired_down = head.down;
    let cells = parts.post.len();
    bytemuck::cast_slice_mut(parts.post).copy_from_slice(take(cells));
    let fired = take(cells.div_ceil(32));
    let has_fired = |cell: &u32| fired[*cell as usize / 8] >> (cell % 8) & 1 == 1;
    state.set_spikes(PURKINJE_AT, (0..cells as u32).filter(has_fired));
    let row_at = take(parts.row_at.len());
    bytemuck::cast_slice_mut(parts.row_at).copy_from_slice(row_at);
    let sources = parts.sources_mut().count();
    let settled = take(sources).as_chunks::<4>().0;
    let traces = take(sources).as_chunks::<4>().0;
    for ((settled, trace), (was, kept)) in parts.sources_mut().zip(settled.iter().zip(traces)) {
        (*settled, *trace) = (u32::from_ne_bytes(*was), f32::from_ne_bytes(*kept));
    }
    let rows = take(parts.rows.len());
    bytemuck::cast_slice_mut(parts.rows).copy_from_slice(rows);
}
