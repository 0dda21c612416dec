//! Tests that need the table of keys itself: every key, bound, choice and rule is exercised.

use super::rules::RULES;
use super::spec::{Document, KeySpec, Kind, env_name};
use super::{Loaded, Origin, Problem, Problems, Sources, example, load};
use crate::pipeline::live_settings::LiveSettings;
use purkinje_feeds::instrument::Venue;
use std::collections::BTreeSet;

fn with_sets(sets: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let sets = sets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    load(&Sources { search: vec![], ..Sources::new(None, [], sets) })
}

fn all_keys() -> impl Iterator<Item = (String, &'static KeySpec)> {
    Document::ALL.into_iter().flat_map(|document| {
        let full =
            move |spec: &'static KeySpec| (format!("{}{}", document.prefix(), spec.path), spec);
        document.keys().iter().map(full)
    })
}

#[test]
fn every_key_has_its_own_environment_variable_and_an_origin() {
    let loaded = with_sets(&[]).unwrap();
    let variables: BTreeSet<_> = all_keys().map(|(path, _)| env_name(&path)).collect();
    assert_eq!(variables.len(), all_keys().count());
    for (path, spec) in all_keys() {
        assert!(loaded.origins.contains_key(&path), "{path}");
        assert!(spec.doc.ends_with('.'), "{path}: a meaning is a sentence");
    }
}

#[test]
fn the_ends_of_every_range_fit_the_typed_field_and_one_beyond_is_refused() {
    for (path, spec) in all_keys() {
        let (inside, outside) = match spec.kind {
            Kind::Int { min, max } => {
                let beyond = [min.checked_sub(1), max.checked_add(1)];
                let beyond = beyond.into_iter().flatten().map(|n| n.to_string()).collect();
                (vec![min.to_string(), max.to_string()], beyond)
            }
            Kind::Float { min, max } => (
                vec![min.to_string(), max.to_string()],
                vec![(min - 0.1).to_string(), (max + 0.1).to_string(), "nan".to_owned()],
            ),
            Kind::Choice(words) => {
                (words.iter().map(|w| (*w).to_owned()).collect(), vec!["other".to_owned()])
            }
            Kind::Bool => (vec!["true".to_owned(), "false".to_owned()], vec!["1".to_owned()]),
            _ => continue,
        };
        for value in inside {
            if let Err(problems) = with_sets(&[(&path, &value)]) {
                let fits = problems.0.iter().all(|p| matches!(p, Problem::Conflict { .. }));
                assert!(fits, "{path} = {value}: {problems}");
            }
        }
        for value in outside {
            let problems: Problems = with_sets(&[(&path, &value)]).unwrap_err();
            let text = problems.to_string();
            assert!(text.contains(&format!("{path} = ")), "{text}");
            assert!(text.contains(&spec.expected()), "{text}");
        }
    }
}

#[test]
fn a_key_that_came_later_leaves_the_hash_alone_until_it_is_set() {
    let hash = |sets: &[(&str, &str)]| with_sets(sets).unwrap().hash();
    let base = with_sets(&[]).unwrap();
    let mut older = base.clone();
    older.values.retain(|value| !value.spec.is_later);
    assert!(older.values.len() < base.values.len());
    assert_eq!(older.hash(), base.hash());
    assert_eq!(hash(&[("strategy.calibration.map", "platt")]), base.hash());
    assert_eq!(hash(&[("strategy.calibration.isotonic.prior_labels", "4")]), base.hash());
    let changed = [
        ("strategy.calibration.map", "isotonic"),
        ("strategy.calibration.members_map", "none"),
        ("strategy.calibration.isotonic.refit_labels", "50"),
        ("strategy.conformal.enabled", "true"),
        ("strategy.conformal.target_miss_rate", "0.2"),
        ("strategy.challenger.rule", "boa"),
        ("strategy.challenger.alpha", "0.05"),
        ("strategy.anomaly.network", "models/unusual"),
    ];
    let hashes: BTreeSet<_> = changed.into_iter().map(|set| hash(&[set])).collect();
    assert!(hashes.len() == changed.len() && !hashes.contains(&base.hash()));
}

#[test]
fn every_rule_names_known_keys_and_holds_for_every_shipped_preset() {
    let known: BTreeSet<_> = all_keys().map(|(path, _)| path).collect();
    for rule in RULES {
        for key in std::iter::once(&rule.key).chain(rule.others) {
            assert!(known.contains(*key), "{key}");
        }
    }
    for (feed, _) in super::preset::FEEDS {
        for (strategy, _) in super::preset::STRATEGIES {
            let loaded = with_sets(&[("feed", feed), ("strategy", strategy)]).unwrap();
            assert_eq!(loaded.feed.is_embedded(), *feed == "simulated");
            assert!(Venue::from_name(&loaded.feed.venue).is_some(), "{feed}");
        }
    }
}

