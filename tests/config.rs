//! Configuration as a user meets it: files on disk, variables, flags; what is refused and how.

use proptest::prelude::*;
use purkinje::config::{
    EngineWait, Loaded, Origin, Problem, Problems, Sources, Terminal, example, load, reference,
};
use std::path::{Path, PathBuf};

/// A directory holding a `purkinje.toml` and sources that read it.
struct Setup {
    dir: tempfile::TempDir,
    sources: Sources,
}

fn setup(text: &str) -> Setup {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("purkinje.toml");
    std::fs::write(&path, text).expect("a written file");
    Setup { dir, sources: sources(Some(path)) }
}

fn sources(path: Option<PathBuf>) -> Sources {
    Sources { config_path: path, env: vec![], sets: vec![], search: vec![] }
}

impl Setup {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.sources.sets.push((name.to_owned(), value.to_owned()));
        self
    }

    fn write(self, name: &str, text: &str) -> Self {
        std::fs::write(self.dir.path().join(name), text).expect("a written file");
        self
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load(&self.sources)
    }

    /// The lines of the refusal, with the directory's name taken out.
    fn refusal(&self) -> Vec<String> {
        let text = self.load().expect_err("expected a refusal").to_string();
        text.replace(&self.file(""), "").lines().map(str::to_owned).collect()
    }
}

#[test]
fn without_any_source_the_defaults_are_complete_and_their_origin_is_default() {
    let loaded = load(&sources(None)).unwrap();
    assert_eq!(loaded.file, None);
    assert_eq!(loaded.config.cycle.period_ms, 100);
    assert_eq!(loaded.config.terminal, Terminal::Auto);
    assert_eq!(loaded.config.pipeline.engine_wait, EngineWait::Park);
    assert_eq!(loaded.config.pipeline.engine_core, None);
    assert_eq!(loaded.config.kafka.topic_prefix, "purkinje");
    assert_eq!(loaded.origins["cycle.period_ms"], Origin::Default);
    assert_eq!(loaded.config.feed.preset, "simulated");
    assert!(loaded.feed.is_embedded() && loaded.feed.instruments.is_empty());
    let names = ["SIMA", "SIMB", "SIMC", "SIMD", "SIME", "SIMF"];
    assert_eq!(loaded.config.simulator.symbol_list(), names);
    assert_eq!(loaded.strategy.horizon_ms, 1000);
    assert_eq!(loaded.strategy.thresholds.buy_value, 0.6);
    assert_eq!(loaded.origins["feed.venue"].to_string(), "builtin:feeds/simulated.toml:3");
}

#[test]
fn each_layer_overrides_the_weaker_ones_and_is_named_as_the_origin() {
    let preset = "ttl_ms = 4000\nhorizon_ms = 2000\nmax_signals_per_s = 3\n";
    let text = "[strategy]\npreset = \"mine.toml\"\nttl_ms = 3000\nhorizon_ms = 3000\n[run]\n\
                duration_s = 7\n";
    let setup = setup(text)
        .write("mine.toml", preset)
        .env("PURKINJE_STRATEGY_HORIZON_MS", "4000")
        .env("PURKINJE_CYCLE_PERIOD_MS", "200")
        .set("cycle.period_ms", "400")
        .set("cycle.period_ms", "500");
    let loaded = setup.load().unwrap();
    let strategy = &loaded.strategy;
    assert_eq!((strategy.max_signals_per_s, strategy.ttl_ms, strategy.horizon_ms), (3, 3000, 4000));
    assert_eq!((loaded.config.cycle.period_ms, loaded.config.run.duration_s), (500, 7));
    let origin = |key: &str| loaded.origins[key].to_string().replace(&setup.file(""), "");
    assert_eq!(origin("strategy.thresholds.confidence"), "default");
    assert_eq!(origin("strategy.max_signals_per_s"), "mine.toml:3");
    assert_eq!(origin("strategy.ttl_ms"), "purkinje.toml:3");
    assert_eq!(origin("strategy.horizon_ms"), "env PURKINJE_STRATEGY_HORIZON_MS");
    assert_eq!(origin("cycle.period_ms"), "flag");
    assert_eq!(loaded.config.strategy.preset, setup.file("mine.toml"), "relative to its file");
}

