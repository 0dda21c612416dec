//! The trainable network against the plain equations, and its gradients against finite differences.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod supervised;

use purkinje_kernels::rng::Key;
use purkinje_kernels::supervised::{
    Cells, FanOut, FastSigmoid, MossyGain, MossySpikes, Network, NetworkParts, Parameters,
    Projection, Spiking, Workspace,
};
use supervised::{TINY, circuit, poisson};

fn input(seed: u64) -> MossySpikes {
    poisson(&[90.0; TINY.fibres], TINY.steps, Key::new(seed))
}

/// Cells by their equations, one at a time: no clusters, no events, no tape.
struct Plain {
    v: Vec<f64>,
    exc: Vec<f64>,
    inh: Vec<f64>,
    held: Vec<i32>,
    spikes: Vec<Vec<u32>>,
}

impl Plain {
    fn new(cells: &Cells<f64>) -> Self {
        let n = cells.drive.len();
        let (exc, inh, held) = (vec![0.0; n], vec![0.0; n], vec![0; n]);
        Self { v: cells.start.clone(), exc, inh, held, spikes: Vec::new() }
    }

    /// The closed solution of the three equations over 1 ms.
    fn step(&mut self, cells: &Cells<f64>) {
        let tau_m = f64::from(cells.lif.tau_m_ms);
        let (tau_e, tau_i) = (f64::from(cells.tau_exc_ms), f64::from(cells.tau_inh_ms));
        let mut fired = Vec::new();
        for k in 0..self.v.len() {
            let m = (-1.0 / tau_m).exp();
            let term = |tau: f64, i: f64| i * tau / (tau - tau_m) * ((-1.0 / tau).exp() - m);
            let drive = f64::from(cells.lif.drive) + cells.drive[k];
            let v = self.v[k] * m + term(tau_e, self.exc[k]) - term(tau_i, self.inh[k]);
            self.v[k] = v + drive * (1.0 - m);
            self.exc[k] *= (-1.0 / tau_e).exp();
            self.inh[k] *= (-1.0 / tau_i).exp();
            if self.held[k] > 0 {
                self.held[k] -= 1;
                self.v[k] = f64::from(cells.lif.reset);
            } else if self.v[k] >= 1.0 {
                self.v[k] = f64::from(cells.lif.reset);
                self.held[k] = cells.lif.refractory_ms as i32;
                fired.push(k as u32);
            }
        }
        self.spikes.push(fired);
    }
}

fn add(onto: &mut [f64], p: &Projection<f64>, fired: &[u32], unit: f64) {
    let FanOut { starts, targets, weights } = &p.fan_out;
    for &cell in fired {
        for k in starts[cell as usize] as usize..starts[cell as usize + 1] as usize {
            onto[targets[k] as usize] += unit * weights[k];
        }
    }
}

#[test]
fn the_forward_pass_fires_the_spikes_of_the_plain_equations() {
    for refractory_ms in [0.0, 2.0] {
        let parts = circuit::<f64>(TINY, MossyGain::Fibre, refractory_ms);
        let network = Network::new(parts.clone()).unwrap();
        let mut work = Workspace::new(&network, Spiking::Hard);
        let mossy = input(1);
        let given = network.forward(&network.initial_parameters(), &mossy, &mut work);
        let NetworkParts { granule, golgi, purkinje, nuclear, .. } = &parts;
        let mut plain = [granule, golgi, purkinje, nuclear].map(Plain::new);
        for n in 0..TINY.steps {
            for (state, cells) in plain.iter_mut().zip([granule, golgi, purkinje, nuclear]) {
                state.step(cells);
            }
            let at = |spikes: &[Vec<u32>], delay: usize| {
                n.checked_sub(delay).map_or(Vec::new(), |k| spikes[k].clone())
            };
            let of_mossy = n.checked_sub(1).map_or(Vec::new(), |k| mossy.at(k).to_vec());
            let [gr, go, pc, dcn] = &mut plain;
            add(&mut gr.exc, &parts.mossy_granule, &of_mossy, 1.0);
            add(&mut go.exc, &parts.mossy_golgi, &of_mossy, 1.0);
            add(&mut go.exc, &parts.granule_golgi, &at(&gr.spikes, 1), 1.0);
            let mut clusters = vec![0.0; TINY.golgi];
            add(&mut clusters, &parts.golgi_granule, &at(&go.spikes, 2), 1.0);
            for (k, inh) in gr.inh.iter_mut().enumerate() {
                *inh += clusters[k / parts.granule_cluster];
            }
            add(&mut pc.exc, &parts.parallel, &at(&gr.spikes, 3), parts.parallel_unit);
            add(&mut dcn.inh, &parts.purkinje_nuclear, &at(&pc.spikes, 2), 1.0);
        }
        let [gr, go, pc, dcn] = &plain;
        for n in 0..TINY.steps {
            assert_eq!(work.granule_spikes(n), gr.spikes[n], "granule cells, step {n}");
            assert_eq!(work.golgi_spikes(n), go.spikes[n], "Golgi cells, step {n}");
            assert_eq!(work.purkinje_spikes(n), pc.spikes[n], "Purkinje cells, step {n}");
            assert_eq!(work.nuclear_spikes(n), dcn.spikes[n], "nuclear cells, step {n}");
        }
        let count = |p: &Plain| p.spikes.iter().map(Vec::len).sum::<usize>();
        let counts = [count(gr), count(go), count(pc), count(dcn)];
        assert!(counts.iter().all(|&n| n >= 5), "every population took part: {counts:?}");
        let mut up_less_down = 0_i32;
        for &cell in dcn.spikes[TINY.steps / 5..].iter().flatten() {
            up_less_down += if (cell as usize) < TINY.nuclear / 2 { 1 } else { -1 };
        }
        let hz = f64::from(up_less_down) / (TINY.nuclear as f64 / 2.0 * 0.040);
        assert!((given.output - (hz / 20.0 + 0.1)).abs() < 1e-9, "{} at {hz} Hz", given.output);
    }
}

