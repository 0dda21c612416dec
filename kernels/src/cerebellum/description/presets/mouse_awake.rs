//! "mouse-awake": a block of 300 × 200 µm of mouse cerebellar cortex with its nuclei and olive, in
//! the awake state.
//!
//! Densities and layers of De Schepper et al. (Commun. Biol. 5, 2022), cell and synapse constants of
//! Geminiani et al. (Front. Comput. Neurosci. 13, 2019; PLOS Comput. Biol. 20:e1011277, 2024). The
//! source simulates alpha-shaped conductances in steps of 0.1 ms; here each is an exponential of
//! equal charge, corrected for being held within a step of 1 ms. Its cells have spike-triggered
//! currents that a leaky integrate-and-fire cell has not, so the currents of the nuclei
//! ([`NUCLEAR_PA`], [`NUCLEO_OLIVARY_PA`]) are raised here to reach its rates. Convergences that the
//! source leaves to geometry are this project's, set so that with mossy fibres at 4 Hz the cells rest
//! at its rates; so are the reversal potentials (0 and -80 mV) and the input to the olive, one spike
//! of which fires it against the brake of the nucleo-olivary cells at rest, and does not when they
//! fire three times as much.
//!
//! A complex spike is a climbing fibre's brief excitation, strong enough to fire the cell, together
//! with a slower conductance that holds it silent afterwards. The source's synapse of 1.6 nS is
//! taken for one of a hundred contacts; the conductance stands for the calcium-activated potassium
//! currents that a complex spike opens, which these cells have no other means for, and is sized to a
//! pause of some 20 ms (10 to 50 in life; Latham and Paul, 1971).

use super::super::{Cell, Description, Model, Pattern, Population, Port, Projection, Weight};
use super::{Membrane, cells, held, input, projection, receptor};

/// Current of a projecting nuclear cell, pA; 75.4 in the source, with adaptation.
const NUCLEAR_PA: f32 = 188.0;
/// Current of a nucleo-olivary cell, pA; 2.4 in the source, with adaptation.
const NUCLEO_OLIVARY_PA: f32 = 9.4;
/// Peak of a climbing fibre's excitation, nS: a hundred contacts of 1.6 nS.
const CLIMBING_NS: f32 = 160.0;
/// Decay of the glutamate of a Purkinje cell, ms.
const PURKINJE_GLUTAMATE_MS: f32 = 1.1;
/// Peak, decay and reversal of the conductance that follows it, nS, ms, mV.
const PAUSE_NS: f32 = 60.0;
const PAUSE_MS: f32 = 15.0;
const POTASSIUM_MV: f32 = -90.0;
/// Peak of the synapse of an input on the olive, nS.
const PRE_OLIVE_NS: f32 = 120.0;
const EXCITATORY_MV: f32 = 0.0;
const INHIBITORY_MV: f32 = -80.0;
const STEP_MS: f32 = 1.0;

/// The network.
pub fn mouse_awake() -> Description {
    let populations = populations();
    let projections = cortex()
        .into_iter()
        .chain(nuclei())
        .map(|mut link| {
            let post = populations.iter().find(|p| p.cell == link.post);
            let tau_ms = post.map_or(STEP_MS, |p| p.receptors[link.onto[0].receptor].tau_ms);
            link.weight = charged(link.weight, tau_ms);
            link
        })
        .collect();
    Description {
        name: "mouse-awake".into(),
        source: "De Schepper et al., Commun. Biol. 5 (2022); Geminiani et al., PLOS Comput. Biol. \
                 20:e1011277 (2024)"
            .into(),
        step_ms: STEP_MS,
        populations,
        projections,
    }
}

/// The held exponential with the charge of an alpha function of this peak: e times as much as an
/// exponential of equal peak and time constant.
fn charged(weight: Weight, tau_ms: f32) -> Weight {
    match weight {
        Weight::Constant { value } => {
            Weight::Constant { value: held(std::f32::consts::E * value, tau_ms, STEP_MS) }
        }
        uniform @ Weight::Uniform { .. } => uniform,
    }
}

/// 7.8 nl of granular layer, 130 µm thick, under 50 µm of basket and 100 µm of stellate cells.
fn populations() -> Vec<Population> {
    let interneuron = lif([14.6, 9.1, -68.0, 1.6, -78.0, -53.0, 3.7]);
    let glutamate = |tau_ms| receptor("glutamate", tau_ms, EXCITATORY_MV);
    let gaba = |tau_ms| receptor("GABA", tau_ms, INHIBITORY_MV);
    vec![
        input(Cell::Mossy, 117),
        cells(
            Cell::Granule,
            30_420,
            lif([7.0, 24.15, -62.0, 1.5, -70.0, -41.0, 0.0]),
            [glutamate(5.8), gaba(13.6)],
        ),
        cells(
            Cell::Golgi,
            70,
            lif([145.0, 44.0, -62.0, 2.0, -75.0, -55.0, 16.2]),
            [
                receptor("parallel fibres", 0.23, EXCITATORY_MV),
                receptor("mossy fibres", 0.5, EXCITATORY_MV),
                gaba(10.0),
            ],
        ),
        cells(Cell::Basket, 150, interneuron, [glutamate(0.64), gaba(2.0)]),
        cells(Cell::Stellate, 300, interneuron, [glutamate(0.64), gaba(2.0)]),
        cells(
            Cell::Purkinje,
            70,
            lif([334.0, 47.0, -59.0, 0.5, -69.0, -43.0, 700.0]),
            [
                glutamate(PURKINJE_GLUTAMATE_MS),
                gaba(2.8),
                receptor("complex spike", PAUSE_MS, POTASSIUM_MV),
            ],
        ),
        cells(
            Cell::Nuclear,
            121,
            lif([142.0, 33.0, -45.0, 1.5, -55.0, -36.0, NUCLEAR_PA]),
            [glutamate(1.0), gaba(0.7)],
        ),
        cells(
            Cell::NucleoOlivary,
            68,
            lif([56.0, 56.0, -40.0, 3.0, -55.0, -39.0, NUCLEO_OLIVARY_PA]),
            [glutamate(3.64), gaba(1.14)],
        ),
        cells(
            Cell::Olive,
            14,
            lif([189.0, 11.0, -45.0, 1.0, -45.0, -35.0, -18.1]),
            [glutamate(1.0), gaba(60.0)],
        ),
        input(Cell::PreOlive, 14),
    ]
}

