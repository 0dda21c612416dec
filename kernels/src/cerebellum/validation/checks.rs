//! What is checked, and the ranges that recordings and anatomy give.
//!
//! Invariants: every validation makes the same checks in the same order, applicable or not; a range
//! belongs to the literature and never to a parameter set.

use super::inputs::Inputs;
use super::observe::Observer;
use super::report::{Check, PlasticWeights, Verdict};
use super::wiring::Degrees;
use crate::cerebellum::description::{Cell, Description};

/// What a network was found to do.
pub(super) struct Findings<'a> {
    pub(super) description: &'a Description,
    pub(super) observer: &'a Observer,
    /// The rates it was given; none where features drove it.
    pub(super) inputs: Option<Inputs>,
    pub(super) degrees: &'a [Degrees],
    pub(super) weights: &'a [PlasticWeights],
}

const fn check(
    name: &'static str,
    unit: &'static str,
    (low, high): (f64, f64),
    source: &'static str,
) -> Check {
    let (measured, verdict, remark) = (None, Verdict::NotApplicable, None);
    Check { name, measured, unit, low, high, source, verdict, remark }
}

/// Mean rates in the awake animal, Hz. The Purkinje cells' are of simple spikes; the olive's are
/// those of complex spikes.
const RATES: [(Cell, &str, (f64, f64), &str); 9] = [
    (
        Cell::Mossy,
        "mossy fibre rate",
        (4.0, 60.0),
        "van Kan et al. 1993; Rancz et al. 2007; background 4 Hz, Geminiani et al. 2024",
    ),
    (Cell::Granule, "granule cell rate", (0.3, 5.0), "Chadderton et al. 2004; Powell et al. 2015"),
    (Cell::Golgi, "Golgi cell rate", (5.0, 25.0), "Vos et al. 1999; Ruigrok et al. 2011"),
    (Cell::Purkinje, "simple-spike rate", (40.0, 95.0), "Zhou et al. 2014"),
    (Cell::Olive, "complex-spike rate", (0.5, 2.0), "Simpson et al. 1996"),
    (Cell::Basket, "basket cell rate", (5.0, 30.0), "Kim and Augustine 2021"),
    (Cell::Stellate, "stellate cell rate", (5.0, 30.0), "Kim and Augustine 2021"),
    (Cell::Nuclear, "projecting nuclear rate", (20.0, 90.0), "Sarnaik and Raman 2018"),
    (Cell::NucleoOlivary, "nucleo-olivary rate", (5.0, 20.0), "Geminiani et al. 2024"),
];

/// Spikes that a population at the least rate accepted must be expected to fire, or its rate is not
/// told from chance.
const SPIKES_MIN: f64 = 10.0;

const NO_POPULATION: &str = "the network has no such population";