#[test]
fn a_preset_is_chosen_by_its_short_form_in_every_layer() {
    let loaded = setup("feed = \"binance-spot\"\nstrategy = \"conservative\"\n").load().unwrap();
    assert_eq!(loaded.feed.venue, "binance-spot");
    assert_eq!(loaded.strategy.thresholds.confidence, 0.8);
    assert!(loaded.origins["feed.preset"].to_string().ends_with("purkinje.toml:1"));
    let setup = setup("").env("PURKINJE_FEED", "binance-coinm").set("strategy", "conservative");
    let loaded = setup.load().unwrap();
    assert_eq!(loaded.feed.instruments[0].symbol, "BTCUSD_PERP");
    assert_eq!(loaded.strategy.max_signals_per_s, 1);
}

#[test]
fn a_list_is_given_as_toml_or_separated_by_commas() {
    for text in ["logistic,persistence", "[\"logistic\", 'persistence']", " logistic , persistence"]
    {
        let loaded = setup("").set("strategy.members", text).load().unwrap();
        assert_eq!(loaded.strategy.members.len(), 2, "{text}");
    }
    let set = "[{symbol='SIMC', price_decimals=2, qty_decimals=3}]";
    let loaded = setup("").set("feed.instruments", set).load().unwrap();
    assert_eq!(loaded.feed.instruments[0].symbol, "SIMC");
}

#[test]
fn every_kind_of_mistake_is_refused_with_place_key_value_and_expectation() {
    let cases = [
        (
            "[cycle]\nperid_ms = 5",
            "purkinje.toml:2: cycle.perid_ms = 5: unknown key; did you mean cycle.period_ms?",
        ),
        (
            "[cicle]\nperiod_ms = 5",
            "cicle.period_ms = 5: unknown key; did you mean cycle.period_ms?",
        ),
        ("[wallpaper]\n", "purkinje.toml:1: wallpaper = "),
        (
            "[cycle]\n\nperiod_ms = 5",
            "purkinje.toml:3: cycle.period_ms = 5: expected an integer from 10 to 10000 (ms)",
        ),
        (
            "cycle.period_ms = \"100\"",
            "purkinje.toml:1: cycle.period_ms = \"100\": expected an integer from 10 to 10000 (ms)",
        ),
        ("cycle.period_ms = 99999999999999999999", "= 99999999999999999999: expected an integer"),
        ("cycle = 5", "purkinje.toml:1: cycle = 5: expected a section, [cycle]"),
        (
            "terminal = 'loud'",
            "terminal = 'loud': expected one of \"auto\", \"table\", \"lines\" or \"off\"",
        ),
        ("[simulator]\nstrength = nan", "simulator.strength = nan: expected a number from 0 to 20"),
        (
            "[kafka]\ntopic_prefix = ''",
            "kafka.topic_prefix = '': expected a text of at most 4096 bytes",
        ),
        ("[record]\ndir = 2026-11-20", "record.dir = 2026-11-20: expected a path"),
        (
            "[feed]\nws_url = 'http://x'",
            "feed.ws_url = 'http://x': expected an address that begins with ws:// or wss:// or \"\"",
        ),
        ("[strategy]\nmembers = []", "strategy.members = []: expected a list of 1 to 4"),
        (
            "[strategy]\nmembers = ['logistic', 'logistic']",
            "strategy.members = 'logistic': expected each value once",
        ),
        (
            "[simulator]\nsymbols = ['A_B', 'C']\ninstruments = 2",
            "simulator.symbols = 'A_B': expected a list of 0 to 64 distinct values, each a symbol \
             of 1 to 20 characters A-Z or 0-9",
        ),
        (
            "[strategy]\npreset = 'conservativ'",
            "strategy.preset = \"conservativ\": expected \"default\" or \"conservative\" or the \
             path of a .toml file; did you mean conservative?",
        ),
        ("[feed]\npreset = 'no.toml'", "no.toml\": expected \"simulated\", \"binance-spot\", "),
        (
            "[strategy.thresholds]\nsell_value = 0.7",
            "purkinje.toml:2: strategy.thresholds.sell_value = 0.7 conflicts with \
             strategy.thresholds.buy_value = 0.6 (builtin:strategies/default.toml:10): expected \
             sell_value below buy_value",
        ),
        ("[cycle]\nperiod_ms = 1_0 0", "purkinje.toml:2:"),
    ];
    for (text, expected) in cases {
        let refusal = setup(text).refusal();
        assert!(refusal.iter().any(|line| line.contains(expected)), "{text}: {refusal:#?}");
    }
}

