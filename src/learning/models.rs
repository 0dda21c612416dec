//! What is shown the features once a cycle: the cerebellum, the trained networks and the autoencoder, on the CPU or, in
//! one graph, on a device.
//!
//! On a device a cycle is staged, launched, waited for and read; what stays on the CPU (ONNX Runtime, sizes that the
//! kernels do not have) runs meanwhile. Invariants: answers do not depend on where a model runs; should the device be
//! lost, all models on it go on with the CPU in the same cycle, the networks with the same answers, the cerebellum from
//! its last copy; nothing allocates but in the cycles of a loss, of a return and of a copy of the cerebellum.

use std::sync::Arc;

use purkinje_cuda::driver::DriverError;
use purkinje_kernels::{
    cerebellum::{Cerebellum, DeviceCounters},
    device_cycle::{
        CycleError, CyclePlan, DeviceCycle, DeviceNetworks, NetworkCounters, PlannedNetwork,
        PreparedCycle,
    },
    predictors::{cuda::Execution, predictor::Predictor},
};
use purkinje_strategies::features::N as FEATURES;

use super::{anomaly::Anomaly, forecaster::leaning, network::Network};

/// What is said of the CPU where nobody asked for anything else.
pub(crate) const CPU: &str = "cpu";
/// The cerebellum's name among those that a device has.
pub(crate) const CEREBELLUM: &str = "cerebellum";

/// One cycle, as the models see it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its number.
    pub cycle: u64,
    /// `[instruments][FEATURES]`.
    pub features: &'a [f32],
    /// Who can be forecast: the others keep their state.
    pub active: &'a [bool],
    /// Whose networks begin anew before that: what they have seen is not its past.
    pub begins: &'a [bool],
}

/// A device with the models on it; networks are numbered as here, the autoencoder behind them.
#[derive(Debug)]
struct OnDevice {
    cycle: DeviceCycle,
    networks: DeviceNetworks,
    refused: Vec<CycleError>,
}

/// What became of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// What it said last.
    pub fault: DriverError,
    /// Steps that networks made again on the CPU, to stand where those on the device stood.
    pub replayed_steps: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Models {
    cerebellum: Option<Cerebellum>,
    networks: Vec<Network>,
    /// Says how unusual features are.
    anomaly: Option<Anomaly>,
    device: Option<OnDevice>,
    /// Why the CPU took over from the last device, until asked.
    loss: Option<Loss>,
    /// The features that lean to a side, which is what the cerebellum sees.
    leaning: Vec<f32>,
    values: Vec<f32>,
}

impl Models {
    /// Models of so many instruments, on the CPU.
    #[must_use]
    pub fn new(
        cerebellum: Option<Cerebellum>,
        networks: Vec<Network>,
        anomaly: Option<Anomaly>,
        instruments: usize,
    ) -> Self {
        Self {
            cerebellum,
            networks,
            anomaly,
            device: None,
            loss: None,
            leaning: vec![0.0; instruments * leaning().count()],
            values: vec![0.5; instruments],
        }
    }

    /// The cerebellum, if it is a member.
    #[must_use]
    pub fn cerebellum(&self) -> Option<&Cerebellum> {
        self.cerebellum.as_ref()
    }

    /// The cerebellum, to give it weights and outcomes.
    pub fn cerebellum_mut(&mut self) -> Option<&mut Cerebellum> {
        self.cerebellum.as_mut()
    }

    /// The trained networks, in order.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// What the cerebellum said of an instrument in the last cycle.
    #[must_use]
    pub fn value(&self, instrument: usize) -> f32 {
        self.values[instrument]
    }

    /// Who says how unusual features are, if anybody does.
    #[must_use]
    pub fn anomaly(&self) -> Option<&Anomaly> {
        self.anomaly.as_ref()
    }

    /// How unusual an instrument's features were in the last cycle, in which it was active, if anybody says.
    pub fn anomaly_score(&mut self, instrument: usize) -> Option<f64> {
        self.anomaly.as_mut().map(|anomaly| anomaly.score(instrument))
    }

    /// Takes one cycle.
    pub fn advance(&mut self, shown: &Shown<'_>) {
        let Shown { cycle, features, active, begins } = *shown;
        if self.cerebellum.is_some() {
            let rows = features.chunks_exact(FEATURES);
            let values = rows.flat_map(|row| leaning().map(move |k| row[k]));
            self.leaning.iter_mut().zip(values).for_each(|(to, from)| *to = from);
        }
        if let Some(on) = &mut self.device {
            on.cycle.begin(active, Some(begins));
            on.networks.stage(features, active, begins);
        }
        if let Some(cerebellum) = &mut self.cerebellum {
            cerebellum.begin(cycle, &self.leaning, active);
        }
        if let Some(on) = &self.device {
            on.cycle.launch();
        }
        // Meanwhile the CPU has its own to do.
        let is_away = |k: usize| self.device.as_ref().is_some_and(|on| on.networks.has(k));
        for (_, network) in (0..).zip(&mut self.networks).filter(|(k, _)| !is_away(*k)) {
            let reset = begins.iter().enumerate().filter(|(_, begins)| **begins);
            reset.for_each(|(instrument, _)| network.reset(instrument));
            network.advance(features, active);
        }
        if let Some(anomaly) = self.anomaly.as_mut().filter(|_| !is_away(self.networks.len())) {
            anomaly.advance(features, active);
        }
        let values = &mut self.values;
        if let Some(cerebellum) = self.cerebellum.as_mut().filter(|c| !c.is_on_device()) {
            cerebellum.finish(cycle, values);
        }
        let Some(on) = &self.device else { return };
        on.cycle.wait();
        if let Some(cerebellum) = self.cerebellum.as_mut().filter(|c| c.is_on_device()) {
            cerebellum.finish(cycle, values);
        }
        if let Err(fault) = self.take_answers() {
            self.take_over(fault);
        }
    }