/// Largest error of a derivative relative to its group's largest, and that largest.
fn worst(found: &[f64], expected: &[f64]) -> (f64, f64) {
    let size = expected.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    let pairs = found.iter().zip(expected);
    (pairs.fold(0.0_f64, |a, (x, y)| a.max((x - y).abs())) / size, size)
}

/// Central differences of the output by every parameter.
fn differences(network: &Network<f64>, at: &Parameters<f64>, mossy: &MossySpikes) -> Vec<f64> {
    let mut work = Workspace::new(network, Spiking::Smooth);
    let h = 1e-6;
    (0..at.values.len())
        .map(|k| {
            let mut moved = at.clone();
            moved.values[k] = at.values[k] + h;
            let up = network.forward(&moved, mossy, &mut work).output;
            moved.values[k] = at.values[k] - h;
            (up - network.forward(&moved, mossy, &mut work).output) / (2.0 * h)
        })
        .collect()
}

#[test]
fn gradients_of_the_smoothed_network_are_its_finite_differences() {
    for gain in [MossyGain::Fibre, MossyGain::Synapse, MossyGain::Fixed] {
        // A gentle sigmoid, and one steep enough for potentials to cross the threshold.
        for (refractory_ms, beta) in [(0.0, 4.0), (2.0, 40.0)] {
            let mut parts = circuit::<f64>(TINY, gain, refractory_ms);
            parts.sigmoid = FastSigmoid { beta, peak: beta / 2.0 };
            let network = Network::new(parts).unwrap();
            let mut at = network.initial_parameters();
            for (k, w) in at.values.iter_mut().enumerate() {
                *w *= 1.0 + 0.3 * f64::from(Key::new(8).normal(k as u64));
            }
            let mossy = input(2);
            let mut work = Workspace::new(&network, Spiking::Smooth);
            let mut gradient = network.zero_gradient();
            network.forward(&at, &mossy, &mut work);
            network.backward(&at, &mossy, &mut work, 1.0, true, &mut gradient);
            if refractory_ms > 0.0 {
                // Refractory cells send nothing.
                let sent = |spikes: &[u32], cells| usize::from(spikes.len() < cells);
                let held: usize = (0..TINY.steps)
                    .map(|n| {
                        sent(work.granule_spikes(n), TINY.granule)
                            + sent(work.purkinje_spikes(n), TINY.purkinje)
                    })
                    .sum();
                assert!(held > 10, "{held} times was a cell refractory");
            }
            let expected = differences(&network, &at, &mossy);
            let groups = [
                ("mossy gain", gradient.mossy_range()),
                ("parallel fibres", gradient.parallel_range()),
                ("read-out", gradient.values.len() - 2..gradient.values.len()),
            ];
            for (name, range) in groups {
                if range.is_empty() {
                    assert_eq!(gain, MossyGain::Fixed);
                    continue;
                }
                let (error, size) = worst(&gradient.values[range.clone()], &expected[range]);
                println!("{gain:?}, {refractory_ms} ms, {name}: error {error:.1e} of {size:.2e}");
                assert!(size > 1e-6, "{name} has no gradient to compare");
                assert!(error < 1e-5, "{gain:?}, {refractory_ms} ms, {name}: {error}");
            }
        }
    }
}