impl Findings<'_> {
    /// All checks.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = RATES.iter().map(|r| self.rate(*r)).collect();
        checks.extend(self.granular_layer());
        checks.extend(self.purkinje());
        checks.extend(self.wiring());
        checks.extend(self.learning());
        checks
    }

    fn rate(
        &self,
        (cell, name, range, source): (Cell, &'static str, (f64, f64), &'static str),
    ) -> Check {
        let check = check(name, "Hz", range, source);
        let Some(place) = self.place(cell) else {
            return check.without(NO_POPULATION);
        };
        if check.low * self.observer.cell_seconds(place) < SPIKES_MIN {
            return check.without("too few cells and seconds to tell");
        }
        check.measured(match (cell, self.inputs) {
            // What was given, and not what came of it by chance: it may lie on the range's edge.
            (Cell::Mossy, Some(inputs)) => inputs.mean_mossy_hz(),
            (Cell::Purkinje, _) => self.observer.trains().simple_hz(),
            _ => self.observer.mean_hz(place),
        })
    }

    /// Sparse means that most cells fire below the mean, and that few fire in any 100 ms: Poisson
    /// cells of 0.5 Hz and of 3.6 Hz would be active to 5 and 30 %.
    fn granular_layer(&self) -> [Check; 3] {
        let median =
            check("granule median rate / mean", "", (0.0, 0.99), "sparse: Chadderton et al. 2004");
        let share = |name| check(name, "%", (5.0, 30.0), "Poisson cells of 0.5 to 3.6 Hz");
        let (quiet, busy) =
            ("granule cells active, quietest 100 ms", "granule cells active, busiest 100 ms");
        let Some(place) = self.place(Cell::Granule) else {
            return [median, share(quiet), share(busy)].map(|c| c.without(NO_POPULATION));
        };
        let median = match self.observer.median_hz(place) {
            Some(hz) => median.measured(hz / self.observer.mean_hz(place)),
            None => median.without("too few spikes a cell to tell"),
        };
        let active = self.observer.active_share();
        let of = |name, k: usize| match active {
            Some(shares) => share(name).measured(100.0 * shares[k]),
            None => share(name).without("less than 100 ms were measured"),
        };
        [median, of(quiet, 0), of(busy, 1)]
    }

    fn purkinje(&self) -> [Check; 2] {
        let cv2 = check("simple-spike CV2", "", (0.2, 0.6), "Holt et al. 1996; Shin et al. 2007");
        let pause =
            check("pause after a complex spike", "ms", (10.0, 50.0), "Latham and Paul 1971");
        if self.place(Cell::Purkinje).is_none() {
            return [cv2, pause].map(|c| c.without(NO_POPULATION));
        }
        let trains = self.observer.trains();
        let cv2 = match trains.cv2() {
            Some(value) => cv2.measured(value),
            None => cv2.without("no cell fired often enough"),
        };
        let pause = match trains.pause_ms() {
            _ if !self.observer.has_climbing() => {
                pause.without("climbing fibres have no synapses on Purkinje cells here")
            }
            Some(ms) => pause.measured(ms),
            None => pause.without("too few complex or simple spikes"),
        };
        [cv2, pause]
    }

    fn wiring(&self) -> [Check; 5] {
        let dendrites = check("mossy fibres a granule cell", "", (3.0, 5.0), "Eccles et al. 1967");
        let climbing =
            check("climbing fibres a Purkinje cell", "", (1.0, 1.0), "Eccles et al. 1966");
        let nuclear = check(
            "Purkinje cells a nuclear cell",
            "",
            (20.0, 50.0),
            "Person and Raman 2012; De Schepper et al. 2022",
        );
        let golgi = check(
            "granule cells to one Golgi cell",
            "",
            (200.0, 1000.0),
            "Korbo et al. 1993; De Schepper et al. 2022",
        );
        let olive = check(
            "Purkinje cells to one olive cell",
            "",
            (4.0, 10.0),
            "Sugihara et al. 2001; De Schepper et al. 2022",
        );
        [
            self.fan_in(dendrites, Cell::Mossy, Cell::Granule),
            self.fan_in(climbing, Cell::Olive, Cell::Purkinje),
            self.fan_in(nuclear, Cell::Purkinje, Cell::Nuclear),
            self.ratio(golgi, Cell::Granule, Cell::Golgi),
            self.ratio(olive, Cell::Purkinje, Cell::Olive),
        ]
    }

    fn learning(&self) -> [Check; 2] {
        let bounded = check("plastic weights within bounds", "%", (100.0, 100.0), "by definition");
        let silent = check(
            "silent plastic weights",
            "%",
            (50.0, 95.0),
            "Isope and Barbour 2002; Brunel et al. 2004",
        );
        let all: usize = self.weights.iter().map(|w| w.count).sum();
        if all == 0 {
            return [bounded, silent].map(|c| c.without("the network has no plastic projection"));
        }
        let share = |of: &dyn Fn(&PlasticWeights) -> f64| {
            let sum: f64 = self.weights.iter().map(|w| of(w) * w.count as f64).sum();
            100.0 * sum / all as f64
        };
        let mut silent = silent.without("the range is that of adults; this run began untaught");
        silent.measured = Some(share(&|w| w.silent_share));
        [bounded.measured(share(&|w| w.bounded_share)), silent]
    }

    fn place(&self, cell: Cell) -> Option<usize> {
        self.description.populations.iter().position(|p| p.cell == cell)
    }

    /// Mean number of synapses that a cell of `post` has from `pre`.
    fn fan_in(&self, check: Check, pre: Cell, post: Cell) -> Check {
        let mut of = self.degrees.iter().filter(|d| (d.pre, d.post) == (pre, post)).peekable();
        if of.peek().is_none() {
            return check.without("the network has no such projection");
        }
        check.measured(of.map(|d| d.fan_in.mean).sum())
    }

    fn ratio(&self, check: Check, many: Cell, few: Cell) -> Check {
        match (self.description.population(many), self.description.population(few)) {
            (Some(many), Some(few)) => check.measured(many.count as f64 / few.count as f64),
            _ => check.without(NO_POPULATION),
        }
    }
}
