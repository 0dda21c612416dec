//! What is made of the members' forecasts, on replays of a simulated market: recalibration, abstention, a
//! challenger in shadow and confidence lowered by anomalies, each from the configuration to the signal record.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{OnceLock, atomic::AtomicBool},
};

use mimalloc::MiMalloc;
use purkinje::{
    alloc::CountingAllocator,
    clock::Clock,
    config::Loaded,
    learning::shadow::Duel,
    run::{report::Report, simulated_session, spine::forecaster},
    signals::{DecidedBy, schema::SIGNAL_JSON},
    training::cycles::Cycles,
};
use purkinje_strategies::{
    anomaly::SCORE_MAX,
    features::{Feature, N as FEATURES, NAMES},
    score::Skill,
};
use serde_json::Value;
use support::{
    is_state, journal, loaded,
    networks::{Networks, Tensor, random, safetensors},
    number, replayed,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator<MiMalloc> = CountingAllocator(MiMalloc);

/// Twenty minutes of two instruments, written once for all tests.
fn market() -> Vec<PathBuf> {
    static MARKET: OnceLock<tempfile::TempDir> = OnceLock::new();
    let dir = MARKET.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        simulated_session::write(&with(&[]), dir.path(), 20 * 60).unwrap();
        dir
    });
    vec![dir.path().to_owned()]
}

/// Quick members, and a short warm-up.
fn with(sets: &[(&str, &str)]) -> Loaded {
    let own = [
        ("simulator.instruments", "2"),
        ("strategy.members", "logistic,queue-imbalance"),
        ("report.warmup_s", "60"),
    ];
    loaded(&[&own, sets].concat())
}

/// A replay and the signals in its journal.
fn run(loaded: &Loaded) -> (Report, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let report = replayed(loaded, &market(), Some(&path));
    let mut lines = journal(&path);
    lines.retain(|line| !is_state(line));
    (report, lines)
}

fn skill<'a>(report: &'a Report, name: &str) -> Skill<'a> {
    let card = report.spine.model.forecaster.scorecard();
    card.skills().find(|s| s.name == name).unwrap_or_else(|| panic!("no column {name}"))
}

fn float(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("no {key} in {line}"))
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().unwrap_or_else(|| panic!("no {key} in {line}"))
}

/// A folder as a list of one, for a key that takes several.
fn listed(folder: &Path) -> String {
    format!("[\"{}\"]", folder.display())
}

/// A description of a network of one feature, or of all.
fn description(feature: &str, inputs: usize, network: &str) -> String {
    format!(
        "features = [\"{feature}\"]\nhorizon_ms = 1000\ncycle_ms = 100\n\n[network]\ninputs = {inputs}\n{network}\n"
    )
}

/// A forecast from the queue imbalance that no slope and offset repairs: sure of every rise, and undecided about
/// every fall.
fn lopsided(networks: &Networks) -> PathBuf {
    let tensors: [Tensor<'_>; 4] = [
        ("layers.0.weight", &[2, 1], vec![1.0, -1.0]),
        ("layers.0.bias", &[2], vec![0.0, 0.0]),
        ("head.weight", &[1, 2], vec![9.0, -1.0]),
        ("head.bias", &[1], vec![0.3]),
    ];
    let network = "outputs = 1\noutput = \"sigmoid\"\nkind = \"feed-forward\"\nhidden = [2]";
    let described = description("queue_imbalance", 1, network);
    networks.write("lopsided", &described, &safetensors(&tensors))
}