#[test]
fn variables_and_flags_are_refused_like_files() {
    let setup = setup("")
        .env("PURKINJE_CYCLE_PERIOD_MS", "fast")
        .env("PURKINJE_CYCEL_PERIOD_MS", "100")
        .env("HOME", "/nowhere")
        .env("PURKINJE_PORT_9092_TCP", "tcp://10.0.0.1:9092")
        .set("kafka.modes", "x")
        .set("pipeline.ring_items", "1");
    let expected = [
        "env PURKINJE_CYCEL_PERIOD_MS: PURKINJE_CYCEL_PERIOD_MS = \"100\": unknown key; did you \
         mean PURKINJE_CYCLE_PERIOD_MS?",
        "flag: kafka.modes = \"x\": unknown key; did you mean kafka.mode?",
        "env PURKINJE_CYCLE_PERIOD_MS: cycle.period_ms = \"fast\": expected an integer from 10 to \
         10000 (ms)",
        "flag: pipeline.ring_items = 1: expected an integer from 1024 to 16777216 (events)",
    ];
    assert_eq!(setup.refusal(), expected, "and nothing else");
}

#[test]
fn all_problems_of_all_documents_are_reported_at_once_and_hidden_values_too() {
    let setup =
        setup("[cycle]\nperiod_ms = 1\n[feed]\npreset = 'f.toml'\n[strategy]\nttl_ms = 0\n")
            .write("f.toml", "venu = 'binance-spot'\nsnapshot_limit = 'all'\n")
            .set("cycle.period_ms", "100")
            .set("journal.max_mb", "0");
    let expected = [
        "purkinje.toml:2: cycle.period_ms = 1: expected an integer from 10 to 10000 (ms)",
        "flag: journal.max_mb = 0: expected an integer from 1 to 1048576 (MiB)",
        "f.toml:1: venu = 'binance-spot': unknown key; did you mean venue?",
        "feed preset: feed.venue is missing: expected one of \"binance-spot\", \"binance-usdm\", \
         \"binance-coinm\", \"coinbase-advanced\", \"coinbase-exchange\", \"kraken\", \"bybit-spot\", \
         \"bybit-linear\", \"okx\", \"bitstamp\" or \"deribit\"",
        "f.toml:2: snapshot_limit = 'all': expected an integer from 5 to 20000 (levels)",
        "purkinje.toml:6: strategy.ttl_ms = 0: expected an integer from 10 to 600000 (ms)",
    ];
    assert_eq!(setup.refusal(), expected);
}

