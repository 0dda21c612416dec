//! The reverse of a pass: derivatives of the loss by every parameter, through time.
//!
//! For each step, last to first, each population's derivative by its spikes is gathered from the
//! currents those spikes reach (after their delays), put through the surrogate to its potentials,
//! and those one step back in time (Werbos, Proc. IEEE 78, 1990). Two parts are driven by events,
//! exactly: a parallel-fibre weight's derivative is the sum, over its granule cell's spikes, of the
//! derivative by the target's current on arrival, and a mossy gain's likewise. So with fixed gains
//! the cost is granule spikes × targets plus the small populations; training the gains adds every
//! granule cell at every step, because a cell that did not fire has a surrogate derivative too.
//!
//! Derivatives by currents are kept only as far back as the longest delay: a ring. Invariants: with
//! [`Spiking::Smooth`] and the reset included the result is the exact gradient between threshold
//! crossings; no allocation.
//!
//! [`Spiking::Smooth`]: super::surrogate::Spiking::Smooth

use super::forward::{MossySpikes, Workspace};
use super::layer::{Layer, Reverse, Tape};
use super::network::{MossyGain, Network, Parameters, Projection};
use super::real::Real;

/// Derivatives by a current at the start of the latest steps.
#[derive(Clone, Debug)]
struct Ring<R> {
    width: usize,
    depth: usize,
    rows: Vec<R>,
}

impl<R: Real> Ring<R> {
    /// For spikes that arrive up to `delay_steps` after they are fired.
    fn new(width: usize, delay_steps: usize) -> Self {
        // A spike of step n acts on the current at the start of step n + delay + 1, and the row of
        // step n is written before the next is asked for.
        let depth = delay_steps + 2;
        Self { width, depth, rows: vec![R::zero(); width * depth] }
    }

    fn at(&self, step: usize) -> &[R] {
        let k = step % self.depth;
        &self.rows[k * self.width..(k + 1) * self.width]
    }

    /// The row of `step` + 1, and that of `step` to write.
    fn next_and_now(&mut self, step: usize) -> (&[R], &mut [R]) {
        let (next, now) = ((step + 1) % self.depth, step % self.depth);
        let w = self.width;
        if next > now {
            let (low, high) = self.rows.split_at_mut(next * w);
            (&high[..w], &mut low[now * w..(now + 1) * w])
        } else {
            let (low, high) = self.rows.split_at_mut(now * w);
            (&low[next * w..(next + 1) * w], &mut high[..w])
        }
    }
}

/// Derivatives of the loss by the state of one population.
#[derive(Clone, Debug)]
struct LayerAdjoint<R> {
    v: Vec<R>,
    exc: Ring<R>,
    inh: Ring<R>,
    spikes: Vec<R>,
}

impl<R: Real> LayerAdjoint<R> {
    fn new(layer: &Layer<R>, exc_delay: usize, inh_delay: usize) -> Self {
        Self {
            v: vec![R::zero(); layer.cells()],
            exc: Ring::new(layer.cells(), exc_delay),
            inh: Ring::new(layer.clusters(), inh_delay),
            spikes: vec![R::zero(); layer.cells()],
        }
    }

    fn clear(&mut self) {
        for values in [&mut self.v, &mut self.exc.rows, &mut self.inh.rows] {
            values.fill(R::zero());
        }
    }

    fn retreat(&mut self, layer: &Layer<R>, tape: &Tape<R>, rule: &Reverse, step: usize) {
        let Self { v, exc, inh, spikes } = self;
        let (exc, inh) = (exc.next_and_now(step), inh.next_and_now(step));
        layer.retreat(tape.potentials(step), rule, spikes, v, exc, inh);
    }
}

/// Memory of the reverse pass.
#[derive(Clone, Debug)]
pub(super) struct Adjoints<R> {
    granule: LayerAdjoint<R>,
    golgi: LayerAdjoint<R>,
    purkinje: LayerAdjoint<R>,
    nuclear: LayerAdjoint<R>,
}

impl<R: Real> Adjoints<R> {
    pub(super) fn new(n: &Network<R>) -> Self {
        let golgi_delay = n.mossy_golgi.delay_steps.max(n.granule_golgi.delay_steps);
        let (mossy, golgi) = (n.mossy_granule.delay_steps, n.golgi_granule.delay_steps);
        Self {
            granule: LayerAdjoint::new(&n.granule, mossy, golgi),
            golgi: LayerAdjoint::new(&n.golgi, golgi_delay, 0),
            purkinje: LayerAdjoint::new(&n.purkinje, n.parallel.delay_steps, 0),
            nuclear: LayerAdjoint::new(&n.nuclear, 0, n.purkinje_nuclear.delay_steps),
        }
    }
}