#[test]
fn an_isotonic_map_repairs_a_member_that_no_slope_and_offset_does() {
    let networks = Networks::new();
    let folder = listed(&lopsided(&networks));
    let [none, platt, isotonic] = ["none", "platt", "isotonic"].map(|map| {
        let sets = [("strategy.networks", &*folder), ("strategy.calibration.members_map", map)];
        let report = replayed(&with(&sets), &market(), None);
        let member = skill(&report, "lopsided");
        println!("{map}: ECE {:.4}, log loss {:.4}", member.ece, member.log_loss);
        assert!(member.n > 15_000, "{member:?}");
        (member.ece, member.log_loss)
    });
    assert!(none.0 > 0.1, "it needs repair: {none:?}");
    assert!(isotonic.0 < 0.03 && isotonic.0 < 0.6 * platt.0, "{isotonic:?} against {platt:?}");
    assert!(isotonic.1 < platt.1 && platt.1 < none.1, "{isotonic:?}, {platt:?}, {none:?}");
}

#[test]
fn the_last_recalibration_makes_probabilities_of_a_vote() {
    let [none, platt, isotonic] = ["none", "platt", "isotonic"].map(|map| {
        let sets = [("strategy.combiner.rule", "vote"), ("strategy.calibration.map", map)];
        let report = replayed(&with(&sets), &market(), None);
        let (vote, repaired) = (skill(&report, "combined"), skill(&report, "recalibrated"));
        println!("{map}: ECE {:.4} of {:.4}", repaired.ece, vote.ece);
        assert!(vote.ece > 0.15, "a vote is no probability: {vote:?}");
        repaired.ece
    });
    assert!(none > 0.15 && isotonic < 0.03 && platt < 0.1, "{none}, {platt}, {isotonic}");
}

/// What followed each signal, from the signals alone: whether the mid price had risen or fallen a horizon later.
fn moves(lines: &[Value]) -> HashMap<(&str, u64), bool> {
    let mids: HashMap<_, _> = lines
        .iter()
        .map(|line| ((text(line, "instrument"), number(line, "cycle")), float(line, "mid")))
        .collect();
    mids.iter()
        .filter_map(|((key, cycle), mid)| {
            let then = *mids.get(&(*key, cycle + 10))?;
            (then != *mid).then_some(((*key, *cycle), then > *mid))
        })
        .collect()
}

#[test]
fn conformal_sets_miss_as_often_as_asked_and_only_one_direction_is_traded() {
    for target in ["0.1", "0.35"] {
        let rate = 0.02;
        let sets = [
            ("strategy.conformal.enabled", "true"),
            ("strategy.conformal.target_miss_rate", target),
            ("strategy.conformal.rate", "0.02"),
            ("strategy.thresholds.confidence", "0.55"),
        ];
        let (report, lines) = run(&with(&sets));
        let target: f64 = target.parse().unwrap();
        let mut counts = BTreeMap::<(&str, &str), u32>::new();
        for line in &lines {
            let reason = text(line, "reason");
            let Some(set) = line["conformal_set"].as_str() else {
                assert!(!["abstained", "below_threshold", "threshold_met"].contains(&reason));
                continue;
            };
            *counts.entry((set, reason)).or_default() += 1;
            assert_eq!(set == "both" || set == "none", reason == "abstained", "{line}");
            match text(line, "action") {
                "BUY" => assert_eq!(set, "up", "{line}"),
                "SELL" => assert_eq!(set, "down", "{line}"),
                _ => {}
            }
        }
        println!("target {target}: {counts:?}");
        assert!(counts.keys().any(|(_, reason)| *reason == "abstained"), "{counts:?}");
        assert!(counts.keys().any(|(_, reason)| *reason == "threshold_met"), "{counts:?}");

        // The bound of `Conformal`, of each instrument; a few labels more than a horizon's may be on their way.
        let happened = moves(&lines);
        let conformal = report.spine.model.forecaster.judge().conformal();
        assert_eq!(conformal.len(), 2);
        for (key, one) in report.instruments.iter().zip(conformal) {
            let labels = one.learned() as f64;
            let bound = (target.max(1.0 - target) + 13.0 * rate) / (rate * labels);
            assert!(labels > 8_000.0 && bound < 0.01, "{labels} labels, {bound}");
            assert!((one.miss_rate() - target).abs() <= bound, "{key}: {}", one.miss_rate());
            // And so the signals say.
            let sets = lines.iter().filter(|line| line["instrument"] == **key);
            let judged = sets.filter_map(|line| {
                let up = happened.get(&(text(line, "instrument"), number(line, "cycle")))?;
                let set = line["conformal_set"].as_str()?;
                Some(set != "both" && set != if *up { "up" } else { "down" })
            });
            let judged: Vec<bool> = judged.collect();
            let missed = judged.iter().filter(|missed| **missed).count() as f64;
            assert!((judged.len() as f64 - labels).abs() < 50.0, "{} of {labels}", judged.len());
            assert!((missed / judged.len() as f64 - one.miss_rate()).abs() < 0.005);
        }
        assert!(report.text().contains("conformal sets"), "{}", report.text());
    }
}