#[test]
fn instruments_are_checked_one_by_one_with_the_line_of_each() {
    let preset = "venue = 'binance-spot'\nws_url = 'wss://h'\nrest_url = 'https://h'\n\
                  [[instruments]]\nsymbol = 'BTCUSDT'\nprice_decimals = 2\nqty_decimals = 5\n\
                  [[instruments]]\nsymbol = 'btc usd'\nprice_decimals = 16\nqty = 5\n\
                  [[instruments]]\nsymbol = 'BTCUSDT'\nprice_decimals = 2\nqty_decimals = 5\n";
    let refusal = setup("feed = 'f.toml'").write("f.toml", preset).refusal();
    let expected = [
        "f.toml:10: instruments[1].price_decimals = 16: expected an integer from 0 to 15",
        "f.toml:11: instruments[1].qty = 5: unknown key",
        "f.toml:9: instruments[1].symbol = 'btc usd': expected a symbol of 1 to 48 characters",
        "instruments[1].qty_decimals is missing: expected an integer from 0 to 15",
        "f.toml:13: instruments[2].symbol = 'BTCUSDT': expected each symbol once; it stands at \
         f.toml:5",
    ];
    assert_eq!(refusal.len(), expected.len(), "{refusal:#?}");
    for piece in expected {
        assert!(refusal.iter().any(|line| line.contains(piece)), "{piece}: {refusal:#?}");
    }
}

#[test]
fn a_preset_file_cannot_reach_outside_its_document() {
    let setup =
        setup("strategy = 's.toml'").write("s.toml", "preset = 'x'\n[cycle]\nperiod_ms = 1");
    let refusal = setup.refusal();
    assert!(refusal[0].starts_with("s.toml:1: preset = 'x': unknown key"), "{refusal:#?}");
    assert!(refusal[1].starts_with("s.toml:3: cycle.period_ms = 1: unknown key"), "{refusal:#?}");
}

#[test]
fn the_file_is_the_flag_then_the_variable_then_the_first_that_exists() {
    let setup = setup("run.duration_s = 1").write("b.toml", "run.duration_s = 2");
    let (a, b) = (setup.file("purkinje.toml"), setup.file("b.toml"));
    let read = |config_path: Option<&str>, variable: Option<&str>, search: &[&str]| {
        let loaded = load(&Sources {
            config_path: config_path.map(PathBuf::from),
            env: variable
                .map(|v| ("PURKINJE_CONFIG".to_owned(), v.to_owned()))
                .into_iter()
                .collect(),
            sets: vec![],
            search: search.iter().map(PathBuf::from).collect(),
        });
        loaded.map(|loaded| loaded.config.run.duration_s)
    };
    assert_eq!(read(Some(&a), Some(&b), &[&b]), Ok(1));
    assert_eq!(read(None, Some(&b), &[&a]), Ok(2));
    assert_eq!(read(None, None, &["/nonexistent/x.toml", &b, &a]), Ok(2));
    assert_eq!(read(None, None, &["/nonexistent/x.toml"]), Ok(0));
    for missing in
        [read(Some("/nonexistent/x.toml"), None, &[&a]), read(None, Some("/none"), &[&a])]
    {
        let text = missing.unwrap_err().to_string();
        assert!(text.contains("expected a readable configuration file"), "{text}");
    }
}

#[test]
fn a_file_of_nothing_but_unknown_names_is_refused_whole() {
    let text: Vec<_> = (0..20_000).map(|i| format!("[cycle{i}]\nperiod_ms = 1")).collect();
    let refusal = setup(&text.join("\n")).refusal();
    assert_eq!(refusal.len(), 20_000);
    assert!(refusal[0].ends_with("did you mean cycle.period_ms?"), "{}", refusal[0]);
    assert!(refusal[19_999].ends_with("cycle19999.period_ms = 1: unknown key"));
    let names: Vec<_> = (0..50_000).map(|i| format!("'{i}'")).collect();
    let refusal = setup(&format!("strategy.features = [{}]", names.join(","))).refusal();
    assert_eq!(refusal.len(), 1);
    assert!(refusal[0].contains("a list of 1 to 1024 distinct values"), "{}", refusal[0]);
}