impl<R: Real> Network<R> {
    /// Adds to `gradient` the derivatives of the sample of the last [`Network::forward`], whose loss
    /// changes by `slope` with the output.
    ///
    /// `through_reset` lets the derivative also flow through the reset that a spike causes. That is
    /// the whole gradient of the smoothed network; with hard spikes it is usually left out, because
    /// it strengthens a cell's drive against its own reset (Zenke and Vogels, Neural Comput. 33,
    /// 2021).
    ///
    /// # Panics
    /// When the workspace, the parameters or the gradient are another network's, or no pass went
    /// before.
    pub fn backward(
        &self,
        parameters: &Parameters<R>,
        mossy: &MossySpikes,
        work: &mut Workspace<R>,
        slope: R,
        through_reset: bool,
        gradient: &mut Parameters<R>,
    ) {
        let Workspace { spiking, granule, golgi, purkinje, nuclear, adjoints, contrast } = work;
        let spiking = *spiking;
        let rule = Reverse { sigmoid: self.sigmoid, spiking, through_reset };
        let upstream = self.mossy_gain != MossyGain::Fixed;
        let weights = parameters.parallel();
        let (by_mossy, by_parallel, by_readout) = gradient.groups_mut();
        by_readout[0] += slope * *contrast;
        by_readout[1] += slope;
        let by_spike = slope * parameters.readout_gain() * self.contrast_per_spike;
        let half = self.nuclear.cells() / 2;
        let a = adjoints;
        for layer in [&mut a.granule, &mut a.golgi, &mut a.purkinje, &mut a.nuclear] {
            layer.clear();
        }
        for step in (0..self.steps).rev() {
            // All of these read derivatives by the state after this step, so before any is moved.
            let (up, down) = a.nuclear.spikes.split_at_mut(half);
            let read = if step >= self.settle_steps { by_spike } else { R::zero() };
            up.fill(read);
            down.fill(-read);
            a.purkinje.spikes.fill(R::zero());
            let (one, fixed) = (R::one(), &self.purkinje_nuclear);
            self.gather(
                fixed,
                &fixed.fan_out.weights,
                one,
                &a.nuclear.inh,
                step,
                &mut a.purkinje.spikes,
            );
            if let Some(by_current) = self.arrival(&self.parallel, &a.purkinje.exc, step) {
                let fan_out = &self.parallel.fan_out;
                let u = granule.1.potentials(step);
                for &cell in granule.1.events(step) {
                    let sent = self.parallel_unit * self.sent(u[cell as usize], spiking);
                    for k in fan_out.row(cell as usize) {
                        by_parallel[k] += sent * by_current[fan_out.targets[k] as usize];
                    }
                }
            }
            if upstream {
                let (granule, golgi) = (&mut a.granule, &mut a.golgi);
                granule.spikes.fill(R::zero());
                golgi.spikes.fill(R::zero());
                let (unit, spikes) = (self.parallel_unit, &mut granule.spikes);
                self.gather(&self.parallel, weights, unit, &a.purkinje.exc, step, spikes);
                let fixed = &self.granule_golgi;
                self.gather(fixed, &fixed.fan_out.weights, one, &golgi.exc, step, spikes);
                let fixed = &self.golgi_granule;
                let spikes = &mut golgi.spikes;
                self.gather(fixed, &fixed.fan_out.weights, one, &granule.inh, step, spikes);
                self.gather_mossy(mossy, &granule.exc, step, by_mossy);
            }
            a.nuclear.retreat(&self.nuclear, &nuclear.1, &rule, step);
            a.purkinje.retreat(&self.purkinje, &purkinje.1, &rule, step);
            if upstream {
                a.granule.retreat(&self.granule, &granule.1, &rule, step);
                a.golgi.retreat(&self.golgi, &golgi.1, &rule, step);
            }
        }
    }

    /// Derivatives by the currents that spikes of `step` arrive at; none when the sample ends first.
    fn arrival<'a>(
        &self,
        projection: &Projection<R>,
        currents: &'a Ring<R>,
        step: usize,
    ) -> Option<&'a [R]> {
        let after = step + projection.delay_steps + 1;
        // The state after the last step moves nothing that is read.
        (after < self.steps).then(|| currents.at(after))
    }

    /// Adds to each source's derivative those of the currents it reaches.
    fn gather(
        &self,
        projection: &Projection<R>,
        weights: &[R],
        unit: R,
        currents: &Ring<R>,
        step: usize,
        spikes: &mut [R],
    ) {
        let Some(by_current) = self.arrival(projection, currents, step) else { return };
        for (source, spike) in spikes.iter_mut().enumerate() {
            let row = projection.fan_out.row(source);
            let targets = &projection.fan_out.targets[row.clone()];
            let sum: R =
                targets.iter().zip(&weights[row]).map(|(&t, &w)| w * by_current[t as usize]).sum();
            *spike += unit * sum;
        }
    }

    fn gather_mossy(
        &self,
        mossy: &MossySpikes,
        currents: &Ring<R>,
        step: usize,
        by_gain: &mut [R],
    ) {
        let Some(by_current) = self.arrival(&self.mossy_granule, currents, step) else { return };
        let fan_out = &self.mossy_granule.fan_out;
        for &fibre in mossy.at(step) {
            for k in fan_out.row(fibre as usize) {
                if let Some(gain) = self.gain_index(fibre as usize, k) {
                    by_gain[gain] += fan_out.weights[k] * by_current[fan_out.targets[k] as usize];
                }
            }
        }
    }
}