/// Who knows little decides at the start; `networks` are the challenger's own.
fn duel(networks: &str, rule: &str) -> Loaded {
    with(&[
        ("strategy.members", "persistence"),
        ("strategy.challenger.rule", rule),
        ("strategy.challenger.networks", networks),
    ])
}

#[test]
fn a_better_challenger_is_promoted_on_evidence_and_decides_from_then_on() {
    let networks = Networks::new();
    let mut weights = [0.0; FEATURES];
    weights[Feature::QueueImbalance as usize] = 0.5;
    weights[Feature::DepthImbalance5 as usize] = 1.0;
    let folder = networks.linear("knowing", &weights, 0.0);
    let loaded = duel(&listed(&folder), "ml-poly");
    let (report, lines) = run(&loaded);
    println!("{}", report.text());

    // Until its promotion nothing that is decided differs from a run without a challenger.
    let (_, alone) = run(&with(&[("strategy.members", "persistence")]));
    assert_eq!(lines.len(), alone.len());
    let mut promoted = BTreeMap::<&str, usize>::new();
    let mut evidence = HashMap::<&str, f64>::new();
    for (i, (line, other)) in lines.iter().zip(&alone).enumerate() {
        let key = text(line, "instrument");
        let now = float(line, "challenger_evidence_log10");
        let weight = line["members"][1]["weight"].as_f64().unwrap();
        assert_eq!(text(&line["members"][1], "name"), "knowing");
        if text(line, "decided_by") == "challenger" {
            if promoted.insert(key, i).is_none() {
                // A new duel begins: no evidence yet that the old champion is better.
                assert!(now.abs() < 0.5, "{line}");
                println!("{key}: promoted in cycle {}, before at {}", line["cycle"], evidence[key]);
            }
            assert!(
                line["value"].is_null() || weight > 0.0 || line["members"][1]["value"].is_null()
            );
        } else {
            assert!(!promoted.contains_key(key), "no way back: {line}");
            assert_eq!(weight, 0.0, "{line}");
            assert!(now < 2.0, "promoted at 1 / alpha = 100: {line}");
            for field in ["action", "reason", "value", "confidence", "agreement", "mid"] {
                assert_eq!(line[field], other[field], "{field}: {line}");
            }
        }
        evidence.insert(key, now);
    }
    let keys: BTreeSet<&str> = report.instruments.iter().map(String::as_str).collect();
    assert_eq!(promoted.keys().copied().collect::<BTreeSet<_>>(), keys, "both were promoted");

    let shadow = report.spine.model.forecaster.judge().shadow().unwrap();
    for duel in shadow.duels() {
        assert_eq!((duel.decided_by(), duel.promotions()), (DecidedBy::Challenger, 1));
        let last = duel.last().unwrap();
        assert!(last.wealth >= 100.0 && last.labels >= 30 && last.gain_mean > 0.0, "{last:?}");
    }
    let text = report.text();
    assert!(text.contains("2 promotions; the challenger decides about 2 of 2"), "{text}");
    // What is in shadow at the end is the old champion, so the column is of both.
    assert!(skill(&report, "challenger").n > 15_000);
    assert_eq!(report.spine.model.allocations.allocations(), 0);
    // A replay promotes at the same cycles.
    assert_eq!(run(&loaded).1.last(), lines.last());
    assert_eq!(run(&loaded).0.signals_sha256(), report.signals_sha256());
}

