//! Where the shipped sets are known to leave the ranges of life, and why.
//!
//! Invariant: every entry is a check that its set fails; the tests hold that, and that no set fails
//! one which is not here.

/// Set, check, reason.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "okr-2012",
        "Golgi cell rate",
        "granule cells alone drive the paper's Golgi cells, which fire at 2 Hz under its stimulus \
         and less at rest",
    ),
    ("okr-2012", "basket cell rate", "the paper's own, 66 Hz under its stimulus"),
    (
        "okr-2012",
        "granule median rate / mean",
        "all fibres fire alike, so that inhibition alone sets cells apart, and it lowers a minority",
    ),
    ("okr-2012", "granule cells active, quietest 100 ms", SILENT_GOLGI),
    ("okr-2012", "granule cells active, busiest 100 ms", SILENT_GOLGI),
    (
        "okr-2012",
        "simple-spike CV2",
        "the paper's cells are without noise, and 28,800 weak parallel fibres average theirs out",
    ),
    ("okr-2012", "mossy fibres a granule cell", "one private fibre stands for four"),
    (
        "okr-2012",
        "Purkinje cells a nuclear cell",
        "the network has 16, all of which reach its one nuclear cell",
    ),
    ("okr-2012", "granule cells to one Golgi cell", "the paper has one for each cluster of 100"),
    ("okr-2012", "Purkinje cells to one olive cell", "one olive cell teaches all 16"),
    (
        "mouse-awake",
        "granule median rate / mean",
        "all fibres fire alike and each granule cell has four: rates differ by chance alone",
    ),
    (
        "scaffold",
        "mossy fibre rate",
        "the source's background, at every glomerulus; at 4 Hz granule cells fire at 5.4 Hz and \
         Purkinje cells at 131 Hz",
    ),
    (
        "scaffold",
        "granule median rate / mean",
        "all glomeruli fire alike and each granule cell has four: rates differ by chance alone",
    ),
    ("benchmark-s", "Purkinje cells a nuclear cell", "three tenths of its 32"),
    ("benchmark-s", "granule cells to one Golgi cell", BENCHMARK_GOLGI),
    ("benchmark-m", "granule cells to one Golgi cell", BENCHMARK_GOLGI),
    ("benchmark-l", "granule cells to one Golgi cell", BENCHMARK_GOLGI),
    ("benchmark-s", "Purkinje cells to one olive cell", BENCHMARK_OLIVE),
    ("benchmark-m", "Purkinje cells to one olive cell", BENCHMARK_OLIVE),
    ("benchmark-l", "Purkinje cells to one olive cell", BENCHMARK_OLIVE),
    (
        "trading",
        "mossy fibre rate",
        "a feature has two fibres, which stand for the many that would code it and fire faster",
    ),
    (
        "trading",
        "granule cell rate",
        "currents are set for 5 Hz (granule_hz), the edge of the range: seeds fall on either side",
    ),
    (
        "trading",
        "Purkinje cells a nuclear cell",
        "half of a zone's 16: the output needs few, and each more costs time",
    ),
    ("trading", "granule cells to one Golgi cell", "granule_per_golgi, 100 unless configured"),
];

const SILENT_GOLGI: &str = "granule cells fire near 5 Hz and Golgi cells hardly hold them back";
const BENCHMARK_GOLGI: &str =
    "defined with one for 100 granule cells, as in Yamazaki and Nagao 2012";
const BENCHMARK_OLIVE: &str = "climbing fibres are given from outside, one for each Purkinje cell";

/// Why the set of this name fails this check.
pub(super) fn reason(set: &str, check: &str) -> Option<&'static str> {
    KNOWN.iter().find(|known| (known.0, known.1) == (set, check)).map(|known| known.2)
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Report, validate, validate_trading};
    use super::*;
    use crate::cerebellum::CerebellumConfig;
    use crate::cerebellum::description::preset;

    /// Fails unless `report` fails what is known of its set and nothing else.
    fn assert_known(report: &Report) {
        let failed: Vec<&str> = report.failures().map(|c| c.name).collect();
        for name in &failed {
            assert!(reason(&report.name, name).is_some(), "{name} fails:\n{report}");
        }
        for known in KNOWN.iter().filter(|k| k.0 == report.name) {
            assert!(failed.contains(&known.1), "{} passes or is no check:\n{report}", known.1);
        }
    }

    fn after(seconds: f64, name: &str) -> Report {
        let options = Options { seconds, ..Options::default() };
        validate(&preset(name).unwrap(), &options).unwrap()
    }

    #[test]
    fn the_awake_mouse_network_fails_what_is_known_and_nothing_else() {
        let report = after(5.0, "mouse-awake");
        assert_known(&report);
        assert_eq!((report.passed, report.applicable), (18, 19), "{report}");
    }

    #[test]
    fn the_optokinetic_network_fails_what_is_known_and_nothing_else() {
        assert_known(&after(2.0, "okr-2012"));
    }

    #[test]
    fn the_scaffold_fails_what_is_known_and_nothing_else() {
        assert_known(&after(2.0, "scaffold"));
    }

    #[test]
    fn the_benchmark_fails_what_is_known_and_nothing_else() {
        assert_known(&after(5.0, "benchmark-s"));
    }

    #[test]
    fn the_trading_network_fails_what_is_known_and_nothing_else() {
        let options = Options::default();
        assert_known(&validate_trading(&CerebellumConfig::default(), &options).unwrap());
    }
}
