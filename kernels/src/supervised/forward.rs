//! One sample through the network, step by step.
//!
//! A step advances every population from the currents at its start, then adds the spikes that
//! arrive at its end. Delivery is driven by events: a spike walks its own row. Invariants: a sample
//! starts from the network's initial potentials, so its output depends on nothing before it; all
//! memory is taken in [`Workspace::new`].

use thiserror::Error;

use super::bptt::Adjoints;
use super::layer::{Layer, LayerState, Tape};
use super::network::{Network, Parameters, Projection};
use super::real::Real;
use super::surrogate::Spiking;

/// The mossy fibre spikes of a sample, by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MossySpikes {
    starts: Vec<u32>,
    fibres: Vec<u32>,
}

/// Why spikes were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("step {step}: fibre {fibre}, expected below {fibres}")]
pub struct SpikesError {
    /// Where.
    pub step: usize,
    /// The fibre.
    pub fibre: u32,
    /// How many there are.
    pub fibres: usize,
}

impl MossySpikes {
    /// From the fibres that fire in each step.
    pub fn from_steps<S: AsRef<[u32]>>(steps: &[S]) -> Self {
        let mut spikes = Self { starts: vec![0], fibres: Vec::new() };
        for step in steps {
            spikes.fibres.extend_from_slice(step.as_ref());
            spikes.starts.push(spikes.fibres.len() as u32);
        }
        spikes
    }

    /// Steps covered.
    pub fn steps(&self) -> usize {
        self.starts.len() - 1
    }

    /// The fibres that fire in a step; none after the last.
    pub fn at(&self, step: usize) -> &[u32] {
        match self.starts.get(step + 1) {
            Some(&end) => &self.fibres[self.starts[step] as usize..end as usize],
            None => &[],
        }
    }

    /// Whether every fibre exists.
    ///
    /// # Errors
    /// [`SpikesError`] names the first that does not.
    pub fn check(&self, fibres: usize) -> Result<(), SpikesError> {
        for step in 0..self.steps() {
            if let Some(&fibre) = self.at(step).iter().find(|&&f| f as usize >= fibres) {
                return Err(SpikesError { step, fibre, fibres });
            }
        }
        Ok(())
    }
}

/// What a pass gives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forward<R> {
    /// Read-out gain × contrast + bias.
    pub output: R,
    /// Up rate less down rate over the read-out window, in units of `decode_hz`.
    pub contrast: R,
}

/// All memory of a pass over a sample and of its reverse.
#[derive(Clone, Debug)]
pub struct Workspace<R> {
    pub(super) spiking: Spiking,
    pub(super) granule: (LayerState<R>, Tape<R>),
    pub(super) golgi: (LayerState<R>, Tape<R>),
    pub(super) purkinje: (LayerState<R>, Tape<R>),
    pub(super) nuclear: (LayerState<R>, Tape<R>),
    pub(super) adjoints: Adjoints<R>,
    pub(super) contrast: R,
}

impl<R: Real> Workspace<R> {
    /// Memory for a network: see [`Network::tape_bytes`]. Smooth spiking is for checks: every cell
    /// then sends at every step.
    pub fn new(network: &Network<R>, spiking: Spiking) -> Self {
        let layer = |l: &Layer<R>| (l.state(), l.tape(network.steps, spiking));
        Self {
            spiking,
            granule: layer(&network.granule),
            golgi: layer(&network.golgi),
            purkinje: layer(&network.purkinje),
            nuclear: layer(&network.nuclear),
            adjoints: Adjoints::new(network),
            contrast: R::zero(),
        }
    }

    /// The granule cells that fired in a step of the last pass, ascending.
    pub fn granule_spikes(&self, step: usize) -> &[u32] {
        self.granule.1.events(step)
    }

    /// The Golgi cells that did.
    pub fn golgi_spikes(&self, step: usize) -> &[u32] {
        self.golgi.1.events(step)
    }

    /// The Purkinje cells that did.
    pub fn purkinje_spikes(&self, step: usize) -> &[u32] {
        self.purkinje.1.events(step)
    }

    /// The nuclear cells that did.
    pub fn nuclear_spikes(&self, step: usize) -> &[u32] {
        self.nuclear.1.events(step)
    }
}

