//! "scaffold": the column of 400 × 400 µm of Casali et al., "Reconstruction and Simulation of a
//! Scaffold Model of the Cerebellar Network" (Front. Neuroinform. 13:37, 2019).
//!
//! Cells, synapses and delays of that paper, with the weights of parallel fibres on interneurons and
//! of Purkinje on nuclear cells of Kuriyama et al. (Front. Cell. Neurosci. 15:623552, 2021).
//! Conductances are corrected for being held within a step of 1 ms. Convergences that the source
//! leaves to geometry are rounded, so the network is alike in kind and not in every synapse;
//! reversal potentials are 0 and -80 mV. Inputs are the glomeruli; at 1 Hz all cells fire within the
//! ranges of awake recordings.

use super::super::{Cell, Description, Model, Pattern, Population, Projection, Weight};
use super::{Membrane, cells, held, input, projection, receptor};

const STEP_MS: f32 = 1.0;
const GLOMERULI: usize = 7_073;

/// The network.
pub fn scaffold() -> Description {
    let populations = populations();
    let projections = projections()
        .map(|mut link| {
            let post = populations.iter().find(|p| p.cell == link.post);
            let tau_ms = post.map_or(STEP_MS, |p| p.receptors[link.onto[0].receptor].tau_ms);
            if let Weight::Constant { value } = &mut link.weight {
                *value = held(*value, tau_ms, STEP_MS);
            }
            link
        })
        .into();
    Description {
        name: "scaffold".into(),
        source: "Casali et al., Front. Neuroinform. 13:37 (2019); Kuriyama et al., Front. Cell. \
                 Neurosci. 15:623552 (2021)"
            .into(),
        step_ms: STEP_MS,
        populations,
        projections,
    }
}

fn populations() -> Vec<Population> {
    let interneuron = lif([14.6, 1.0, -68.0, 1.6, -78.0, -53.0, 15.6]);
    let synapses = |excitatory_ms, inhibitory_ms| {
        [receptor("glutamate", excitatory_ms, 0.0), receptor("GABA", inhibitory_ms, -80.0)]
    };
    vec![
        input(Cell::Mossy, GLOMERULI),
        cells(
            Cell::Granule,
            88_158,
            lif([3.0, 1.5, -74.0, 1.5, -84.0, -42.0, 0.0]),
            synapses(0.5, 10.0),
        ),
        cells(
            Cell::Golgi,
            219,
            lif([76.0, 3.6, -65.0, 2.0, -75.0, -55.0, 36.75]),
            synapses(0.5, 15.0),
        ),
        cells(Cell::Basket, 603, interneuron, synapses(0.64, 2.0)),
        cells(Cell::Stellate, 603, interneuron, synapses(0.64, 2.0)),
        cells(
            Cell::Purkinje,
            69,
            lif([620.0, 7.0, -62.0, 0.8, -72.0, -47.0, 600.0]),
            synapses(0.5, 1.6),
        ),
        cells(
            Cell::Nuclear,
            12,
            lif([89.0, 1.56, -59.0, 3.7, -69.0, -48.0, 55.8]),
            synapses(7.1, 13.6),
        ),
    ]
}

/// Capacitance, leak, its reversal, refractory period, reset, threshold, current: the columns of
/// the source.
const fn lif(of: [f32; 7]) -> Model {
    let [c_pf, leak_ns, leak_mv, refractory_ms, reset_mv, threshold_mv, current_pa] = of;
    Membrane { c_pf, leak_ns, leak_mv, refractory_ms, reset_mv, threshold_mv, current_pa }.lif()
}

/// Sources a target.
const fn from(sources: usize) -> Pattern {
    Pattern::InDegree { sources }
}

/// A granule cell's ascending axon and its parallel fibre are projections of their own.
fn projections() -> [Projection; 16] {
    use Cell::{Basket, Golgi, Granule, Mossy, Nuclear, Purkinje, Stellate};
    let (excite, inhibit) = (0, 1);
    [
        projection((Mossy, Granule), excite, from(4), 9.0, 4),
        projection((Mossy, Golgi), excite, from(40), 2.0, 4),
        projection((Golgi, Granule), inhibit, from(5), 5.0, 2),
        projection((Golgi, Golgi), inhibit, from(70), 8.0, 1),
        projection((Granule, Golgi), excite, from(1_200), 0.4, 5),
        projection((Granule, Golgi), excite, from(400), 20.0, 2),
        projection((Granule, Purkinje), excite, from(28_000), 0.02, 5),
        projection((Granule, Purkinje), excite, from(250), 75.0, 2),
        projection((Granule, Basket), excite, from(500), 0.2, 5),
        projection((Granule, Stellate), excite, from(500), 0.2, 5),
        projection((Basket, Basket), inhibit, from(4), 2.5, 4),
        projection((Stellate, Stellate), inhibit, from(4), 2.0, 1),
        projection((Basket, Purkinje), inhibit, from(20), 9.0, 4),
        projection((Stellate, Purkinje), inhibit, from(25), 8.5, 5),
        projection((Mossy, Nuclear), excite, from(147), 0.006, 4),
        projection((Purkinje, Nuclear), inhibit, from(35), 0.0075, 4),
    ]
}