#[test]
fn training_precision_gives_the_gradient_of_double_precision() {
    let wide = Network::new(circuit::<f64>(TINY, MossyGain::Fibre, 2.0)).unwrap();
    let narrow = Network::new(circuit::<f32>(TINY, MossyGain::Fibre, 2.0)).unwrap();
    let mossy = input(3);
    let (mut a, mut b) = (wide.zero_gradient(), narrow.zero_gradient());
    let mut work = Workspace::new(&wide, Spiking::Hard);
    let mut work32 = Workspace::new(&narrow, Spiking::Hard);
    wide.forward(&wide.initial_parameters(), &mossy, &mut work);
    wide.backward(&wide.initial_parameters(), &mossy, &mut work, 1.0, false, &mut a);
    narrow.forward(&narrow.initial_parameters(), &mossy, &mut work32);
    narrow.backward(&narrow.initial_parameters(), &mossy, &mut work32, 1.0, false, &mut b);
    let b: Vec<f64> = b.values.iter().map(|&x| f64::from(x)).collect();
    for range in [a.mossy_range(), a.parallel_range()] {
        let (error, size) = worst(&b[range.clone()], &a.values[range]);
        assert!(error < 1e-3 && size > 0.0, "error {error} of {size}");
    }
}

#[test]
fn the_parallel_fibre_gradient_is_the_same_whether_or_not_mossy_gains_are_trained() {
    let gradient = |gain| {
        let network = Network::new(circuit::<f64>(TINY, gain, 2.0)).unwrap();
        let (mut g, at) = (network.zero_gradient(), network.initial_parameters());
        let mut work = Workspace::new(&network, Spiking::Hard);
        network.forward(&at, &input(4), &mut work);
        network.backward(&at, &input(4), &mut work, 0.5, false, &mut g);
        g.parallel().to_vec()
    };
    assert_eq!(gradient(MossyGain::Fixed), gradient(MossyGain::Synapse));
    assert!(gradient(MossyGain::Fixed).iter().any(|g| *g != 0.0));
}

#[test]
fn parts_that_do_not_fit_are_named_with_their_value() {
    let message = |change: fn(&mut NetworkParts<f64>)| {
        let mut parts = circuit::<f64>(TINY, MossyGain::Fibre, 2.0);
        change(&mut parts);
        Network::new(parts).unwrap_err().to_string()
    };
    assert_eq!(message(|p| p.settle_steps = 50), "settle_steps: 50, expected below 50");
    assert_eq!(
        message(|p| p.parallel.delay_steps = 300),
        "parallel: delay of 300 steps, expected at most 255"
    );
    assert!(
        message(|p| p.parallel.fan_out.weights[5] = 9.0).contains("value 5 is 9, expected 0 to 8")
    );
    assert!(
        message(|p| p.golgi_granule.fan_out.targets[0] = 3).contains("golgi_granule: target 3")
    );
    assert!(message(|p| p.purkinje.tau_exc_ms = 0.0).contains("purkinje: tau_exc_ms is 0"));
    assert!(message(|p| p.granule.lif.reset = 1.0).contains("granule: reset is 1"));
    assert!(message(|p| p.decode_hz = f64::NAN).starts_with("decode_hz: NaN"));
    assert!(message(|p| p.steps = 0).starts_with("steps: 0"));
}

#[test]
fn a_circuit_without_golgi_cells_runs_and_has_a_gradient() {
    let size = supervised::Size { golgi: 0, ..TINY };
    let network = Network::new(circuit::<f64>(size, MossyGain::Fibre, 2.0)).unwrap();
    let (at, mut gradient) = (network.initial_parameters(), network.zero_gradient());
    let mut work = Workspace::new(&network, Spiking::Hard);
    network.forward(&at, &input(5), &mut work);
    network.backward(&at, &input(5), &mut work, 1.0, false, &mut gradient);
    assert!((0..TINY.steps).all(|n| work.golgi_spikes(n).is_empty()));
    assert!(gradient.mossy_gain().iter().any(|g| *g != 0.0));
}
