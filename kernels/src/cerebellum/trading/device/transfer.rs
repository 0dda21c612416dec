//! Copies of cells, counts and weights between the host and a device.
//!
//! Invariant: a copy back reads everything before it writes anything, so that a failure leaves the older copy
//! whole.

use purkinje_cuda::driver::{Driver, DriverError};

use super::super::circuit::{
    Circuit, GOLGI_AT, GRANULE_AT, NUCLEAR_AT, PARALLEL_AT, PURKINJE_AT,
};
use super::super::shard::{Shard, WeightSet};
use super::plan::ResidentPlan;
use crate::cerebellum::description::Cell;
use crate::cerebellum::engine::{State, Synapses};

impl ResidentPlan {
    /// Copies cells, counts and weights from the host to the device. Allocates.
    pub(in crate::cerebellum::trading) fn upload(
        &mut self,
        driver: &mut dyn Driver,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&WeightSet>,
    ) -> Result<(), DriverError> {
        let (sizes, places) = (self.sizes, self.places);
        for shard in shards.iter_mut().flatten() {
            for k in 0..shard.len() {
                let at = 4 * (shard.first + k) * sizes.state;
                self.scratch.clear();
                each_row(shard.state_mut(k), |row| {
                    self.scratch.extend_from_slice(bytemuck::cast_slice(row));
                });
                driver.write(places.state.add(at), &self.scratch)?;
            }
            let at = shard.first * sizes.pending * sizes.granules;
            if let Some(counts) = shard.counts_mut() {
                driver.write(places.counts.add(at), counts)?;
            }
            for (k, set) in shard.own.iter().enumerate() {
                let at = 4 * (shard.first + k) * sizes.weights();
                let weights = circuit.weights(&set.synapses);
                driver.write(places.weights.add(at), bytemuck::cast_slice(&weights))?;
            }
        }
        if let Some(set) = shared {
            let weights = circuit.weights(&set.synapses);
            driver.write(places.weights, bytemuck::cast_slice(&weights))?;
        }
        Ok(())
    }

    /// Copies cells, counts and weights from the device to the host. Allocates.
    pub(in crate::cerebellum::trading) fn download(
        &mut self,
        driver: &mut dyn Driver,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&mut WeightSet>,
    ) -> Result<(), DriverError> {
        let (sizes, places) = (self.sizes, self.places);
        let all = sizes.state_bytes() + sizes.weight_bytes() + sizes.count_bytes();
        self.scratch.resize(all, 0);
        let (cells, rest) = self.scratch.split_at_mut(sizes.state_bytes());
        let (weights, counts) = rest.split_at_mut(sizes.weight_bytes());
        driver.read(places.state, cells)?;
        driver.read(places.weights, weights)?;
        driver.read(places.counts, counts)?;
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
            let at = first * sizes.pending * sizes.granules;
            if let Some(kept) = shard.counts_mut() {
                kept.copy_from_slice(&counts[at..at + kept.len()]);
            }
            for (k, set) in shard.own.iter_mut().enumerate() {
                let at = 4 * (first + k) * sizes.weights();
                put_weights(circuit, &mut set.synapses, &weights[at..], sizes.purkinje);
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

/// Puts the weights of one set, which come first, by granule cell, into synapses.
fn put_weights(circuit: &Circuit, synapses: &mut Synapses, bytes: &[u8], row: usize) {
    let granules = circuit.network.count(Cell::Granule) as u32;
    for (granule, given) in (0..granules).zip(bytes.chunks_exact(4 * row)) {
        let own = circuit.network.row_mut(synapses, PARALLEL_AT, granule);
        bytemuck::cast_slice_mut(own).copy_from_slice(given);
    }
}