#[test]
fn a_worse_challenger_is_not_promoted_and_changes_nothing_that_is_decided() {
    let networks = Networks::new();
    let folder = networks.linear("noise", &random(5, FEATURES, 1.0), 0.0);
    let sets =
        [("strategy.challenger.rule", "vote"), ("strategy.challenger.networks", &*listed(&folder))];
    let (report, lines) = run(&with(&sets));
    let duels = report.spine.model.forecaster.judge().shadow().unwrap().duels();
    for duel in duels {
        println!("evidence 10^{:.2} over {} labels", duel.evidence_log10(), duel.labels());
        assert_eq!((duel.decided_by(), duel.promotions()), (DecidedBy::Combiner, 0));
        assert!(duel.labels() > 800 && duel.evidence_log10() < 1.0);
    }
    assert!(skill(&report, "challenger").log_loss > skill(&report, "recalibrated").log_loss);
    let (_, alone) = run(&with(&[]));
    for (line, other) in lines.iter().zip(&alone) {
        assert_eq!(text(line, "decided_by"), "combiner");
        for field in ["action", "reason", "value", "confidence", "agreement"] {
            assert_eq!(line[field], other[field], "{field}: {line}");
        }
    }
    assert_eq!(duels.iter().map(Duel::promotions).sum::<u64>(), 0);
}

/// An autoencoder that rebuilds one feature within [-1, 1] exactly and clips it outside: its error is the
/// square of what lies outside.
fn clipping(networks: &Networks, name: &str, head: &str, rebuilt: f32) -> PathBuf {
    let tensors: [Tensor<'_>; 4] = [
        ("encoder.0.weight", &[4, 1], vec![1.0, 1.0, -1.0, -1.0]),
        ("encoder.0.bias", &[4], vec![0.0, -1.0, 0.0, -1.0]),
        ("decoder.0.weight", &[1, 4], [1.0, -1.0, -1.0, 1.0].map(|w| w * rebuilt).to_vec()),
        ("decoder.0.bias", &[1], vec![0.0]),
    ];
    let network = "kind = \"autoencoder\"\nencoder = [4]";
    let described = format!("{head}{}", description("order_flow_1s", 1, network));
    networks.write(name, &described, &safetensors(&tensors))
}

#[test]
fn confidence_falls_by_the_score_where_a_feature_leaves_its_range_and_nothing_else_changes() {
    let networks = Networks::new();
    let folder = clipping(&networks, "range", "anomaly_scale = 0.25\n", 1.0);
    let watched = with(&[("strategy.anomaly.network", folder.to_str().unwrap())]);
    let (report, lines) = run(&watched);
    let (_, alone) = run(&with(&[]));

    let cycles = Cycles::open(&watched, &market()).unwrap();
    let keys: Vec<String> = cycles.table().iter().map(|(_, i)| i.key()).collect();
    let place = NAMES.iter().position(|name| *name == "order_flow_1s").unwrap();
    let mut expected = HashMap::new();
    cycles
        .run(&AtomicBool::new(false), |batch| {
            for (instrument, key) in keys.iter().enumerate() {
                let x = f64::from(batch.features_of(instrument)[place]);
                let outside = (x.abs() - 1.0).max(0.0);
                expected.insert((key.clone(), batch.cut.cycle), outside * outside / 0.25);
            }
            ControlFlow::Continue(())
        })
        .unwrap();

    let (mut usual, mut unusual) = (0, 0);
    for (line, other) in lines.iter().zip(&alone) {
        for field in ["value", "agreement", "mid", "members"] {
            assert_eq!(line[field], other[field], "{field}: {line}");
        }
        let Some(score) = line["anomaly"].as_f64() else {
            assert_eq!(line["confidence"], other["confidence"], "{line}");
            continue;
        };
        let wanted = expected[&(text(line, "instrument").to_owned(), number(line, "cycle"))];
        assert!((score - wanted).abs() <= 1e-4 + 1e-4 * wanted, "{line}: {wanted}");
        let (lowered, full) = (float(line, "confidence"), float(other, "confidence"));
        if score <= 1.0 {
            usual += 1;
            assert_eq!(lowered, full, "{line}");
            assert_eq!(line["action"], other["action"], "{line}");
        } else {
            unusual += 1;
            let shrunk = 0.5 + (full - 0.5) / score;
            assert!((lowered - shrunk).abs() < 1e-4, "{line}: {full} should be {shrunk}");
        }
    }
    println!("{usual} usual, {unusual} unusual");
    assert!(usual > 5_000 && unusual > 500);
    let trades = |lines: &[Value]| lines.iter().filter(|line| line["action"] != "HOLD").count();
    assert!(trades(&lines) < trades(&alone) && trades(&lines) > 0);
    let counts = report.spine.model.forecaster.models().anomaly().unwrap().counts();
    assert_eq!((counts.scored, counts.unusual, counts.maximal), (usual + unusual, unusual, 0));
}

