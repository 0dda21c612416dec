//! Validation finds what is wrong with a network, and says the same of the same network.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use purkinje_kernels::cerebellum::CerebellumConfig;
use purkinje_kernels::cerebellum::description::{Cell, preset};
use purkinje_kernels::cerebellum::engine::Simulation;
use purkinje_kernels::cerebellum::validation::{
    Inputs, Options, Report, Verdict, validate, validate_trading,
};

fn verdict(report: &Report, name: &str) -> Verdict {
    report.checks.iter().find(|c| c.name == name).unwrap().verdict
}

#[test]
fn a_granular_layer_without_inhibition_fails() {
    let options = Options { seconds: 1.0, settle_seconds: 0.5, ..Options::default() };
    let mut network = preset("mouse-awake").unwrap();
    let active = ["granule cells active, quietest 100 ms", "granule cells active, busiest 100 ms"];
    let rate = |report: &Report| {
        report.checks.iter().find(|c| c.name == "granule cell rate").unwrap().measured.unwrap()
    };
    let whole = validate(&network, &options).unwrap();
    assert_eq!(active.map(|name| verdict(&whole, name)), [Verdict::Pass; 2], "{whole}");
    network.projections.retain(|p| (p.pre, p.post) != (Cell::Golgi, Cell::Granule));
    let broken = validate(&network, &options).unwrap();
    assert_eq!(active.map(|name| verdict(&broken, name)), [Verdict::Fail; 2], "{broken}");
    assert!(rate(&broken) > 2.0 * rate(&whole), "{broken}");
    assert!(broken.score < whole.score);
}

#[test]
fn purkinje_cells_without_the_conductance_of_complex_spikes_do_not_pause() {
    let options = Options { seconds: 3.0, settle_seconds: 0.5, ..Options::default() };
    let mut network = preset("mouse-awake").unwrap();
    let climbing = (Cell::Olive, Cell::Purkinje);
    let link = network.projections.iter_mut().find(|p| (p.pre, p.post) == climbing).unwrap();
    link.onto.truncate(1);
    let report = validate(&network, &options).unwrap();
    assert_eq!(verdict(&report, "pause after a complex spike"), Verdict::Fail, "{report}");
}

#[test]
fn a_climbing_fibre_fires_its_purkinje_cells_at_once() {
    let mut simulation = Simulation::new(&preset("mouse-awake").unwrap(), 1).unwrap();
    for _ in 0..200 {
        simulation.step();
    }
    let (_, cells) = simulation.row(Cell::Olive, Cell::Purkinje, 3);
    simulation.inject(Cell::Olive, &[3]);
    let mut fired = Vec::new();
    // The delay of 4 steps, and two in which the excitation is at its height.
    for step in 0..7 {
        simulation.step();
        if step >= 5 {
            fired.extend(simulation.spikes(Cell::Purkinje).iter().copied());
        }
    }
    assert_eq!(cells.len(), 5);
    assert!(cells.iter().all(|cell| fired.contains(cell)), "{cells:?}: {fired:?}");
}

#[test]
fn checks_of_populations_that_are_missing_do_not_count() {
    let options = Options { seconds: 0.5, settle_seconds: 0.0, ..Options::default() };
    let report = validate(&preset("benchmark-s").unwrap(), &options).unwrap();
    for name in ["basket cell rate", "nucleo-olivary rate", "pause after a complex spike"] {
        assert_eq!(verdict(&report, name), Verdict::NotApplicable);
    }
    let applicable = report.checks.iter().filter(|c| c.verdict != Verdict::NotApplicable).count();
    assert_eq!(report.applicable, applicable);
    assert_eq!(report.score, Some(report.passed as f64 / applicable as f64));
}

#[test]
fn the_same_network_and_options_give_the_same_report() {
    let options = Options { seconds: 0.5, settle_seconds: 0.1, ..Options::default() };
    let network = preset("benchmark-s").unwrap();
    let report = || serde_json::to_string(&validate(&network, &options).unwrap()).unwrap();
    assert_eq!(report(), report());
    let config = CerebellumConfig { granule_cells: 500, ..CerebellumConfig::default() };
    let trading = || validate_trading(&config, &options).unwrap();
    assert_eq!(trading(), trading());
}

#[test]
fn options_out_of_range_are_named_with_what_was_expected() {
    let network = preset("benchmark-s").unwrap();
    let inputs = |low, high| Some(Inputs { mossy_hz: [low, high], climbing_hz: 1.0 });
    for (options, message) in [
        (Options { seconds: 0.0, ..Options::default() }, "seconds is 0, expected 0.1 to 3600"),
        (
            Options { settle_seconds: f64::NAN, ..Options::default() },
            "settle_seconds is NaN, expected 0 to 3600",
        ),
        (
            Options { inputs: inputs(5.0, 2000.0), ..Options::default() },
            "mossy_hz[1] is 2000, expected 0 to 1000",
        ),
        (
            Options { inputs: inputs(5.0, 4.0), ..Options::default() },
            "mossy_hz[0] is 5, expected 0 to 4",
        ),
    ] {
        assert_eq!(validate(&network, &options).unwrap_err().to_string(), message);
    }
}
