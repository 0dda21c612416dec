//! Training lowers the loss of a task that the untrained network fails, on samples it has not seen
//! as well.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod supervised;

use purkinje_kernels::rng::Key;
use purkinje_kernels::supervised::hybrid::{Hybrid, HybridConfig, Learner, SupervisedLearner};
use purkinje_kernels::supervised::{
    Loss, Method, MossyGain, MossySpikes, Network, Sample, Schedule, Spiking, TrainError, Trainer,
    TrainerConfig, Workspace,
};
use supervised::{Size, circuit, poisson};

const SIZE: Size =
    Size { fibres: 40, granule: 300, golgi: 6, purkinje: 16, nuclear: 16, steps: 100 };

/// Two bits, each coded by which of two groups of ten fibres fires; the target is whether they
/// differ, which no sum over fibres tells.
fn exclusive_or(count: u64, seed: u64) -> Vec<Sample<f32>> {
    (0..count)
        .map(|n| {
            let (a, b) = ((n & 1) as usize, (n >> 1 & 1) as usize);
            let rates: Vec<f32> = (0..SIZE.fibres)
                .map(|fibre| {
                    let (bit, side) =
                        if fibre < 20 { (a, fibre / 10) } else { (b, fibre / 10 - 2) };
                    if bit == side { 90.0 } else { 10.0 }
                })
                .collect();
            let mossy = poisson(&rates, SIZE.steps, Key::new(seed).fork(n));
            Sample { mossy, target: (a ^ b) as f32, weight: 1.0 }
        })
        .collect()
}

fn trainer(gain: MossyGain, method: Method, rate: f64) -> Trainer<f32> {
    let network = Network::new(circuit::<f32>(SIZE, gain, 2.0)).unwrap();
    let schedule = Schedule::Constant { rate };
    let config = TrainerConfig { method, schedule, batch: 8, ..TrainerConfig::default() };
    Trainer::new(network, config).unwrap()
}

#[test]
fn training_solves_exclusive_or_which_the_untrained_network_fails() {
    let (seen, unseen) = (exclusive_or(32, 1), exclusive_or(32, 2));
    for gain in [MossyGain::Fixed, MossyGain::Fibre] {
        let mut trainer = trainer(gain, Method::ADAM_W, 0.02);
        let before = trainer.test(&seen).unwrap();
        assert!(before.accuracy <= 0.7 && before.loss > 0.6, "untrained: {before:?}");
        for epoch in 0..100 {
            trainer.epoch(&seen, epoch).unwrap();
        }
        let (after, fresh) = (trainer.test(&seen).unwrap(), trainer.test(&unseen).unwrap());
        println!(
            "{gain:?}: loss {} to {}, unseen {}; accuracy {} to {}, unseen {}",
            before.loss, after.loss, fresh.loss, before.accuracy, after.accuracy, fresh.accuracy
        );
        assert!(after.loss < before.loss / 3.0, "{} from {}", after.loss, before.loss);
        assert!(after.accuracy > 0.95, "seen: {}", after.accuracy);
        assert!(fresh.accuracy >= 0.8, "unseen: {}", fresh.accuracy);
        let (low, high) = trainer.network().parallel_bounds();
        assert!(trainer.parameters().parallel().iter().all(|w| (low..=high).contains(w)));
    }
}

#[test]
fn a_resumed_training_ends_bit_for_bit_where_the_unbroken_one_does() {
    let samples = exclusive_or(12, 3);
    let mut unbroken = trainer(MossyGain::Fibre, Method::ADAM_W, 0.02);
    for epoch in 0..4 {
        unbroken.epoch(&samples, epoch).unwrap();
    }
    let mut first = trainer(MossyGain::Fibre, Method::ADAM_W, 0.02);
    for epoch in 0..2 {
        first.epoch(&samples, epoch).unwrap();
    }
    let mut bytes = Vec::new();
    first.write_state(&mut bytes);
    let mut second = trainer(MossyGain::Fibre, Method::ADAM_W, 0.02);
    assert!(second.read_state(&bytes[..bytes.len() - 1]).is_err());
    second.read_state(&bytes).unwrap();
    for epoch in 2..4 {
        second.epoch(&samples, epoch).unwrap();
    }
    let bits = |t: &Trainer<f32>| -> Vec<u32> {
        t.parameters().values.iter().map(|w| w.to_bits()).collect()
    };
    assert_eq!(bits(&unbroken), bits(&second));
}

