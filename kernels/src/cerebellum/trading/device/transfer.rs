//! Copies of cells, past and weights between the host and a device.
//!
//! Invariant: a copy back reads everything before it writes anything, so that a failure leaves the older copy
//! whole.

use purkinje_cuda::driver::{Driver, DriverError};

use super::super::circuit::{Circuit, GOLGI_AT, GRANULE_AT, NUCLEAR_AT, PARALLEL_AT, PURKINJE_AT};
use super::super::memory::Past;
use super::super::shard::{Shard, WeightSet};
use super::pairs;
use super::plan::ResidentPlan;
use crate::cerebellum::description::Cell;
use crate::cerebellum::engine::{State, Synapses};

impl ResidentPlan {
    /// Copies cells, past and weights from the host to the device. Allocates.
    pub(in crate::cerebellum::trading) fn upload(
        &mut self,
        driver: &mut dyn Driver,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&WeightSet>,
    ) -> Result<(), DriverError> {
        let (sizes, places) = (self.sizes, self.places);
        for shard in shards.iter_mut().flatten() {
            let first = shard.first;
            self.scratch.clear();
            for k in 0..shard.len() {
                each_row(shard.state_mut(k), |row| {
                    self.scratch.extend_from_slice(bytemuck::cast_slice(row));
                });
            }
            driver.write(places.state.add(4 * first * sizes.state), &self.scratch)?;
            self.scratch.clear();
            match shard.past_mut() {
                Past::Held(counts) => self.scratch.extend_from_slice(counts),
                Past::Kernel { slow, fast, at } => {
                    let rows = slow.chunks_exact(sizes.granules);
                    for (slow, fast) in rows.zip(fast.chunks_exact(sizes.granules)) {
                        self.scratch.extend_from_slice(bytemuck::cast_slice(slow));
                        self.scratch.extend_from_slice(bytemuck::cast_slice(fast));
                    }
                    self.at[first..first + at.len()].copy_from_slice(at);
                }
            }
            driver.write(places.past.add(first * sizes.past_each()), &self.scratch)?;
            for (k, set) in shard.own.iter().enumerate() {
                let at = 4 * (first + k) * sizes.weights();
                let weights = circuit.network.weights(&set.synapses, PARALLEL_AT);
                driver.write(places.weights.add(at), bytemuck::cast_slice(&weights))?;
            }
            if let Some(sizes) = sizes.pairs {
                self.scratch.clear();
                for (state, set) in shard.states_and_sets() {
                    pairs::save(state, &mut set.synapses, sizes, &mut self.scratch);
                }
                driver.write(places.pairs.add(first * sizes.state_bytes), &self.scratch)?;
            }
        }
        if let Some(set) = shared {
            let weights = circuit.network.weights(&set.synapses, PARALLEL_AT);
            driver.write(places.weights, bytemuck::cast_slice(&weights))?;
        }
        Ok(())
    }

    /// Copies cells, past and weights from the device to the host. Allocates.
    pub(in crate::cerebellum::trading) fn download(
        &mut self,
        driver: &mut dyn Driver,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&mut WeightSet>,
    ) -> Result<(), DriverError> {
        let (sizes, places) = (self.sizes, self.places);
        let kinds = [
            (places.state, sizes.state_bytes()),
            (places.weights, sizes.weight_bytes()),
            (places.past, sizes.past_bytes()),
            (places.pairs, sizes.pair_bytes()),
        ];
        self.scratch.resize(kinds.iter().map(|(_, bytes)| bytes).sum(), 0);
        let mut rest = &mut self.scratch[..];
        let mut copies: [&[u8]; 4] = [&[]; 4];
        for (copy, (from, bytes)) in copies.iter_mut().zip(kinds) {
            let (own, after) = std::mem::take(&mut rest).split_at_mut(bytes);
            driver.read(from, own)?;
            *copy = own;
            rest = after;
        }
        let [cells, weights, past, paired] = copies;
        for shard in shards.iter_mut().flatten() {
            let first = shard.first;
            for k in 0..shard.len() {
                let mut from = &cells[4 * (first + k) * sizes.state..];
                each_row(shard.state_mut(k), |row| {
                    let (bytes, rest) = from.split_at(size_of_val(row));
                    bytemuck::cast_slice_mut(row).copy_from_slice(bytes);
                    from = rest;
                });
            }
            let past = &past[first * sizes.past_each()..];
            match shard.past_mut() {
                Past::Held(counts) => counts.copy_from_slice(&past[..counts.len()]),
                Past::Kernel { slow, fast, at } => {
                    let row = 4 * sizes.granules;
                    let rows = slow.chunks_exact_mut(sizes.granules);
                    let rows = rows.zip(fast.chunks_exact_mut(sizes.granules));
                    for ((slow, fast), from) in rows.zip(past.chunks_exact(2 * row)) {
                        bytemuck::cast_slice_mut(slow).copy_from_slice(&from[..row]);
                        bytemuck::cast_slice_mut(fast).copy_from_slice(&from[row..]);
                    }
                    at.copy_from_slice(&self.at[first..first + at.len()]);
                }
            }
            for (k, set) in shard.own.iter_mut().enumerate() {
                let at = 4 * (first + k) * sizes.weights();
                put_weights(circuit, &mut set.synapses, &weights[at..], sizes.purkinje);
            }
            if let Some(sizes) = sizes.pairs {
                let from = paired[first * sizes.state_bytes..].chunks_exact(sizes.state_bytes);
                for ((state, set), bytes) in shard.states_and_sets().zip(from) {
                    pairs::load(bytes, state, &mut set.synapses);
                }
            }
        }
        if let Some(set) = shared {
            put_weights(circuit, &mut set.synapses, weights, sizes.purkinje);
        }
        Ok(())
    }
}

/// Calls with each row of an instrument's cells in the order of `cerebellum_cycle`: of each population the
/// potentials, then its receptors.
fn each_row(state: &mut State, mut row: impl FnMut(&mut [f32])) {
    for population in [GRANULE_AT, GOLGI_AT, PURKINJE_AT, NUCLEAR_AT] {
        let (potentials, receptors) = state.cells_mut(population);
        row(potentials);
        for receptor in receptors {
            row(receptor);
        }
    }
}

/// Puts the weights of one set, which come first, by granule cell, into synapses, settled or not as they are.
fn put_weights(circuit: &Circuit, synapses: &mut Synapses, bytes: &[u8], row: usize) {
    let granules = circuit.network.count(Cell::Granule) as u32;
    for (granule, given) in (0..granules).zip(bytes.chunks_exact(4 * row)) {
        let own = circuit.network.stored_row_mut(synapses, PARALLEL_AT, granule);
        bytemuck::cast_slice_mut(own).copy_from_slice(given);
    }
}
