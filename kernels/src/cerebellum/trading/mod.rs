//! The cerebellum as a forecaster: a spiking network an instrument, advanced one decision cycle at a
//! time, that learns online from the error of its forecasts.
//!
//! Features are coded by mossy fibres ([`super::encode`]), spread over granule cells held sparse by Golgi
//! cells (`circuit`), and weighed by the plastic parallel-fibre synapses of Purkinje cells in an up
//! and a down microzone (`learning`); the difference of the nuclear rates that the zones leave is
//! the value. What a forecast's granule cells did is kept until its outcome is known (`memory`), so the
//! climbing fibres act on a trace that peaks one horizon back, however long that is. `rules` says
//! which rules there are besides and `report` what they have done.
//!
//! Invariants: equal configuration, inputs and outcomes give bit-equal values, whatever the number of
//! threads; what one instrument does is independent of the others unless they share weights, and then
//! only through the weights; no allocation after construction; weights change only in
//! [`Cerebellum::learn`] and, by scaling, at the end of [`Cerebellum::advance`].

mod circuit;
mod config;
mod device;
mod learning;
mod memory;
mod probe;
mod report;
mod rules;
mod shard;
mod trainable;
mod weights;
mod workers;

use std::sync::{Arc, PoisonError, RwLock};

pub use config::{CerebellumConfig, ConfigError, Eligibility};
pub(crate) use device::LaidOut;
pub use device::{DeviceCounters, DeviceError, DevicePlan, PreparedDevice};
pub use report::{LearningReport, RuleReport, WeightSummary};
pub use rules::RulesConfig;
pub use trainable::MossyEncoder;
pub use weights::{LearnedWeights, WeightsError};

use purkinje_cuda::driver::DriverError;

use super::description::Description;
use crate::rng::Key;
use circuit::{Circuit, Spikes};
use device::{Device, Handover};
use learning::{CycleRates, Teacher};
pub(in crate::cerebellum) use probe::Probe;
use shard::{Shard, WeightSet};
use workers::{Shared, Worker};

/// Mean firing rates over the active instruments of the last cycle, Hz.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Mossy fibres.
    pub mossy_hz: f32,
    /// Granule cells.
    pub granule_hz: f32,
    /// Golgi cells.
    pub golgi_hz: f32,
    /// Purkinje cells (simple spikes), both zones.
    pub purkinje_hz: f32,
    /// Nuclear cells, both zones.
    pub nuclear_hz: f32,
}

/// A batch of cerebellar networks.
#[derive(Debug)]
pub struct Cerebellum {
    config: CerebellumConfig,
    circuit: Arc<Circuit>,
    /// The weights of all instruments, where they share them.
    shared: Shared,
    /// The instruments: shard 0 is run by the caller, the others by a worker each. A place is empty
    /// only while its shard is with its worker.
    shards: Vec<Option<Box<Shard>>>,
    workers: Vec<Worker>,
    rates: Rates,
    /// Scratch: mean rates of the Purkinje cells over the instruments that ran, Hz.
    purkinje_hz: Vec<f32>,
    key: Key,
    expired: u64,
    rejected: u64,
    plastic: bool,
    /// Where the networks run, unless on the CPU.
    device: Option<Device>,
    /// Why the CPU took over from the last device, until asked.
    fault: Option<DriverError>,
}

impl Cerebellum {
    /// Builds the networks and lets their granule layer settle on random features (300 cycles of
    /// one network, whatever the number of instruments).
    ///
    /// # Errors
    /// [`ConfigError`] names the setting, its value and what was expected.
    pub fn new(config: CerebellumConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let key = Key::new(config.seed);
        let circuit = Arc::new(Circuit::new(&config, key.fork(0))?);
        let shared =
            config.shared_weights.then(|| WeightSet::new(&config, &circuit)).transpose()?;
        let shared = shared.map(|set| Arc::new(RwLock::new(set)));
        let threads = config.threads.min(config.instruments);
        let shards = (0..threads).map(|k| {
            let part = super::connect::part(config.instruments, threads, k);
            Shard::new(&config, &circuit, part, key.fork(1)).map(|shard| Some(Box::new(shard)))
        });
        let workers = (1..threads).map(|_| {
            Worker::start(circuit.clone(), shared.clone(), key.fork(2)).map_err(|e| ConfigError {
                name: "threads".to_owned(),
                value: threads.to_string(),
                expected: format!("as many as the system starts ({e})"),
            })
        });
        Ok(Self {
            shards: shards.collect::<Result<_, _>>()?,
            workers: workers.collect::<Result<_, _>>()?,
            rates: Rates::default(),
            purkinje_hz: vec![0.0; 2 * config.purkinje_per_zone],
            key,
            expired: 0,
            rejected: 0,
            plastic: config.plastic,
            device: None,
            fault: None,
            circuit,
            shared,
            config,
        })
    }

