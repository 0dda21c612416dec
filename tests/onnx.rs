//! ONNX files as members of the ensemble: by our own kernels, by ONNX Runtime, or refused.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use mimalloc::MiMalloc;
use purkinje::{
    alloc::CountingAllocator,
    clock::Clock,
    config::Loaded,
    learning::network::Network,
    run::{
        live::{LiveOptions, live},
        spine::{forecaster, hex},
        stop::HangUp,
    },
};
use purkinje_strategies::features::NAMES;
use serde_json::Value;
use support::{is_state, journal, loaded, outlets, replayed};

#[global_allocator]
static ALLOCATOR: CountingAllocator<MiMalloc> = CountingAllocator(MiMalloc);

/// Features of the files in `kernels/tests/vectors/onnx`.
const FEATURES: usize = 6;

fn planted() -> Vec<PathBuf> {
    vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("replay-data/planted")]
}

fn bytes(name: &str) -> Vec<u8> {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::read(format!("{root}/kernels/tests/vectors/onnx/{name}.onnx")).unwrap()
}

/// ONNX Runtime's library, as `make test` fetches it; says so where it cannot be had.
fn library() -> Option<&'static str> {
    static LIBRARY: OnceLock<Option<String>> = OnceLock::new();
    let found = LIBRARY.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/onnx/library.sh");
        // Below it the build put these tests.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let output = Command::new(script).env("CARGO_TARGET_DIR", target).output().unwrap();
        let path = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| path.trim_end().to_owned())
    });
    if found.is_none() {
        eprintln!("skipped: tests/onnx/library.sh could not fetch ONNX Runtime");
    }
    found.as_deref()
}

fn description(cycle_ms: u32, onnx: &str) -> String {
    format!(
        "features = {:?}\nhorizon_ms = 1000\ncycle_ms = {cycle_ms}\n\n[onnx]\n{onnx}\n",
        &NAMES[..FEATURES]
    )
}

/// Folders of ONNX files.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, description: &str, model: &[u8]) -> PathBuf {
        let folder = self.0.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.toml"), description).unwrap();
        std::fs::write(folder.join("model.onnx"), model).unwrap();
        folder
    }

    fn of(&self, name: &str, file: &str, onnx: &str) -> PathBuf {
        self.write(name, &description(100, onnx), &bytes(file))
    }
}

fn with(networks: &[&Path], sets: &[(&str, &str)]) -> Loaded {
    let folders: Vec<String> =
        networks.iter().map(|folder| format!("\"{}\"", folder.display())).collect();
    let folders = format!("[{}]", folders.join(", "));
    let own =
        [("strategy.networks", folders.as_str()), ("strategy.cerebellum.granule_cells", "100")];
    loaded(&[&own, sets].concat())
}

/// What the members of these names said in a signal.
fn said(signal: &Value, names: [&str; 2]) -> [Option<f64>; 2] {
    let members = signal["members"].as_array().unwrap();
    names.map(|name| {
        let member = members.iter().find(|member| member["name"] == name).unwrap();
        member["value"].as_f64()
    })
}

#[test]
fn a_known_graph_says_the_same_from_our_kernels_as_from_onnx_runtime() {
    let Some(library) = library() else { return };
    let folders = Folders::new();
    let own = folders.of("own", "dense_norms_exported", "engine = \"kernels\"");
    let theirs = folders.of("theirs", "dense_norms_exported", "engine = \"onnx-runtime\"");
    let loaded = with(&[&own, &theirs], &[("strategy.onnx.library", library)]);
    let path = folders.0.path().join("journal");
    let report = replayed(&loaded, &planted(), Some(&path));
    let mut compared = 0;
    for signal in journal(&path).iter().filter(|line| !is_state(line)) {
        let [Some(own), Some(theirs)] = said(signal, ["own", "theirs"]) else { continue };
        assert!((own - theirs).abs() < 1e-4, "{signal}");
        compared += 1;
    }
    assert!(compared > 200, "{compared}");
    let text = report.text();
    assert!(text.contains("onnx                 theirs: ") && !text.contains("own: "), "{text}");
}

#[test]
fn a_graph_that_is_none_of_ours_is_a_member_by_onnx_runtime_and_replays_to_the_same_bytes() {
    let Some(library) = library() else { return };
    let folders = Folders::new();
    let network = folders.of("conv", "conv_traced", "");
    let lstm = folders.of("lstm", "lstm_traced", "");
    // So small a share that every cycle is over it: a replay counts and nothing else.
    let sets = [("strategy.onnx.library", library), ("strategy.onnx.cycle_share", "0.000001")];
    let loaded = with(&[&network, &lstm], &sets);
    let path = folders.0.path().join("journal");
    let report = replayed(&loaded, &planted(), Some(&path));
    let again = replayed(&loaded, &planted(), None);
    assert_eq!(hex(&report.spine.sink.0.sha256), hex(&again.spine.sink.0.sha256));
    assert!(report.spine.model.allocations.watched_cycles() > 100);
    assert_eq!(report.spine.model.allocations.allocations(), 0);

    let lines = journal(&path);
    let signals: Vec<_> = lines.iter().filter(|line| !is_state(line)).collect();
    let spoke = signals.iter().filter(|s| said(s, ["conv", "lstm"])[0].is_some()).count();
    assert!(spoke > 200, "{spoke}");
    // Before its window is full it has nothing to say; an LSTM of ours has.
    let first = signals.iter().find_map(|signal| match said(signal, ["conv", "lstm"]) {
        [conv, Some(_)] => Some(conv),
        _ => None,
    });
    assert_eq!(first, Some(None));
    let health: Vec<_> =
        report.spine.model.forecaster.networks().iter().map(Network::health).collect();
    let [Some(health), None] = health[..] else { panic!("{health:?}") };
    assert!(health.calls > 100 && health.over_budget > 100, "{health:?}");
    assert!(!health.is_asleep && health.failed + health.no_probability == 0, "{health:?}");

    // Another file, another model.
    folders.of("conv", "conv_one_row_traced", "");
    assert_ne!(replayed(&loaded, &planted(), None).model_version, report.model_version);
}

