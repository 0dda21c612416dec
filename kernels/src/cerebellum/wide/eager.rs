//! The network once more, plain: every cell in every step, every weight changed at once.
//!
//! It holds the CPU's network, which runs a cluster at a time and changes weights late, against what it stands for:
//! equal in every spike, potential and weight.

use super::config::{DENDRITES, MOSSY_PER_GOLGI, NUCLEI_PER_PURKINJE};
use super::model::Model;
use super::plastic::{added, event, less, step_of};
use super::state::{WideState, WideWiring};
use super::{Tick, WideCerebellum, WideConfig, WideReport};
use crate::cerebellum::encode::{CycleSpikes, Encode};
use crate::cerebellum::engine::Propagator;
use crate::cerebellum::engine::current::TINY;
use crate::rng::Key;

struct Eager {
    config: WideConfig,
    model: Model,
    wiring: WideWiring,
    state: WideState,
}

/// Advances a cell; whether it fires.
fn advance(p: &Propagator, v: &mut f32, exc: f32, taken_off: f32, more: f32) -> bool {
    let mut x = p.keep_v * *v + p.exc_to_v * exc - taken_off + p.drive;
    x += more;
    let fires = x >= 1.0;
    *v = if fires { p.reset } else { x };
    fires
}

impl Eager {
    fn new(config: &WideConfig) -> Self {
        let model = Model::new(config);
        Self {
            config: config.clone(),
            wiring: WideWiring::generate(config, &model),
            state: WideState::generate(config, &model),
            model,
        }
    }

    fn cycle(&mut self, tick: &Tick, features: &[f32]) -> WideReport {
        if tick.silence == Some(0) {
            self.state.trace.fill(0.0);
        }
        let mut mossy = CycleSpikes::new(self.config.fibres(), self.config.steps_per_cycle);
        let key = self.model.keys.mossy.fork(tick.cycle);
        self.config.encoder().unwrap().encode(features, key, &mut mossy);
        let mut report = WideReport { mossy: mossy.total(), ..WideReport::default() };
        let mut counts = vec![0_u32; self.config.granules()];
        for step in 0..self.config.steps_per_cycle {
            self.step(tick, step, mossy.at(step), &mut counts, &mut report);
        }
        for (drive, &count) in self.state.granule_drive.iter_mut().zip(&counts) {
            if tick.intrinsic_rate != 0.0 {
                *drive += tick.intrinsic_rate * (self.model.wanted - count as f32);
            }
        }
        report
    }