impl<R: Real> Network<R> {
    /// Runs a sample. Steps that the spikes do not cover have none.
    ///
    /// # Panics
    /// When the workspace or the parameters are another network's, or a fibre does not exist
    /// ([`MossySpikes::check`]).
    pub fn forward(
        &self,
        parameters: &Parameters<R>,
        mossy: &MossySpikes,
        work: &mut Workspace<R>,
    ) -> Forward<R> {
        for (layer, (state, tape)) in [
            (&self.granule, &mut work.granule),
            (&self.golgi, &mut work.golgi),
            (&self.purkinje, &mut work.purkinje),
            (&self.nuclear, &mut work.nuclear),
        ] {
            layer.restart(state, tape);
        }
        let mut up_less_down = R::zero();
        for step in 0..self.steps {
            for (layer, (state, tape)) in [
                (&self.granule, &mut work.granule),
                (&self.golgi, &mut work.golgi),
                (&self.purkinje, &mut work.purkinje),
                (&self.nuclear, &mut work.nuclear),
            ] {
                layer.advance(state, tape, work.spiking, &self.sigmoid);
            }
            self.deliver(parameters, mossy, work, step);
            if step >= self.settle_steps {
                up_less_down += self.up_less_down(&work.nuclear.1, step, work.spiking);
            }
        }
        work.contrast = up_less_down * self.contrast_per_spike;
        let output = parameters.readout_gain() * work.contrast + parameters.readout_bias();
        Forward { output, contrast: work.contrast }
    }

    /// The size of what a cell sent at potential `u`.
    #[inline]
    pub(super) fn sent(&self, u: R, spiking: Spiking) -> R {
        match spiking {
            Spiking::Hard => R::one(),
            Spiking::Smooth => self.sigmoid.value(u - R::one()),
        }
    }

    fn up_less_down(&self, tape: &Tape<R>, step: usize, spiking: Spiking) -> R {
        let half = self.nuclear.cells() / 2;
        let u = tape.potentials(step);
        let signed = |&cell: &u32| {
            let sent = self.sent(u[cell as usize], spiking);
            if (cell as usize) < half { sent } else { -sent }
        };
        tape.events(step).iter().map(signed).sum()
    }

    fn deliver(
        &self,
        parameters: &Parameters<R>,
        mossy: &MossySpikes,
        work: &mut Workspace<R>,
        step: usize,
    ) {
        let Workspace { spiking, granule, golgi, purkinje, nuclear, .. } = work;
        let (gains, weights) = (parameters.mossy_gain(), parameters.parallel());
        if let Some(fired) = step.checked_sub(self.mossy_granule.delay_steps) {
            let fan_out = &self.mossy_granule.fan_out;
            for &fibre in mossy.at(fired) {
                for k in fan_out.row(fibre as usize) {
                    let gain = self.gain_index(fibre as usize, k).map_or(R::one(), |g| gains[g]);
                    granule.0.exc[fan_out.targets[k] as usize] += gain * fan_out.weights[k];
                }
            }
        }
        if let Some(fired) = step.checked_sub(self.mossy_golgi.delay_steps) {
            let fan_out = &self.mossy_golgi.fan_out;
            for &fibre in mossy.at(fired) {
                for k in fan_out.row(fibre as usize) {
                    golgi.0.exc[fan_out.targets[k] as usize] += fan_out.weights[k];
                }
            }
        }
        let fixed = |projection: &Projection<R>, tape: &Tape<R>, onto: &mut [R]| {
            let unit = R::one();
            self.spread(projection, &projection.fan_out.weights, unit, tape, onto, step, *spiking);
        };
        fixed(&self.golgi_granule, &golgi.1, &mut granule.0.inh);
        fixed(&self.granule_golgi, &granule.1, &mut golgi.0.exc);
        fixed(&self.purkinje_nuclear, &purkinje.1, &mut nuclear.0.inh);
        let (unit, onto) = (self.parallel_unit, &mut purkinje.0.exc);
        self.spread(&self.parallel, weights, unit, &granule.1, onto, step, *spiking);
    }

    /// Adds what arrives at the end of `step` over a projection with the given weights.
    #[allow(clippy::too_many_arguments, reason = "one projection's ends")]
    fn spread(
        &self,
        projection: &Projection<R>,
        weights: &[R],
        unit: R,
        from: &Tape<R>,
        onto: &mut [R],
        step: usize,
        spiking: Spiking,
    ) {
        let Some(fired) = step.checked_sub(projection.delay_steps) else { return };
        let u = from.potentials(fired);
        for &cell in from.events(fired) {
            let sent = unit * self.sent(u[cell as usize], spiking);
            let row = projection.fan_out.row(cell as usize);
            for (&target, &weight) in
                projection.fan_out.targets[row.clone()].iter().zip(&weights[row])
            {
                onto[target as usize] += sent * weight;
            }
        }
    }
}