    /// What a device is laid out for, which takes a while and may be done on another thread.
    pub fn device_plan(&self) -> DevicePlan {
        DevicePlan {
            config: self.config.clone(),
            circuit: self.circuit.clone(),
            keys: self.key.fork(2),
        }
    }

    /// Moves the networks to a device that was laid out for them, where the cycles to come run, equal to the bit
    /// to those of the CPU.
    pub fn move_to(&mut self, device: PreparedDevice) {
        self.leave_device();
        self.device = Some(device.0);
    }

    /// Takes the networks back to the CPU as they are; with nothing later than the last copy, where the device
    /// does not answer.
    pub fn leave_device(&mut self) {
        self.synchronise();
        self.device = None;
    }

    /// The device, if the networks are on one.
    pub fn device(&self) -> Option<purkinje_cuda::driver::Device> {
        self.device.as_ref().map(|device| device.cycle().device())
    }

    /// Whether the networks are on a device.
    pub const fn is_on_device(&self) -> bool {
        self.device.is_some()
    }

    /// What the device has done, if the networks are on one.
    pub fn device_counters(&self) -> Option<DeviceCounters> {
        self.device.as_ref().map(|device| device.counters)
    }

    /// Why the CPU has taken over from a device, once.
    pub const fn take_fault(&mut self) -> Option<DriverError> {
        self.fault.take()
    }

    /// Brings the host's copy of cells and weights, which all that reads or writes them uses, up to date. Does
    /// nothing on the CPU.
    pub fn synchronise(&mut self) {
        let Some(device) = &mut self.device else { return };
        let mut set =
            self.shared.as_ref().map(|s| s.write().unwrap_or_else(PoisonError::into_inner));
        let done = device.download(&self.circuit, &mut self.shards, set.as_deref_mut());
        drop(set);
        if let Err(fault) = done {
            self.fall_back(fault);
        }
    }

    /// Brings the host's copy up to date and makes it what the device goes on from.
    fn take_over(&mut self) {
        self.synchronise();
        if let Some(device) = &mut self.device {
            device.host_is_newer = true;
        }
    }

    /// Goes on with the CPU from the last copy. What was kept of later cycles is forgotten: only the device had
    /// the counts, so their outcomes will be counted as expired.
    fn fall_back(&mut self, fault: DriverError) {
        let Some(device) = self.device.take() else { return };
        for shard in self.shards.iter_mut().flatten() {
            shard.forget_after(device.synchronised_cycle);
        }
        self.fault = Some(fault);
    }

    /// Puts a cycle's inputs on the device, if there is one.
    fn stage_on_device(&mut self, cycle: u64) {
        let Some(device) = &mut self.device else { return };
        let set = self.shared.as_ref().map(|s| s.read().unwrap_or_else(PoisonError::into_inner));
        let staged = device.stage(&self.circuit, &mut self.shards, set.as_deref(), cycle);
        drop(set);
        if let Err(fault) = staged {
            self.fall_back(fault);
        }
    }

    /// Takes a cycle's results from the device, if there is one; whether it had them.
    fn collect_from_device(&mut self, cycle: u64) -> bool {
        let Some(device) = &mut self.device else { return false };
        let mut set =
            self.shared.as_ref().map(|s| s.write().unwrap_or_else(PoisonError::into_inner));
        let ran = device.collect(&self.circuit, &mut self.shards, set.as_deref_mut(), cycle);
        let due = device.is_due();
        drop(set);
        let done = ran.is_ok();
        match ran {
            Ok(()) if due => self.synchronise(),
            Ok(()) => {}
            Err(fault) => self.fall_back(fault),
        }
        done
    }

    /// Teaches a network on the device, if there is one: whether the cycle was still known.
    fn learn_on_device(
        &mut self,
        instrument: usize,
        cycle: u64,
        error: f32,
        key: Key,
    ) -> Option<bool> {
        self.make_room();
        let device = self.device.as_mut()?;
        let mut shards = self.shards.iter_mut().flatten();
        let shard = shards.find(|s| (s.first..s.first + s.len()).contains(&instrument))?;
        let k = instrument - shard.first;
        let Some((summary, slot, own)) = shard.noted_and_taught(k, cycle) else {
            return Some(false);
        };
        if !self.plastic {
            return Some(true);
        }
        let mut hand_over = |teacher: &mut Teacher| {
            let (lesson, change) = teacher.outcome(error, &summary, key);
            device.push(Handover { instrument, cycle, slot, lesson, change });
            if !device.accounts() {
                teacher.account(lesson, None, (summary.total, summary.cells));
            }
        };
        match (&self.shared, own) {
            (Some(shared), _) => {
                let mut set = shared.write().unwrap_or_else(PoisonError::into_inner);
                hand_over(&mut set.teacher);
            }
            (None, Some(teacher)) => hand_over(teacher),
            (None, None) => {}
        }
        Some(true)
    }