#[test]
fn a_file_that_is_too_large_or_not_text_is_refused() {
    let setup = setup("").write("big.toml", &"#".repeat((1 << 20) + 1));
    let text = load(&sources(Some(setup.file("big.toml").into()))).unwrap_err().to_string();
    assert!(text.contains("1048577 bytes, expected at most 1048576"), "{text}");
    std::fs::write(setup.file("bin.toml"), b"a = \"\xff\"").unwrap();
    let problems = load(&sources(Some(setup.file("bin.toml").into()))).unwrap_err();
    assert!(matches!(problems.0[..], [Problem::Unreadable { .. }]), "{problems}");
}

/// Loads what `show` printed as a file of its own.
fn reload(shown: &str) -> Loaded {
    setup(shown).load().unwrap_or_else(|problems| panic!("{problems}\n{shown}"))
}

#[test]
fn the_dump_loads_back_to_the_same_configuration_for_every_preset() {
    for feed in ["simulated", "binance-spot", "binance-usdm", "binance-coinm"] {
        let setup = setup("")
            .set("feed", feed)
            .set("record.dir", "a\\b \"c\" é#")
            .set("simulator.strength", "0.1");
        let loaded = setup.load().unwrap();
        let again = reload(&loaded.show());
        assert_eq!(loaded.config, again.config);
        assert_eq!((&loaded.feed, &loaded.strategy), (&again.feed, &again.strategy));
        assert_eq!(loaded.hash(), again.hash());
        let every = again.origins.values().all(|o| matches!(o, Origin::File { .. }));
        assert!(every, "the dump gives every key");
    }
}