#[test]
fn a_live_run_asks_onnx_runtime() {
    let Some(library) = library() else { return };
    let folders = Folders::new();
    let network = folders.write("erf", &description(50, ""), &bytes("erf_traced"));
    let sets = [
        ("strategy.onnx.library", library),
        ("strategy.onnx.cycle_share", "1.0"),
        ("strategy.onnx.sleep_after_cycles", "1000"),
        ("strategy.normaliser_warm_up_cycles", "80"),
        ("cycle.period_ms", "50"),
        ("run.duration_s", "10"),
    ];
    let loaded = with(&[&network], &sets);
    let options = LiveOptions {
        outlets: outlets(Some(&folders.0.path().join("journal"))),
        stop: Arc::new(AtomicBool::new(false)),
        hang_up: HangUp::never(),
        control: folders.0.path().join("control"),
        http: None,
    };
    let report = live(&loaded, options).unwrap();
    let health = report.spine.model.forecaster.networks()[0].health().unwrap();
    assert!(health.calls > 0, "{}", report.text());
    assert_eq!((health.failed, health.no_probability, health.is_asleep), (0, 0, false));
    let lines = journal(&folders.0.path().join("journal"));
    let spoke = lines.iter().filter(|line| !is_state(line));
    assert!(spoke.filter(|signal| said(signal, ["erf", "logistic"])[0].is_some()).count() > 0);
}

#[test]
fn a_file_that_cannot_be_served_is_refused_with_the_reason() {
    let folders = Folders::new();
    let missing = "/nonexistent/libonnxruntime.so";
    let refusal = |folder: &Path, library: &str, clock: Clock, share: &str| {
        let sets = [("strategy.onnx.library", library), ("strategy.onnx.cycle_share", share)];
        match forecaster(&with(&[folder], &sets), 2, clock) {
            Ok(_) => panic!("{} was taken", folder.display()),
            Err(error) => error.to_string(),
        }
    };
    let of = |folder: &Path| refusal(folder, missing, Clock::Event, "0.25");
    let file = |name: &str, onnx: &str| of(&folders.of(name, name, onnx));
    let dense = bytes("dense_norms_traced");
    // A graph that says it has 2 GiB.
    let huge = [0x3a, 0x80, 0x80, 0x80, 0x80, 0x08];
    let torn = &dense[..dense.len() / 2];
    let both = format!(
        "{}\n[network]\nkind = \"feed-forward\"\ninputs = 6\noutputs = 1\n",
        description(100, "")
    );
    let wide = description(100, "").replace(&format!("{:?}, ", NAMES[0]), "");
    let mut told = vec![
        (file("conv_traced", ""), [missing, "Conv (/conv/Conv) is none of the known layers"]),
        (file("conv_one_row_traced", "engine = \"kernels\""), ["onnx.engine", "(/conv/Conv)"]),
        (file("dense_gelu_traced", ""), ["last layer = identity", "onnx.sigmoid = true"]),
        (file("dense_tanh_traced", "sigmoid = true"), ["onnx.sigmoid = true", "ends with"]),
        (file("lstm_two_traced", ""), ["numbers = 2", "probability of a rise"]),
        (file("lstm_traced", "steps = 8"), ["onnx.steps = 8", "7, as the file has"]),
        (file("linear_traced", "steps = 8"), ["onnx.steps = 8", "a row is one step"]),
        (file("linear_exported", "step = 8"), ["model.toml", "step"]),
        (of(&folders.write("torn", &description(100, ""), torn)), ["torn/model.onnx", "cut"]),
        (
            of(&folders.write("huge", &description(100, ""), &huge)),
            ["huge/model.onnx: field 7: 2147483648 bytes", "0 are left"],
        ),
        (of(&folders.write("both", &both, &dense)), ["both/model.toml", "one of the tables"]),
        (
            of(&folders.write("neither", &description(100, "").replace("[onnx]", ""), &dense)),
            ["neither/model.toml", "[network] and [onnx]"],
        ),
        (
            of(&folders.write("wide", &wide, &dense)),
            ["the file's features = 6", "5, one for each of features"],
        ),
        (
            of(&folders.write("cycle", &description(50, ""), &dense)),
            ["cycle_ms = 50", "cycle.period_ms"],
        ),
    ];
    if let Some(library) = library() {
        let of =
            |name: &str, clock, share| refusal(&folders.of(name, name, ""), library, clock, share);
        told.push((of("custom", Clock::Event, "0.25"), ["ONNX Runtime: ", "Frobnicate"]));
        told.push((of("log", Clock::Event, "0.25"), ["expected a probability", "onnx.sigmoid"]));
        told.push((
            of("erf_traced", Clock::Wall, "0.000001"),
            ["too slow for the cycle: 1 calls of ", "99th percentile of 200"],
        ));
    }
    for (told, parts) in told {
        assert!(told.starts_with("strategy.networks: "), "{told}");
        assert!(parts.iter().all(|part| told.contains(part)), "{told:?} lacks one of {parts:?}");
    }
    // A logit whose sigmoid is asked for is a member.
    let logit = folders.of("logit", "dense_gelu_traced", "sigmoid = true");
    forecaster(&with(&[&logit], &[]), 2, Clock::Wall).unwrap();
}