    /// Takes the networks' answers from the device and, where it is time for them, the streams.
    fn take_answers(&mut self) -> Result<(), DriverError> {
        let Some(OnDevice { cycle, networks, .. }) = &mut self.device else { return Ok(()) };
        for (k, network) in self.networks.iter_mut().enumerate() {
            networks.answers(k, network.parts().1)?;
        }
        if let Some(anomaly) = &mut self.anomaly {
            networks.answers(self.networks.len(), anomaly.errors_mut())?;
        }
        if networks.is_due() {
            for (k, network) in self.networks.iter_mut().enumerate() {
                networks.synchronise(k, network.parts().0)?;
            }
            networks.synchronised();
        }
        // What went wrong with the cerebellum's part.
        cycle.fault().map_or(Ok(()), Err)
    }

    /// Goes on with the CPU where the device stood.
    fn take_over(&mut self, fault: DriverError) {
        let Some(OnDevice { mut networks, .. }) = self.device.take() else { return };
        for (k, network) in self.networks.iter_mut().enumerate() {
            let (predictor, answers) = network.parts();
            networks.take_over(k, predictor, answers);
        }
        if let Some(anomaly) = self.anomaly.as_mut().filter(|_| networks.has(self.networks.len())) {
            let (predictor, rebuilt) = anomaly.parts();
            networks.take_over(self.networks.len(), predictor, rebuilt);
            anomaly.note_errors();
        }
        let replayed_steps = networks.counters().replayed_steps;
        self.loss = Some(Loss { fault, replayed_steps });
    }

    /// Whether there is anything that might run on a device.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.cerebellum.is_some() || !self.networks.is_empty() || self.anomaly.is_some()
    }

    /// What is to run on a device: copies of the networks' weights among it.
    #[must_use]
    pub fn device_plan(&self) -> CyclePlan {
        let planned = |name: &str, predictor: &dyn Predictor, places: &[usize]| PlannedNetwork {
            name: name.to_owned(),
            program: predictor.device_program(Execution::Auto).map(Arc::new),
            places: places.to_vec(),
        };
        let networks = self.networks.iter();
        let mut networks: Vec<_> = networks
            .map(|network| planned(network.name(), network.predictor(), network.features()))
            .collect();
        networks
            .extend(self.anomaly.as_ref().map(|a| planned(a.name(), a.predictor(), a.features())));
        let cerebellum = self.cerebellum.as_ref().map(Cerebellum::device_plan);
        let (instruments, row_stride) = (self.values.len(), FEATURES);
        CyclePlan { instruments, row_stride, cerebellum, networks }
    }

    /// Moves what a device was laid out for there, where the cycles to come run.
    pub fn move_to(&mut self, prepared: PreparedCycle) {
        let PreparedCycle { cycle, cerebellum: place, mut networks, refused } = prepared;
        if let (Some(cerebellum), Some(place)) = (&mut self.cerebellum, place) {
            cerebellum.move_to(place);
        }
        let cpu = self.networks.iter().map(Network::predictor);
        for (k, predictor) in cpu.chain(self.anomaly.as_ref().map(Anomaly::predictor)).enumerate() {
            // What goes wrong shows in the next cycle.
            let _ = networks.upload(k, predictor);
        }
        self.device = Some(OnDevice { cycle, networks, refused });
    }

    /// Why the CPU has taken over from a device, once.
    pub const fn take_loss(&mut self) -> Option<Loss> {
        self.loss.take()
    }

    /// Where the models run: on the CPU, or a device, which models are on it, and why others are not.
    #[must_use]
    pub fn place(&self) -> String {
        let Some(OnDevice { cycle, networks, refused }) = &self.device else {
            return CPU.to_owned();
        };
        let cerebellum = self.cerebellum.as_ref().filter(|c| c.is_on_device());
        let anomaly = self.anomaly.as_ref().map(Anomaly::name);
        let names = self.networks.iter().map(Network::name).chain(anomaly);
        let away = (0..).zip(names).filter(|(k, _)| networks.has(*k)).map(|(_, name)| name);
        let there: Vec<&str> = cerebellum.map(|_| CEREBELLUM).into_iter().chain(away).collect();
        let place = format!("cuda ({}): {}", cycle.device().name, there.join(", "));
        if refused.is_empty() {
            return place;
        }
        format!("{place}; {CPU}: {}", told_of(refused))
    }

    /// What the device has done for the cerebellum and for the networks, if they are on one.
    #[must_use]
    pub fn device_counters(&self) -> (Option<DeviceCounters>, Option<NetworkCounters>) {
        let cerebellum = self.cerebellum.as_ref().and_then(Cerebellum::device_counters);
        let networks = self.device.as_ref().map(|on| &on.networks).filter(|on| !on.is_empty());
        (cerebellum, networks.map(DeviceNetworks::counters))
    }
}

/// Why some are left to the CPU.
pub(crate) fn told_of(refused: &[CycleError]) -> String {
    let told: Vec<String> = refused.iter().map(ToString::to_string).collect();
    told.join(", ")
}