#[test]
fn the_dump_names_the_origin_of_each_value_on_its_line() {
    let setup = setup("[cycle]\nperiod_ms = 200\n").env("PURKINJE_KAFKA_BROKERS", "h:9092");
    let shown = setup.load().unwrap().show().replace(&setup.file(""), "");
    for line in [
        "terminal = \"auto\"  # default",
        "period_ms = 200  # purkinje.toml:2",
        "brokers = \"h:9092\"  # env PURKINJE_KAFKA_BROKERS",
        "buy_value = 0.6  # builtin:strategies/default.toml:10",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
}

#[test]
fn the_hash_follows_what_can_change_signals_and_nothing_else() {
    let hash = |key: &str, value: &str| setup("").set(key, value).load().unwrap().hash();
    let base = setup("").load().unwrap().hash();
    for (key, value) in [
        ("terminal", "off"),
        ("pipeline.engine_core", "1"),
        ("journal.path", "x"),
        ("record.dir", "x"),
        ("kafka.brokers", "x"),
        ("cycle.period_ms", "100"),
    ] {
        assert_eq!(hash(key, value), base, "{key}");
    }
    let mut seen = vec![base];
    for (key, value) in [
        ("cycle.period_ms", "200"),
        ("strategy.horizon_ms", "2000"),
        ("strategy.members", "logistic"),
        ("strategy.thresholds.buy_value", "0.61"),
        ("strategy.cerebellum.seed", "2"),
        ("pipeline.stale_after_ms", "2999"),
        ("feed.instruments", "[{symbol='SIMA',price_decimals=2,qty_decimals=3}]"),
    ] {
        let changed = hash(key, value);
        assert!(!seen.contains(&changed), "{key}");
        seen.push(changed);
    }
}

#[test]
fn features_are_selected_by_name_and_unknown_ones_are_refused() {
    let known = ["spread", "imbalance", "volume"];
    assert_eq!(setup("").load().unwrap().select_features(&known), Ok(vec![0, 1, 2]));
    let loaded = setup("[strategy]\nfeatures = ['volume', 'spread']").load().unwrap();
    assert_eq!(loaded.select_features(&known), Ok(vec![2, 0]));
    let setup = setup("[strategy]\nfeatures = ['volum', 'spread', 'x']");
    let text = setup.load().unwrap().select_features(&known).unwrap_err().to_string();
    let text = text.replace(&setup.file(""), "");
    assert_eq!(
        text,
        "purkinje.toml:2: strategy.features = \"volum\": expected \"all\" or known names; did you \
         mean volume?\npurkinje.toml:2: strategy.features = \"x\": expected \"all\" or known names"
    );
}

#[test]
fn what_another_file_changes_is_told_key_by_key_with_what_it_takes() {
    let old =
        setup("[strategy.thresholds]\nconfidence = 0.8\n[run]\nduration_s = 7\n").load().unwrap();
    let same = setup("[strategy.thresholds]\nconfidence = 0.80\n").set("run.duration_s", "7");
    assert_eq!(
        old.changes_to(&same.load().unwrap()),
        [],
        "where a value comes from does not count"
    );
    let new = setup("[strategy]\nmax_signals_per_s = 3\n[run]\nduration_s = 8\n").load().unwrap();
    let told: Vec<_> = old
        .changes_to(&new)
        .into_iter()
        .map(|change| (change.to_string(), change.is_live))
        .collect();
    let expected = [
        ("run.duration_s = 8 (was 7)", false),
        ("strategy.max_signals_per_s = 3 (was 10)", true),
        ("strategy.thresholds.confidence = 0.7 (was 0.8)", true),
    ];
    assert_eq!(told, expected.map(|(text, is_live)| (text.to_owned(), is_live)));
}

#[test]
fn what_is_loaded_again_is_read_from_the_same_file_which_must_still_exist() {
    let setup = setup("[run]\nduration_s = 7\n").set("report.warmup_s", "9");
    let sources = Sources {
        config_path: None,
        search: vec![setup.file("absent.toml").into(), setup.file("purkinje.toml").into()],
        ..setup.sources.clone()
    };
    let loaded = load(&sources).unwrap();
    let setup = setup.write("purkinje.toml", "[run]\nduration_s = 8\n");
    let setup = setup.write("absent.toml", "[run]\nduration_s = 1\n");
    let again = loaded.load_again().unwrap();
    assert_eq!((again.config.run.duration_s, again.config.report.warmup_s), (8, 9));
    std::fs::remove_file(setup.file("purkinje.toml")).unwrap();
    let refusal = loaded.load_again().unwrap_err().to_string();
    assert!(refusal.contains("purkinje.toml"), "{refusal}");
}

#[test]
fn the_shipped_example_file_is_the_generated_one_and_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/purkinje.toml");
    let shipped = std::fs::read_to_string(&path).unwrap();
    assert!(shipped == example(), "systemd/purkinje.toml differs from `config example`");
    assert_eq!(load(&sources(Some(path))).unwrap().hash(), load(&sources(None)).unwrap().hash());
}

#[test]
fn the_reference_has_a_row_of_five_cells_for_every_key() {
    let loaded = load(&sources(None)).unwrap();
    let text = reference();
    for path in loaded.origins.keys() {
        let variable = format!("`{}`", purkinje::config::env_name(path));
        let row = text.lines().find(|line| line.contains(&variable));
        let row = row.unwrap_or_else(|| panic!("no row for {path}"));
        assert_eq!(row.matches(" | ").count(), 4, "{row}");
    }
    assert!(text.contains("| `instruments[].price_decimals` | required |"));
}

/// Digits after the point that carry a value, over every `["price","qty"]` pair in `text`.
fn most_decimals(text: &str) -> (usize, usize, usize) {
    let decimals = |number: &str| {
        number.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len())
    };
    let mut most = (0, 0, 0);
    for piece in text.split("[\"").skip(1) {
        let Some((price, rest)) = piece.split_once("\",\"") else {
            continue;
        };
        let Some((qty, _)) = rest.split_once('"') else {
            continue;
        };
        most = (most.0 + 1, most.1.max(decimals(price)), most.2.max(decimals(qty)));
    }
    most
}