    fn step(
        &mut self,
        tick: &Tick,
        step: usize,
        mossy: &[u32],
        counts: &mut [u32],
        report: &mut WideReport,
    ) {
        let (config, model, wiring, state) =
            (&self.config, &self.model, &self.wiring, &mut self.state);
        let now = tick.first_step + step as u32;
        let (row, each) = (config.row(), config.granules_per_cluster);
        let beam_granules = each * config.clusters_per_beam;
        let heard = |sources: &[u16]| {
            sources.iter().filter(|&&fibre| mossy.contains(&fibre.into())).count() as f32
        };

        // All cells advance.
        let p = &model.granule;
        let fired: Vec<usize> = (0..config.granules())
            .filter(|&k| {
                let push = p.inh_to_v * state.cluster_inh[k / each];
                let more = p.unit * state.granule_drive[k];
                advance(p, &mut state.granule_v[k], state.granule_exc[k], push, more)
            })
            .collect();
        let golgi: Vec<usize> = (0..config.clusters())
            .filter(|&k| advance(&model.golgi, &mut state.golgi_v[k], state.golgi_exc[k], 0.0, 0.0))
            .collect();
        let places: Vec<usize> = (0..config.beams)
            .flat_map(|beam| (0..config.purkinje_per_beam).map(move |k| beam * row + k))
            .collect();
        let q = &model.purkinje;
        let purkinje: Vec<usize> = places
            .iter()
            .copied()
            .filter(|&k| advance(q, &mut state.purkinje_v[k], state.purkinje_exc[k], 0.0, 0.0))
            .collect();
        let nuclei = 2 * config.nuclear_per_zone;
        let d = &model.nuclear;
        for k in 0..nuclei {
            let push = d.inh_to_v * state.nuclear_inh[k];
            if advance(d, &mut state.nuclear_v[k], 0.0, push, 0.0) {
                report.nuclear += 1;
                let counted = u64::from(step >= config.settle_steps);
                report.counted[usize::from(k >= config.nuclear_per_zone)] += counted;
            }
        }

        // Spikes arrive.
        for k in 0..config.granules() {
            let spikes = heard(&wiring.granule_mossy[DENDRITES * k..][..DENDRITES]);
            state.granule_exc[k] = p.keep_exc * state.granule_exc[k] + TINY;
            state.granule_exc[k] += model.mossy_to_granule * spikes;
        }
        for k in 0..config.clusters() {
            let spikes = heard(&wiring.golgi_mossy[MOSSY_PER_GOLGI * k..][..MOSSY_PER_GOLGI]);
            let own = fired.iter().filter(|&&granule| granule / each == k).count() as f32;
            state.golgi_exc[k] = model.golgi.keep_exc * state.golgi_exc[k] + TINY;
            state.golgi_exc[k] += model.mossy_to_golgi * spikes;
            state.golgi_exc[k] += model.granule_to_golgi * own;
            state.cluster_inh[k] = p.keep_inh * state.cluster_inh[k] + TINY;
            if golgi.contains(&k) {
                state.cluster_inh[k] += model.golgi_to_granule;
            }
        }
        let mut sums = vec![0_u64; config.cells()];
        for &granule in &fired {
            counts[granule] += 1;
            let weights = &mut state.weights[granule * row..][..row];
            for (weight, place) in weights.iter_mut().zip(granule / beam_granules * row..) {
                sums[place] += u64::from(*weight);
                if tick.plastic {
                    let counter = u64::from(now) * config.granules() as u64 + granule as u64;
                    let more = added(tick.potentiation, model.keys.dither.word(counter));
                    *weight = (u32::from(*weight) + more).min(model.rule.cap.into()) as u16;
                }
            }
            if tick.plastic {
                let since = now - state.last[granule];
                state.trace[granule] = model.rule.raised(state.trace[granule], since);
                state.last[granule] = now;
            }
        }
        for &at in &places {
            state.purkinje_exc[at] = q.keep_exc * state.purkinje_exc[at] + TINY;
            state.purkinje_exc[at] += wiring.gains[at] * sums[at] as f32;
        }
        let due = (now as usize + 1) % 2 * nuclei;
        for k in 0..nuclei {
            state.nuclear_inh[k] = d.keep_inh * state.nuclear_inh[k] + TINY;
            let spikes = std::mem::take(&mut state.nuclear_counts[due + k]);
            state.nuclear_inh[k] += model.purkinje_to_nuclear * spikes as f32;
        }
        let zone = |at: usize| usize::from(at % row >= config.purkinje_per_beam / 2);
        for &at in &purkinje {
            for &to in &wiring.nuclear_targets[NUCLEI_PER_PURKINJE * at..][..NUCLEI_PER_PURKINJE] {
                let first = now as usize % 2 * nuclei + zone(at) * config.nuclear_per_zone;
                state.nuclear_counts[first + usize::from(to)] += 1;
            }
        }
        report.granule += fired.len() as u64;
        report.golgi += golgi.len() as u64;
        report.purkinje += purkinje.len() as u64;

        // Climbing fibres depress every weight of their Purkinje cells whose parallel fibre is eligible.
        for &at in places.iter().filter(|_| tick.plastic) {
            let counter = u64::from(now) * config.cells() as u64 + at as u64;
            let chance = model.keys.climbing.uniform(counter);
            let since = now - step_of(state.events[at]);
            if since < model.refractory || chance >= tick.climbing[zone(at)] {
                continue;
            }
            let own = event(now, model.keys.climbing.word(counter));
            state.events[at] = own;
            report.climbing += 1;
            let beam = at / row;
            for granule in beam * beam_granules..(beam + 1) * beam_granules {
                let (last, trace) = (state.last[granule], state.trace[granule]);
                let counter = u64::from(last) * config.granules() as u64 + granule as u64;
                let debt = model.rule.debt(last, trace, model.keys.dither.word(counter));
                let weight = &mut state.weights[granule * row + at % row];
                *weight = less(*weight, model.rule.owed(debt, [own]));
            }
        }
    }
}