#[test]
fn an_error_that_is_no_number_leaves_no_confidence() {
    let networks = Networks::new();
    let folder = clipping(&networks, "wild", "anomaly_scale = 1.0\n", f32::MAX);
    // Infinite where the feature is not 0, and 0 times that is no number.
    let (report, lines) = run(&with(&[("strategy.anomaly.network", folder.to_str().unwrap())]));
    let mut wild = 0;
    for line in lines.iter().filter(|line| line["anomaly"] == SCORE_MAX) {
        assert!((float(line, "confidence") - 0.5).abs() < 1e-6, "{line}");
        assert_eq!(text(line, "action"), "HOLD");
        wild += 1;
    }
    let counts = report.spine.model.forecaster.models().anomaly().unwrap().counts();
    assert!(wild > 10_000 && counts.maximal == wild, "{wild}, {counts:?}");
}

#[test]
fn everything_at_once_replays_to_the_same_bytes_and_allocates_nothing_once_warm() {
    let networks = Networks::new();
    let (knowing, lstm) = (lopsided(&networks), networks.lstm("lstm", 3));
    let range = clipping(&networks, "range", "anomaly_scale = 0.25\n", 1.0);
    let (members, own) = (listed(&knowing), listed(&lstm));
    let sets = [
        ("strategy.networks", &*members),
        ("strategy.calibration.map", "isotonic"),
        ("strategy.calibration.members_map", "isotonic"),
        ("strategy.conformal.enabled", "true"),
        ("strategy.conformal.window_labels", "300"),
        ("strategy.challenger.rule", "stacking"),
        ("strategy.challenger.networks", &*own),
        ("strategy.challenger.alpha", "0.5"),
        ("strategy.challenger.labels_min", "1"),
        ("strategy.anomaly.network", range.to_str().unwrap()),
    ];
    let loaded = with(&sets);
    let (first, second) = (run(&loaded).0, run(&loaded).0);
    assert_eq!(first.signals_sha256(), second.signals_sha256());
    for report in [&first, &second] {
        let spine = &report.spine;
        assert!(spine.model.allocations.watched_cycles() > 10_000);
        assert_eq!((spine.model.allocations.allocations(), spine.sink.1.allocations()), (0, 0));
    }
    // The autoencoder belongs to what the model is.
    clipping(&networks, "range", "anomaly_scale = 0.26\n", 1.0);
    assert_ne!(run(&loaded).0.model_version, first.model_version);
}