    /// Sees to it that the device, if there is one, can take another outcome.
    fn make_room(&mut self) {
        let Some(device) = &mut self.device else { return };
        let mut set =
            self.shared.as_ref().map(|s| s.write().unwrap_or_else(PoisonError::into_inner));
        let done = device.make_room(&mut self.shards, set.as_deref_mut());
        drop(set);
        if let Err(fault) = done {
            self.fall_back(fault);
        }
    }

    /// The network that an instrument has, as a description.
    pub fn describe(config: &CerebellumConfig) -> Description {
        circuit::describe(config)
    }

    /// Runs decision cycle `cycle` for every active instrument.
    ///
    /// `features` is [instruments × features], each near N(0, 1); one that is not a number is absent:
    /// it leaves its mossy fibres at their background and is counted. `value` receives, by instrument,
    /// a number in (0, 1) that rises with what the outcomes have taught, or 0.5 where `active` is
    /// false, whose network then stands still. The granule activity is kept under `cycle` for
    /// [`Cerebellum::learn`], in the place of the cycle `pending_cycles` before it.
    ///
    /// # Panics
    /// When a slice does not have the length stated.
    pub fn advance(&mut self, cycle: u64, features: &[f32], active: &[bool], value: &mut [f32]) {
        if let Some(device) = &self.device {
            device.cycle().begin(active, None);
        }
        self.begin(cycle, features, active);
        if let Some(device) = &self.device {
            device.cycle().launch();
            device.cycle().wait();
        }
        self.finish(cycle, value);
    }

    /// The first part of [`Cerebellum::advance`], for a device's cycle that others share: takes the inputs and, if
    /// the networks are on a device, puts them where its launch finds them.
    ///
    /// # Panics
    /// When a slice does not have the length stated there.
    pub fn begin(&mut self, cycle: u64, features: &[f32], active: &[bool]) {
        let n = self.config.instruments;
        assert_eq!(features.len(), n * self.config.features, "features by instrument");
        assert_eq!(active.len(), n, "one entry an instrument");
        for shard in self.shards.iter_mut().flatten() {
            let (from, to) = (shard.first, shard.first + shard.len());
            let each = self.config.features;
            shard.features.copy_from_slice(&features[from * each..to * each]);
            shard.active.copy_from_slice(&active[from..to]);
        }
        self.stage_on_device(cycle);
    }

    /// The second part of [`Cerebellum::advance`]: gives the values of the cycle that was begun, from the device,
    /// which was launched and waited for, or else from the CPU.
    ///
    /// # Panics
    /// When there is not an entry for each instrument.
    pub fn finish(&mut self, cycle: u64, value: &mut [f32]) {
        let n = self.config.instruments;
        assert_eq!(value.len(), n, "one entry an instrument");
        if !self.collect_from_device(cycle) {
            self.advance_on_cpu(cycle, self.key.fork(2));
        }
        let mut sum = Spikes::default();
        let mut ran = 0;
        for shard in self.shards.iter().flatten() {
            value[shard.first..shard.first + shard.len()].copy_from_slice(&shard.values);
            sum.add(shard.spikes);
            ran += shard.ran;
        }
        if ran == 0 {
            return;
        }
        if self.plastic
            && let Some(shared) = &self.shared
        {
            // Counts are whole numbers, so their sum does not depend on the shards.
            let seconds = ran as f32 * self.config.cycle_s();
            for (j, hz) in self.purkinje_hz.iter_mut().enumerate() {
                let spikes: u32 = self.shards.iter().flatten().map(|s| s.purkinje[j]).sum();
                *hz = spikes as f32 / seconds;
            }
            let mut set = shared.write().unwrap_or_else(PoisonError::into_inner);
            let WeightSet { synapses, teacher, .. } = &mut *set;
            teacher.end_cycle(synapses, CycleRates { purkinje_hz: &self.purkinje_hz });
        }
        self.rates = self.mean_rates(&sum, ran);
    }

    /// Runs a cycle on the CPU, shard 0 on this thread.
    fn advance_on_cpu(&mut self, cycle: u64, key: Key) {
        for (worker, place) in self.workers.iter().zip(&mut self.shards[1..]) {
            // A worker that has gone leaves its shard to the caller.
            *place = place.take().and_then(|shard| worker.send(shard, cycle).err());
        }
        for shard in self.shards.iter_mut().flatten() {
            workers::run(&self.circuit, &self.shared, shard, cycle, key);
        }
        for (worker, place) in self.workers.iter().zip(&mut self.shards[1..]) {
            if place.is_none() {
                *place = worker.receive();
            }
        }
    }