/// Runs both through cycles of random features, taught or settling now and then, and compares all they have.
fn compare(config: &WideConfig, cycles: u64, seed: u64) -> WideReport {
    let mut eager = Eager::new(config);
    let mut network = WideCerebellum::on_cpu(config).unwrap();
    let key = Key::new(seed);
    let mut total = WideReport::default();
    for cycle in 0..cycles {
        let draw = key.fork(cycle);
        let feature = |k| if draw.below(50 + k, 9) == 0 { f32::NAN } else { draw.normal(k) };
        let features: Vec<f32> = (0..config.features as u64).map(feature).collect();
        let intrinsic_rate = if cycle < 5 { 0.1 } else { 0.0 };
        network.teach(2.0 * draw.uniform(99) - 1.0);
        // The very ticks that the network gives its backend.
        let plastic = draw.below(98, 6) != 0;
        let tick = network.tick(intrinsic_rate, plastic).unwrap();
        let found = network.run_tick(&tick, &features).unwrap();
        let expected = WideReport { expired: found.expired, ..eager.cycle(&tick, &features) };
        assert_eq!(found, expected, "cycle {cycle}");
        total.climbing += found.climbing;
        total.expired += found.expired;
        total.granule += found.granule;
    }
    let weights = network.weights(0..config.granules()).unwrap();
    for (granule, found) in weights.chunks_exact(config.purkinje_per_beam).enumerate() {
        let row = &eager.state.weights[granule * config.row()..];
        let plain: Vec<f32> = row[..found.len()].iter().map(|&w| f32::from(w) / 4_096.0).collect();
        assert_eq!(found, plain, "granule cell {granule}");
    }
    let state = network.state().unwrap();
    assert_eq!(state.granule_v, eager.state.granule_v);
    assert_eq!(state.granule_exc, eager.state.granule_exc);
    assert_eq!(state.granule_drive, eager.state.granule_drive);
    assert_eq!(state.cluster_inh, eager.state.cluster_inh);
    assert_eq!(state.golgi_v, eager.state.golgi_v);
    assert_eq!(state.golgi_exc, eager.state.golgi_exc);
    assert_eq!(state.last, eager.state.last);
    assert_eq!(state.purkinje_v, eager.state.purkinje_v);
    assert_eq!(state.purkinje_exc, eager.state.purkinje_exc);
    assert_eq!(state.nuclear_v, eager.state.nuclear_v);
    assert_eq!(state.nuclear_inh, eager.state.nuclear_inh);
    total
}

#[test]
fn weights_settled_late_are_those_that_are_changed_at_once() {
    for seed in 0..4 {
        let config = WideConfig { seed, ..WideConfig::tiny() };
        let total = compare(&config, 60, seed + 10);
        assert!(total.climbing > 20 && total.expired > 100 && total.granule > 1_000, "{total:?}");
    }
}

#[test]
fn late_and_at_once_agree_where_weights_reach_zero_and_their_cap() {
    let config = WideConfig {
        depression: 0.14,
        weight_cap: 2.0,
        climbing_rest_hz: 10.0,
        climbing_peak_hz: 12.5,
        ..WideConfig::tiny()
    };
    compare(&config, 60, 1);
    let mut network = WideCerebellum::on_cpu(&config).unwrap();
    for _ in 0..200 {
        network.advance(&[0.3, -0.7, 1.1]).unwrap();
    }
    let weights = network.weights(0..config.granules()).unwrap();
    assert!(weights.contains(&0.0) && weights.contains(&2.0));
}

#[test]
fn a_window_shorter_than_a_step_of_the_ring_or_as_long_as_it_may_be_changes_nothing() {
    for (window_ms, trace_ms, climbing_refractory_ms) in
        [(1.0, 1.0, 1.0), (80.0, 50.0, 80.0), (1_000.0, 100.0, 100.0)]
    {
        let config = WideConfig {
            window_ms,
            trace_ms,
            climbing_refractory_ms,
            climbing_peak_hz: 10.0,
            ..WideConfig::tiny()
        };
        compare(&config, 30, 3);
    }
}