#[test]
fn what_is_off_leaves_no_trace_in_a_signal() {
    let (report, lines) = run(&with(&[]));
    let schema: Value = serde_json::from_str(SIGNAL_JSON).unwrap();
    let names = |list: &Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let required = names(&schema["required"]);
    for line in &lines {
        let fields: BTreeSet<String> = line.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, required);
    }
    let defaults = [
        ("strategy.calibration.map", "platt"),
        ("strategy.calibration.members_map", "platt"),
        ("strategy.conformal.enabled", "false"),
        ("strategy.challenger.rule", "off"),
        ("strategy.anomaly.network", ""),
    ];
    assert_eq!(run(&with(&defaults)).0.signals_sha256(), report.signals_sha256());
    let text = report.text();
    for word in ["challenger", "conformal", "anomaly"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[test]
fn what_cannot_judge_is_refused_by_file_key_and_value() {
    let networks = Networks::new();
    let refusal = |sets: &[(&str, &str)]| match forecaster(&with(sets), 2, Clock::Event) {
        Ok(_) => panic!("{sets:?} was taken"),
        Err(error) => error.to_string(),
    };
    let anomaly =
        |folder: &Path| refusal(&[("strategy.anomaly.network", folder.to_str().unwrap())]);
    let scaled = |name: &str, head: &str| anomaly(&clipping(&networks, name, head, 1.0));
    let linear = networks.linear("linear", &[0.1; FEATURES], 0.0);
    let member = networks.linear("scaled", &[0.1; FEATURES], 0.0);
    let described = std::fs::read_to_string(member.join("model.toml")).unwrap();
    std::fs::write(member.join("model.toml"), format!("anomaly_scale = 2.0\n{described}")).unwrap();
    let good = clipping(&networks, "good", "anomaly_scale = 1.0\n", 1.0);
    let many: Vec<String> = (0..5)
        .map(|k| networks.linear(&format!("n{k}"), &[0.0; FEATURES], 0.0))
        .map(|folder| folder.display().to_string())
        .collect();
    for (told, parts) in [
        (scaled("none", ""), ["none/model.toml: anomaly_scale = (absent)", "above 0"]),
        (scaled("zero", "anomaly_scale = 0.0\n"), ["anomaly_scale = 0", "above 0"]),
        (scaled("less", "anomaly_scale = -1.5\n"), ["anomaly_scale = -1.5", "above 0"]),
        (scaled("nan", "anomaly_scale = nan\n"), ["anomaly_scale = NaN", "above 0"]),
        (scaled("inf", "anomaly_scale = inf\n"), ["anomaly_scale = inf", "above 0"]),
        (anomaly(&linear), ["strategy.anomaly.network: ", "network.kind = feed-forward"]),
        (
            anomaly(&networks.0.path().join("gone")),
            ["strategy.anomaly.network: ", "gone/model.toml"],
        ),
        (
            refusal(&[("strategy.networks", &listed(&good))]),
            ["strategy.networks: ", "network.output = autoencoder"],
        ),
        (
            refusal(&[("strategy.networks", &listed(&member))]),
            ["anomaly_scale = 2", "only an autoencoder has one"],
        ),
        (
            refusal(&[
                ("strategy.challenger.rule", "mean"),
                ("strategy.challenger.networks", &listed(&good)),
            ]),
            ["strategy.challenger.networks: ", "network.output = autoencoder"],
        ),
        (
            refusal(&[
                ("strategy.networks", &format!("{:?}", &many[..2])),
                ("strategy.challenger.rule", "mean"),
                ("strategy.challenger.networks", &format!("{many:?}")),
            ]),
            ["strategy.challenger.networks list 9 members", "1 to 8"],
        ),
        (
            refusal(&[
                ("strategy.networks", &listed(&linear)),
                ("strategy.challenger.rule", "mean"),
                ("strategy.challenger.networks", &listed(&linear)),
            ]),
            ["\"linear\"", "rename"],
        ),
    ] {
        assert!(parts.iter().all(|part| told.contains(part)), "{told:?} lacks one of {parts:?}");
    }
}