#[test]
fn samples_that_make_no_sense_are_refused_and_change_nothing() {
    let mut trainer = trainer(MossyGain::Fixed, Method::ADAM_W, 0.02);
    let before = trainer.parameters().clone();
    let message = |trainer: &mut Trainer<f32>, change: fn(&mut Sample<f32>)| {
        let mut samples = exclusive_or(3, 4);
        change(&mut samples[2]);
        trainer.epoch(&samples, 0).unwrap_err().to_string()
    };
    assert!(message(&mut trainer, |s| s.target = 1.5).starts_with("sample 2: target 1.5"));
    assert!(message(&mut trainer, |s| s.weight = f32::NAN).starts_with("sample 2: weight NaN"));
    let stray = message(&mut trainer, |s| {
        s.mossy = MossySpikes::from_steps(&[[40]]);
    });
    assert_eq!(stray, "sample 2: step 0: fibre 40, expected below 40");
    assert_eq!(trainer.epoch(&[], 0), Err(TrainError::Empty));
    assert_eq!(trainer.parameters(), &before);
}

/// Follows the sign of a covariance: up-zone weights fall where the target is high.
struct Delta {
    trainer: Trainer<f32>,
    samples: Vec<Sample<f32>>,
    rate: f32,
}

impl Learner<f32> for Delta {
    type Error = TrainError;

    fn weight_count(&self) -> usize {
        self.trainer.parameters().parallel().len()
    }

    fn read_weights(&mut self, weights: &mut [f32]) {
        weights.copy_from_slice(self.trainer.parameters().parallel());
    }

    fn write_weights(&mut self, weights: &[f32]) {
        self.trainer.parameters_mut().parallel_mut().copy_from_slice(weights);
    }

    fn epoch(&mut self, _epoch: u64) -> Result<f64, TrainError> {
        let network = self.trainer.network().clone();
        let mut work = Workspace::new(&network, Spiking::Hard);
        let mut total = 0.0;
        for sample in &self.samples {
            let output =
                network.forward(self.trainer.parameters(), &sample.mossy, &mut work).output;
            let (loss, slope) = Loss::CrossEntropy.at(output, sample.target);
            total += f64::from(loss);
            let weights = self.trainer.parameters_mut().parallel_mut();
            for step in 0..SIZE.steps {
                for &cell in work.granule_spikes(step) {
                    for purkinje in 0..SIZE.purkinje {
                        let sign = if purkinje < SIZE.purkinje / 2 { 1.0 } else { -1.0 };
                        weights[cell as usize * SIZE.purkinje + purkinje] +=
                            self.rate * sign * slope;
                    }
                }
            }
            network.clip(self.trainer.parameters_mut());
        }
        Ok(total / self.samples.len() as f64)
    }
}

#[test]
fn the_hybrid_protocol_lowers_the_loss_with_a_local_online_rule() {
    let samples = exclusive_or(16, 5);
    let mut supervised = SupervisedLearner {
        trainer: trainer(MossyGain::Fixed, Method::ADAM_W, 0.02),
        samples: &samples,
    };
    let before = supervised.trainer.test(&samples).unwrap().loss;
    let mut online = Delta {
        trainer: trainer(MossyGain::Fixed, Method::ADAM_W, 0.02),
        samples: samples.clone(),
        rate: 0.1,
    };
    let n = online.weight_count();
    let mut protocol = Hybrid::new(HybridConfig::default(), n, (0.0, 8.0)).unwrap();
    for _ in 0..12 {
        let report = protocol.cycle(&mut online, &mut supervised).unwrap();
        assert!(report.online_change > 0.0 && report.supervised_change > 0.0);
    }
    let after = supervised.trainer.test(&samples).unwrap().loss;
    println!("hybrid: {before} to {after}");
    assert!(after < before / 2.0, "{after} from {before}");
}