    /// Learns the outcome of the forecast made at `cycle`: `error` is the target less the value
    /// given then, in [-1, 1]. Returns whether the forecast's activity was still held; when it was
    /// not, or the error is not a number, nothing changes and a counter tells; nor does anything
    /// change in a cerebellum that is not plastic.
    pub fn learn(&mut self, instrument: usize, cycle: u64, error: f32) -> bool {
        if instrument >= self.config.instruments || error.is_nan() {
            self.rejected += 1;
            return false;
        }
        let key = self.key.fork(3).fork(instrument as u64).fork(cycle);
        if let Some(held) = self.learn_on_device(instrument, cycle, error, key) {
            self.expired += u64::from(!held);
            return held;
        }
        let found = self
            .shards
            .iter_mut()
            .flatten()
            .find(|s| (s.first..s.first + s.len()).contains(&instrument));
        let Some(shard) = found else { return false };
        let k = instrument - shard.first;
        let held = match &self.shared {
            None => shard.learn_own(&self.circuit, k, cycle, error, key),
            Some(shared) => match shard.recall(k, cycle) {
                None => false,
                Some(recalled) if self.plastic => {
                    let mut set = shared.write().unwrap_or_else(PoisonError::into_inner);
                    let WeightSet { synapses, teacher, .. } = &mut *set;
                    teacher.learn(&self.circuit, synapses, error, &recalled, key);
                    true
                }
                Some(_) => true,
            },
        };
        self.expired += u64::from(!held);
        held
    }

    /// Switches every rule on or off, whatever the configuration says. While they are off,
    /// [`Cerebellum::learn`] changes nothing.
    pub fn set_plastic(&mut self, on: bool) {
        if self.circuit.learns_by_spike() {
            // Switching settles the weights.
            self.take_over();
        }
        self.plastic = on;
        for shard in self.shards.iter_mut().flatten() {
            shard.set_plastic(&self.circuit, on);
        }
    }

    /// Puts every cell back where it was after construction and forgets the pending activity, so
    /// that what follows depends on the weights alone. Allocates.
    pub fn rest(&mut self) {
        self.take_over();
        self.shards.iter_mut().flatten().for_each(|shard| shard.rest(&self.circuit));
    }

    /// Spikes of each granule cell of an instrument in a cycle, held at 255, while they are pending;
    /// none where eligibility is a kernel.
    pub fn granule_spikes(&self, instrument: usize, cycle: u64) -> Option<&[u8]> {
        let mut shards = self.shards.iter().flatten();
        let shard = shards.find(|s| (s.first..s.first + s.len()).contains(&instrument))?;
        shard.granule_spikes(instrument - shard.first, cycle)
    }

    /// The rates of the last cycle in which any instrument was active.
    pub const fn rates(&self) -> Rates {
        self.rates
    }

    /// Outcomes that came when their cycle was no longer, or never, held.
    pub const fn expired(&self) -> u64 {
        self.expired
    }

    /// Outcomes refused because the instrument does not exist or the error is not a number.
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Features that were not numbers, over all cycles of active instruments.
    pub fn absent(&self) -> u64 {
        self.shards.iter().flatten().map(|shard| shard.absent()).sum()
    }

    /// What each rule has done, and the weights as they are now. Allocates.
    pub fn learning(&self) -> LearningReport {
        let mut report = report::Collector::new(&self.config);
        let shared = self.shared.as_ref();
        let shared = shared.map(|set| set.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(set) = &shared {
            report.add(&self.circuit, set);
        }
        for shard in self.shards.iter().flatten() {
            shard.own.iter().for_each(|set| report.add(&self.circuit, set));
            report.add_intrinsic(shard.intrinsic());
        }
        report.finish()
    }

    /// The configuration.
    pub const fn config(&self) -> &CerebellumConfig {
        &self.config
    }

    fn hz(&self, spikes: u64, cells: usize, networks: usize) -> f32 {
        spikes as f32 / ((cells * networks) as f32 * self.config.cycle_s())
    }

    fn mean_rates(&self, sum: &Spikes, ran: usize) -> Rates {
        let c = &self.config;
        Rates {
            mossy_hz: self.hz(sum.mossy, c.fibres(), ran),
            granule_hz: self.hz(sum.granule, c.granule_cells, ran),
            golgi_hz: self.hz(sum.golgi, c.golgi_cells(), ran),
            purkinje_hz: self.hz(sum.purkinje, 2 * c.purkinje_per_zone, ran),
            nuclear_hz: self.hz(sum.nuclear, 2 * c.nuclear_per_zone, ran),
        }
    }
}
