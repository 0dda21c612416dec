//! Small circuits and inputs for the tests of supervised learning.

use purkinje_kernels::cerebellum::description::CurrentLif;
use purkinje_kernels::rng::Key;
use purkinje_kernels::supervised::{
    Cells, FanOut, FastSigmoid, MossyGain, MossySpikes, NetworkParts, Projection, Real,
};

/// Sizes of a circuit.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) fibres: usize,
    pub(crate) granule: usize,
    pub(crate) golgi: usize,
    pub(crate) purkinje: usize,
    pub(crate) nuclear: usize,
    pub(crate) steps: usize,
}

/// Small enough for a derivative by every parameter.
#[allow(dead_code, reason = "not every test that shares this file uses it")]
pub(crate) const TINY: Size =
    Size { fibres: 12, granule: 24, golgi: 3, purkinje: 4, nuclear: 4, steps: 50 };

fn cells<R: Real>(
    n: usize,
    [tau_m_ms, refractory_ms, reset, drive]: [f32; 4],
    key: Key,
) -> Cells<R> {
    Cells {
        lif: CurrentLif { tau_m_ms, refractory_ms, reset, drive },
        tau_exc_ms: 3.0,
        tau_inh_ms: 10.0,
        drive: (0..n).map(|k| R::of(f64::from(0.05 * key.normal(k as u64)))).collect(),
        start: (0..n).map(|k| R::of(f64::from(0.9 * key.fork(1).uniform(k as u64)))).collect(),
    }
}

/// Each target draws `sources` different sources; weights vary by a quarter about `weight`.
fn drawn<R: Real>(from: usize, to: usize, sources: usize, weight: f32, key: Key) -> FanOut<R> {
    let mut rows = vec![Vec::new(); from];
    for target in 0..to {
        let mut chosen = Vec::new();
        let mut n = 0;
        while chosen.len() < sources.min(from) {
            let source = key.fork(target as u64).below(n, from as u32);
            n += 1;
            if !chosen.contains(&source) {
                chosen.push(source);
                let w = weight * (0.75 + 0.5 * key.fork(target as u64).fork(1).uniform(n));
                rows[source as usize].push((target as u32, R::of(f64::from(w))));
            }
        }
    }
    FanOut::from_rows(&rows)
}

/// A circuit with all its loops, delays of different length and a refractory period in steps.
pub(crate) fn circuit<R: Real>(size: Size, gain: MossyGain, refractory_ms: f32) -> NetworkParts<R> {
    let key = Key::new(3);
    let tag = |t| key.fork(t);
    let half = size.nuclear / 2;
    let zone = size.purkinje / 2;
    let onto_nuclei: Vec<Vec<(u32, R)>> = (0..size.purkinje)
        .map(|p| {
            let first = if p < zone { 0 } else { half };
            let weight = R::of(1.2 / zone as f64);
            (first..first + half).map(|n| (n as u32, weight)).collect()
        })
        .collect();
    let cluster = size.granule.div_ceil(size.golgi.max(1));
    let project = |fan_out, delay_steps| Projection { fan_out, delay_steps };
    NetworkParts {
        step_ms: 1.0,
        steps: size.steps,
        settle_steps: size.steps / 5,
        granule: cells(size.granule, [8.0, refractory_ms, -0.3, 0.0], tag(0)),
        granule_cluster: cluster,
        golgi: cells(size.golgi, [20.0, refractory_ms, -0.1, 0.55], tag(1)),
        purkinje: cells(size.purkinje, [15.0, refractory_ms, -0.1, 0.8], tag(2)),
        nuclear: cells(size.nuclear, [20.0, refractory_ms, -0.1, 2.0], tag(3)),
        mossy_granule: project(drawn(size.fibres, size.granule, 4, 1.3, tag(4)), 1),
        mossy_golgi: project(drawn(size.fibres, size.golgi, 4, 1.0, tag(5)), 1),
        granule_golgi: project(drawn(size.granule, size.golgi, cluster, 0.4, tag(6)), 1),
        golgi_granule: project(drawn(size.golgi, size.golgi, 2, 0.15, tag(7)), 2),
        parallel: project(FanOut::all_to_all(size.granule, size.purkinje, R::one()), 3),
        parallel_unit: R::of(40.0 / size.granule as f64 * 0.25),
        parallel_bounds: (R::zero(), R::of(8.0)),
        purkinje_nuclear: project(FanOut::from_rows(&onto_nuclei), 2),
        mossy_gain: gain,
        mossy_gain_bounds: (R::zero(), R::of(4.0)),
        decode_hz: R::of(20.0),
        readout_gain: R::of(1.0),
        readout_bias: R::of(0.1),
        sigmoid: FastSigmoid::default(),
    }
}

/// Poisson spikes of fibres with the given rates.
pub(crate) fn poisson(rates_hz: &[f32], steps: usize, key: Key) -> MossySpikes {
    let step = |n: usize| -> Vec<u32> {
        let fires = |k: &usize| key.fork(n as u64).uniform(*k as u64) < rates_hz[*k] * 1e-3;
        (0..rates_hz.len()).filter(fires).map(|k| k as u32).collect()
    };
    MossySpikes::from_steps(&(0..steps).map(step).collect::<Vec<_>>())
}