/// Capacitance, time constant, leak reversal, refractory period, reset, threshold, current: the
/// columns of the source.
const fn lif(of: [f32; 7]) -> Model {
    let [c_pf, tau_m_ms, leak_mv, refractory_ms, reset_mv, threshold_mv, current_pa] = of;
    let leak_ns = c_pf / tau_m_ms;
    Membrane { c_pf, leak_ns, leak_mv, refractory_ms, reset_mv, threshold_mv, current_pa }.lif()
}

/// Sources a target.
const fn from(sources: usize) -> Pattern {
    Pattern::InDegree { sources }
}

/// Weights are the source's peaks, nS. A granule cell's ascending axon and its parallel fibre are
/// projections of their own.
fn cortex() -> [Projection; 17] {
    use Cell::{Basket, Golgi, Granule, Mossy, Olive, Purkinje, Stellate};
    [
        projection((Mossy, Granule), 0, from(4), 0.23, 1),
        projection((Mossy, Golgi), 1, from(40), 0.24, 1),
        projection((Golgi, Granule), 1, from(5), 0.24, 2),
        projection((Golgi, Golgi), 2, from(10), 0.007, 4),
        projection((Granule, Golgi), 0, from(600), 0.05, 5),
        projection((Granule, Golgi), 0, from(100), 0.82, 2),
        projection((Granule, Purkinje), 0, from(8_000), 0.14, 5),
        projection((Granule, Purkinje), 0, from(200), 0.41, 2),
        projection((Granule, Stellate), 0, from(1_150), 0.08, 5),
        projection((Granule, Basket), 0, from(1_650), 0.06, 5),
        projection((Basket, Purkinje), 1, from(20), 0.8, 4),
        projection((Stellate, Purkinje), 1, from(25), 0.17, 5),
        projection((Basket, Basket), 1, from(10), 0.006, 4),
        projection((Stellate, Stellate), 1, from(10), 0.005, 4),
        complex_spike(),
        // Spill-over of climbing fibres.
        projection((Olive, Basket), 0, from(1), 5.0, 40),
        projection((Olive, Stellate), 0, from(1), 5.0, 40),
    ]
}

/// Climbing fibres on Purkinje cells: excitation, and the conductance that holds the cell silent.
fn complex_spike() -> Projection {
    let mut of = projection((Cell::Olive, Cell::Purkinje), 0, Pattern::OneToOne, CLIMBING_NS, 4);
    let excitation = held(std::f32::consts::E * CLIMBING_NS, PURKINJE_GLUTAMATE_MS, STEP_MS);
    let pause = held(PAUSE_NS, PAUSE_MS, STEP_MS);
    of.onto.push(Port { receptor: 2, share: pause / excitation });
    of
}

fn nuclei() -> [Projection; 7] {
    use Cell::{Mossy, Nuclear, NucleoOlivary, Olive, PreOlive, Purkinje};
    let share = |p| Pattern::Probability { p };
    [
        projection((Mossy, Nuclear), 0, share(0.4), 0.25, 4),
        projection((Purkinje, Nuclear), 1, share(0.375), 0.35, 4),
        projection((Purkinje, NucleoOlivary), 1, share(0.18), 0.02, 4),
        projection((Olive, Nuclear), 0, share(0.5), 0.4, 4),
        projection((Olive, NucleoOlivary), 0, share(0.5), 0.25, 5),
        projection((NucleoOlivary, Olive), 1, share(0.5), 0.45, 25),
        projection((PreOlive, Olive), 0, Pattern::OneToOne, PRE_OLIVE_NS, 1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cell_numbers_are_the_densities_of_the_block() {
        // Cells a µm³ and thickness, µm.
        for (cell, density, thickness) in [
            (Cell::Granule, 3.9e-3, 130.0),
            (Cell::Golgi, 9e-6, 130.0),
            (Cell::Basket, 5e-5, 50.0),
            (Cell::Stellate, 5e-5, 100.0),
            // 1,166 a mm².
            (Cell::Purkinje, 1166e-6, 1.0),
            // A twentieth of the glomeruli.
            (Cell::Mossy, 0.05 * 3e-4, 130.0),
        ] {
            let expected: f64 = 300.0 * 200.0 * density * thickness;
            let count = mouse_awake().population(cell).unwrap().count;
            assert!((count as f64 - expected).abs() <= 0.5, "{cell}: {expected}");
        }
    }
}
