//! The network's spikes on given input, for rasters: of recorded rows, or of an imported file.
//!
//! The trainable network is played from rest, because it fires the engine's spikes and keeps those of
//! every population by step. Invariant: at most [`MAX_STEPS`] steps are played.

use purkinje_kernels::{
    cerebellum::{Cerebellum, LearnedWeights},
    supervised::{MossySpikes, Network, NetworkError, Spiking, Workspace},
};
use thiserror::Error;

use crate::training::{
    import::SpikeTrains,
    plots::{Population, Raster, Spike},
};

/// Longest stretch played, steps.
pub const MAX_STEPS: usize = 2_000;

/// Why spikes cannot be played.
#[derive(Debug, Error)]
pub enum PlayError {
    /// The network refused its parts.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The file has none.
    #[error("spike_trains: no train of layer \"mossy\" or \"mf\", expected at least one")]
    NoMossy,
    /// A fibre does not exist.
    #[error("spike_trains: neuron {neuron} of layer {layer:?}, expected below {fibres}")]
    NoSuchFibre {
        /// The neuron.
        neuron: u32,
        /// Its layer.
        layer: String,
        /// Mossy fibres that there are.
        fibres: usize,
    },
}

/// The mossy fibre spikes of a file by step, from its beginning to its end or [`MAX_STEPS`]. Trains of
/// other layers are left alone.
///
/// # Errors
/// There are none, or one of a fibre that does not exist.
pub fn mossy_of(
    trains: &SpikeTrains,
    fibres: usize,
    step_ms: f32,
) -> Result<MossySpikes, PlayError> {
    let steps = (trains.duration_ms / f64::from(step_ms)).ceil().max(1.0);
    let mut by_step = vec![Vec::new(); (steps as usize).min(MAX_STEPS)];
    let mut found = false;
    for train in trains.trains.iter().filter(|t| matches!(&*t.layer, "mossy" | "mf")) {
        found = true;
        if train.neuron as usize >= fibres {
            let (neuron, layer) = (train.neuron, train.layer.clone());
            return Err(PlayError::NoSuchFibre { neuron, layer, fibres });
        }
        for time_ms in &train.times_ms {
            let step = (time_ms / f64::from(step_ms)) as usize;
            // A fibre fires once a step at most.
            if let Some(fired) = by_step.get_mut(step)
                && fired.last() != Some(&train.neuron)
            {
                fired.push(train.neuron);
            }
        }
    }
    for fired in &mut by_step {
        fired.sort_unstable();
    }
    if found { Ok(MossySpikes::from_steps(&by_step)) } else { Err(PlayError::NoMossy) }
}

/// Plays spikes on the circuit with these weights; the raster has every population.
///
/// # Errors
/// The network is too large for so many steps.
pub fn raster(
    title: &str,
    cerebellum: &Cerebellum,
    weights: &LearnedWeights,
    mossy: &MossySpikes,
) -> Result<Raster, PlayError> {
    let mut parts = cerebellum.trainable();
    let step_ms = parts.step_ms;
    (parts.steps, parts.settle_steps) = (mossy.steps(), 0);
    let counts = [
        parts.mossy_granule.fan_out.sources(),
        parts.granule.drive.len(),
        parts.golgi.drive.len(),
        parts.purkinje.drive.len(),
        parts.nuclear.drive.len(),
    ];
    let network = Network::new(parts)?;
    let mut parameters = network.initial_parameters();
    parameters.parallel_mut().copy_from_slice(&weights.parallel);
    let mut work = Workspace::new(&network, Spiking::Hard);
    network.forward(&parameters, mossy, &mut work);
    let names = ["mossy fibres", "granule", "Golgi", "Purkinje", "nuclear"];
    let mut populations: Vec<Population> = names
        .iter()
        .zip(counts)
        .map(|(name, n)| Population {
            name: (*name).to_owned(),
            neurons: n as u32,
            spikes: Vec::new(),
        })
        .collect();
    for step in 0..mossy.steps() {
        let fired = [
            mossy.at(step),
            work.granule_spikes(step),
            work.golgi_spikes(step),
            work.purkinje_spikes(step),
            work.nuclear_spikes(step),
        ];
        let time_ms = step as f32 * step_ms;
        for (population, cells) in populations.iter_mut().zip(fired) {
            population.spikes.extend(cells.iter().map(|&neuron| Spike { time_ms, neuron }));
        }
    }
    let span_ms = (0.0, mossy.steps() as f64 * f64::from(step_ms));
    Ok(Raster { title: title.to_owned(), span_ms, populations })
}

/// The mean rate of every population of a raster, in words.
#[must_use]
pub fn rates(raster: &Raster) -> String {
    let seconds = (raster.span_ms.1 - raster.span_ms.0) * 1e-3;
    let rate = |p: &Population| {
        let hz = p.spikes.len() as f64 / (f64::from(p.neurons.max(1)) * seconds);
        format!("{} {hz:.1} Hz", p.name)
    };
    raster.populations.iter().map(rate).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::import::SpikeTrain;

    fn trains(layer: &str, neuron: u32, times_ms: &[f64]) -> SpikeTrains {
        let train = SpikeTrain { neuron, layer: layer.into(), times_ms: times_ms.to_vec() };
        SpikeTrains { duration_ms: 10.0, trains: vec![train] }
    }

    #[test]
    fn spikes_fall_into_their_steps_once() {
        let mossy = mossy_of(&trains("mf", 3, &[0.2, 0.8, 4.0, 9.9]), 4, 1.0).unwrap();
        let fired: Vec<usize> = (0..mossy.steps()).filter(|n| mossy.at(*n) == [3]).collect();
        assert_eq!((mossy.steps(), fired), (10, vec![0, 4, 9]));
    }

    #[test]
    fn a_file_without_mossy_fibres_or_with_too_many_is_refused() {
        let error = mossy_of(&trains("granule", 3, &[1.0]), 4, 1.0).unwrap_err();
        assert!(matches!(error, PlayError::NoMossy));
        let error = mossy_of(&trains("mossy", 4, &[1.0]), 4, 1.0).unwrap_err().to_string();
        assert_eq!(error, "spike_trains: neuron 4 of layer \"mossy\", expected below 4");
    }
}