#[test]
fn the_decimals_of_shipped_presets_hold_every_price_and_size_of_recorded_books() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/ws_captures/hftbacktest");
    let recordings = [
        ("binance-spot", "BTCUSDT", "spot/btcusdt_20240808.gz"),
        ("binance-spot", "ETHUSDT", "spot/ethusdt_20240808.gz"),
        ("binance-usdm", "BTCUSDT", "usdm/btcusdt_20240808.gz"),
        ("binance-usdm", "ETHUSDT", "usdm/ethusdt_20240808.gz"),
        ("binance-coinm", "BTCUSD_PERP", "cm/btcusd_perp_20240808.gz"),
    ];
    for (preset, symbol, name) in recordings {
        let path = Path::new(folder).join(name);
        if !path.exists() {
            println!("skipped: no {}", path.display());
            continue;
        }
        let output = std::process::Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
        let (pairs, price, qty) = most_decimals(&String::from_utf8_lossy(&output.stdout));
        assert!(pairs > 1_000, "{name}: {pairs} levels");
        let loaded = setup("").set("feed", preset).load().unwrap();
        let instrument = loaded.feed.instruments.iter().find(|i| i.symbol == symbol).unwrap();
        println!("{name}: {pairs} levels, decimals of price {price}, of quantity {qty}");
        assert!(price <= usize::from(instrument.price_decimals), "{name}: price {price}");
        assert!(qty <= usize::from(instrument.qty_decimals), "{name}: quantity {qty}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn arbitrary_text_is_refused_or_loads_but_never_panics(text in "\\PC{0,200}") {
        if let Err(problems) = setup(&text).load() {
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn text_made_of_toml_pieces_never_panics_and_a_dump_of_it_loads_back(
        pieces in proptest::collection::vec(piece(), 0..12)
    ) {
        match setup(&pieces.concat()).load() {
            Ok(loaded) => prop_assert_eq!(reload(&loaded.show()).hash(), loaded.hash()),
            Err(problems) => {
                let internal = problems.0.iter().any(|p| matches!(p, Problem::Internal(_)));
                prop_assert!(!internal, "{}", problems);
            }
        }
    }

    #[test]
    fn arbitrary_flags_and_variables_never_panic(
        key in "(cycle|feed|strategy|simulator|[a-z]{1,8})(\\.[a-z_]{1,12}){0,2}",
        value in "\\PC{0,40}",
    ) {
        let variable = purkinje::config::env_name(&key);
        let _ = setup("").set(&key, &value).env(&variable, &value).load();
        for key in ["strategy.features", "feed.instruments", "kafka.topic_prefix", "simulator.strength"] {
            let _ = setup("").set(key, &value).load();
        }
    }
}

/// Fragments that meet the checks more often than random letters do.
fn piece() -> impl Strategy<Value = String> {
    let fixed = [
        "[cycle]\n",
        "period_ms = 200\n",
        "[feed]\n",
        "preset = \"binance-usdm\"\n",
        "[[feed.instruments]]\n",
        "symbol = \"SIMA\"\n",
        "price_decimals = 2\n",
        "qty_decimals = 3\n",
        "[strategy]\n",
        "features = [\"a\", [1]]\n",
        "features = [\"a\\u0041b\"]\n",
        "members = {}\n",
        "ttl_ms = 1e3\n",
        "[strategy.thresholds]\n",
        "buy_value = 1\n",
        "sell_value = inf\n",
        "[kafka]\n",
        "brokers = '''a'''\n",
        "topic = \"\"\"\nx\"\"\"\n",
        "feed = 1\n",
        "instruments = [1, {}]\n",
        "[simulator]\n",
        "seed = 0xff\n",
        "symbols = 'A'\n",
        "instruments = 1\n",
        "\u{feff}",
        "\r\n",
        "[record]\n",
        "dir = \"\\u0001\"\n",
        "dir = 'x'\n",
        "level = 07:32:00\n",
    ];
    prop_oneof![
        8 => proptest::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        1 => "[a-z.]{1,6} = [0-9\\[\\]{}\",'=a-z]{0,8}\n",
    ]
}