/// Settings that break one rule each; the rule is told by its expectation.
const BREAKS: &[(&[(&str, &str)], &str)] = &[
    (&[("strategy.thresholds.sell_value", "0.6")], "sell_value below buy_value"),
    (&[("cycle.period_ms", "300")], "a multiple of the cycle's period"),
    (&[("strategy.horizon_ms", "600000")], "at most 600 of them"),
    (&[("simulator.memory_ms", "50")], "at most ten memories"),
    (&[("strategy.normaliser_memory_cycles", "100")], "a memory of at least the warm-up"),
    (
        &[("strategy.cerebellum.rules.stdp", "true")],
        "false where strategy.cerebellum.shared_weights is true",
    ),
    (&[("strategy.ttl_ms", "50")], "signals that live at least one cycle"),
    (&[("strategy.features", "all,spread")], "\"all\" alone"),
    (&[("strategy.challenger.networks", "a")], "none where strategy.challenger.rule is \"off\""),
    (&[("strategy.challenger.rule", "ml-poly")], "a rule other than that of strategy.combiner"),
    (&[("pipeline.stale_after_ms", "50")], "an age of at least one cycle"),
    (
        &[
            ("pipeline.engine_wait", "spin"),
            ("pipeline.engine_core", "1"),
            ("pipeline.sink_core", "1"),
        ],
        "a spinning engine on a core of its own",
    ),
    (&[("kafka.topic_prefix", "my_own")], "letters, digits, dots and hyphens"),
    (&[("kafka.mode", "fenced")], "a name in the mode \"fenced\""),
    (&[("kafka.transactional_id", "a")], "none in the mode \"epoch\""),
    (&[("kafka.security", "sasl-tls"), ("kafka.sasl.username", "a")], "a name and a password_file"),
    (&[("kafka.sasl.username", "a")], "neither elsewhere"),
    (&[("kafka.tls.certificate_file", "a")], "both a certificate_file and a key_file"),
    (&[("http.address", "localhost:80")], "an IP address and a port"),
    (&[("simulator.symbols", "AAA,BBB")], "as many symbols as simulator.instruments"),
    (&[("feed.rest_url", "https://host")], "both addresses, or neither"),
    (&[("feed.venue", "binance-spot"), ("feed.channels.depth", "100ms")], "or an address"),
    (&[("feed", "binance-usdm"), ("feed.instruments", "[]")], "at least one instrument"),
    (
        &[("feed.instruments", "[{symbol='BTCUSDT',price_decimals=2,qty_decimals=3}]")],
        "symbols that the simulated exchange trades",
    ),
    (
        &[("feed", "binance-spot"), ("feed.channels.depth", "0ms")],
        "100ms or 1000ms for Binance spot",
    ),
    (&[("feed", "binance-usdm"), ("feed.channels.oracle", "true")], "false: only the simulated"),
    (
        &[("feed", "binance-usdm"), ("feed.snapshot_limit", "200")],
        "500 or 1000 for Binance futures",
    ),
    (&[("feed", "binance-usdm"), ("feed.connections", "3")], "one connection per instrument"),
    (&[("feed.connections", "7")], "one connection per instrument of the simulated exchange"),
    (&[("feed.max_streams_per_connection", "23")], "room for every channel"),
];

#[test]
fn every_rule_can_be_broken_and_says_what_was_expected() {
    let mut broken = BTreeSet::new();
    for (sets, piece) in BREAKS {
        let problems = with_sets(sets).unwrap_err();
        let conflict = problems.0.iter().find_map(|p| match p {
            Problem::Conflict { expected, .. } if expected.contains(piece) => Some(expected),
            _ => None,
        });
        broken.insert(conflict.unwrap_or_else(|| panic!("{sets:?}: {problems}")).clone());
    }
    for rule in RULES {
        assert!(broken.contains(rule.expected), "no test breaks: {}", rule.expected);
    }
}

#[test]
fn the_venue_names_are_those_of_the_feeds_crate() {
    let names: Vec<_> =
        Venue::ALL.iter().filter(|venue| venue.is_live()).map(|venue| venue.name()).collect();
    assert_eq!(names, super::table::VENUES);
}

#[test]
fn every_line_of_the_example_is_valid_when_uncommented() {
    fn uncommented(line: &str) -> &str {
        line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
    }
    let text = example().lines().map(uncommented).collect::<Vec<_>>().join("\n");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("purkinje.toml");
    std::fs::write(&path, text).unwrap();
    let loaded = load(&Sources { search: vec![], ..Sources::new(Some(path), [], vec![]) }).unwrap();
    let plain = with_sets(&[]).unwrap();
    assert_eq!(loaded.config, plain.config);
    assert_eq!((&loaded.feed, &loaded.strategy), (&plain.feed, &plain.strategy));
    for spec in Document::Daemon.keys() {
        let origin = &loaded.origins[spec.path];
        assert!(matches!(origin, Origin::File { .. }), "{} is {origin}", spec.path);
    }
}

#[test]
fn a_secret_is_printed_neither_in_the_dump_nor_in_a_refusal() {
    static SECRET: KeySpec =
        KeySpec { secret: true, ..KeySpec::text("kafka.password", "", "Password.") };
    let node = super::check::node_of_text(SECRET.kind, "hunter2\n");
    let found = super::check::check(&SECRET, SECRET.path, &Origin::Flag, &node).unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(!found[0].to_string().contains("hunter2"), "{}", found[0]);
    let mut loaded = with_sets(&[]).unwrap();
    loaded.values.push(super::loaded::Effective {
        path: SECRET.path.to_owned(),
        spec: &SECRET,
        value: "hunter2".into(),
        origin: Origin::Flag,
    });
    let shown = loaded.show();
    assert!(shown.contains("password = \"<redacted>\"  # flag") && !shown.contains("hunter2"));
}

#[test]
fn the_depth_interval_is_the_number_in_the_word() {
    for (word, interval_ms) in [("0ms", 0), ("100ms", 100), ("250ms", 250), ("500ms", 500)] {
        let loaded = with_sets(&[("feed.channels.depth", word)]).unwrap();
        assert_eq!(loaded.feed.channels.depth_interval_ms(), interval_ms);
    }
}

#[test]
fn the_live_keys_are_those_that_a_running_daemon_is_given() {
    let live: BTreeSet<_> =
        all_keys().filter(|(_, spec)| spec.is_live).map(|(path, _)| path).collect();
    let settings = LiveSettings::of(&with_sets(&[]).unwrap());
    let carried = serde_json::to_value(settings).unwrap();
    let carried: BTreeSet<_> = carried.as_object().unwrap().keys().cloned().collect();
    assert_eq!(live, carried);
}
