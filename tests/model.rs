//! `purkinje model` as a program: networks are listed, shown, timed and judged, and what does not fit is
//! refused by name and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::path::{Path, PathBuf};

use parquet::data_type::ByteArray;
use purkinje::{
    evaluation::{rows::Rows, streams::forecasts},
    files::sheet::{Cell, Sheet},
    learning::network::{Demands, Network},
    training::labelled_rows::{LabelColumn, LabelledRows},
};
use purkinje_kernels::rng::Key;
use purkinje_strategies::features::NAMES;
use support::{
    limit_file_size,
    networks::{Networks, safetensors},
    purkinje,
};

const CYCLE_NS: i64 = 100_000_000;

/// A working directory.
struct Bench(Networks);

/// What a command did.
struct Ran {
    status: i32,
    out: String,
    errors: String,
}

impl Bench {
    fn new() -> Self {
        Self(Networks::new())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.0.path().join(name)
    }

    fn network(&self, name: &str, description: &str, weights: &[u8]) -> PathBuf {
        self.0.write(name, description, weights)
    }

    /// A network that says P(up) = 1 / (1 + exp(-4 (|first input| - 0.8))).
    fn sees_magnitude(&self, name: &str) -> PathBuf {
        self.network(name, &description("hidden = [2]"), &magnitude_weights())
    }

    /// A network that says one half to everything.
    fn says_half(&self, name: &str) -> PathBuf {
        let weights =
            safetensors(&[("head.weight", &[1, 2], vec![0.0; 2]), ("head.bias", &[1], vec![0.0])]);
        self.network(name, &description("hidden = []"), &weights)
    }

    /// A data set in which the price rises where the first feature is large, of either sign.
    fn data(&self, name: &str) -> PathBuf {
        self.data_with(name, &NAMES[..2], "200", 3_000, |up| if up { 1 } else { -1 })
    }

    fn data_with(
        &self,
        name: &str,
        features: &[&str],
        horizon_ms: &str,
        cycles: u64,
        label: impl Fn(bool) -> i32,
    ) -> PathBuf {
        self.write_data(name, features, horizon_ms, cycles, label, None)
    }

    /// One row is missing: its cycle and instrument.
    fn data_without(&self, name: &str, cycles: u64, missing: (i64, &str)) -> PathBuf {
        self.write_data(name, &NAMES[..2], "200", cycles, i32::from, Some(missing))
    }

    fn write_data(
        &self,
        name: &str,
        features: &[&str],
        horizon_ms: &str,
        cycles: u64,
        label: impl Fn(bool) -> i32,
        missing: Option<(i64, &str)>,
    ) -> PathBuf {
        let columns: Vec<String> =
            features.iter().map(|name| format!("required float {name};")).collect();
        let schema = format!(
            "message dataset {{ required binary instrument (STRING); required int64 cycle;
             required int64 ts_cycle_ns; required int64 ts_label_ns; required int64 mid_x2;
             required double move_bps; required double mean_move_bps; required int32 label;
             required int32 mean_label; optional double oracle; {} }}",
            columns.join(" ")
        );
        let metadata = [
            ("purkinje.material", "planted rows".to_owned()),
            ("purkinje.horizon_ms", horizon_ms.to_owned()),
            ("purkinje.cycle_ms", "100".to_owned()),
        ];
        let mut sheet = Sheet::create(self.0.0.path(), name, &schema, &metadata).unwrap();
        let key = Key::new(11);
        for k in 0..2 * cycles {
            let (cycle, instrument) = ((k / 2) as i64 + 1, ["sim:A", "sim:B"][k as usize % 2]);
            if missing == Some((cycle, instrument)) {
                continue;
            }
            let inputs: Vec<f32> =
                (0..features.len() as u64).map(|input| key.fork(input).normal(k)).collect();
            let p_up = 1.0 / (1.0 + (-4.0 * (f64::from(inputs[0].abs()) - 0.8)).exp());
            let label = label(f64::from(key.fork(99).uniform(k)) < p_up);
            let head = [
                Cell::Text(ByteArray::from(instrument)),
                Cell::I64(cycle),
                Cell::I64(cycle * CYCLE_NS),
                Cell::I64((cycle + 2) * CYCLE_NS),
                Cell::I64(1_000 + cycle % 3),
                Cell::F64(f64::from(label)),
                Cell::F64(f64::from(label)),
                Cell::I32(label),
                Cell::I32(label),
                Cell::Null,
            ];
            sheet.push(head.into_iter().chain(inputs.into_iter().map(Cell::F32))).unwrap();
        }
        sheet.finish().unwrap().0
    }

    fn ran(&self, args: &[&str]) -> Ran {
        let output = purkinje(self.0.0.path()).arg("model").args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ran = Ran {
            status: output.status.code().unwrap(),
            out: text(&output.stdout),
            errors: text(&output.stderr),
        };
        println!("{args:?}: {}\n{}{}", ran.status, ran.out, ran.errors);
        ran
    }

    /// A command that cannot be carried out, and what it tells.
    fn refused(&self, args: &[&str], part: &str) {
        let ran = self.ran(args);
        assert_eq!(ran.status, 2);
        assert!(ran.errors.contains(part), "{part:?}: {}", ran.errors);
    }

    /// Few disturbed rows: that is what takes the time.
    fn validated(&self, folder: &Path, data: &Path) -> Ran {
        let (folder, data) = (folder.to_str().unwrap(), data.to_str().unwrap());
        self.ran(&["validate", folder, "--data", data, "--disturbed-rows", "600"])
    }
}

fn description(network: &str) -> String {
    format!(
        "features = [\"{}\", \"{}\"]\nhorizon_ms = 200\ncycle_ms = 100\n\n[network]\nkind = \"feed-forward\"\n\
         inputs = 2\noutputs = 1\noutput = \"sigmoid\"\n{network}\n",
        NAMES[0], NAMES[1]
    )
}

fn magnitude_weights() -> Vec<u8> {
    safetensors(&[
        ("layers.0.weight", &[2, 2], vec![1.0, 0.0, -1.0, 0.0]),
        ("layers.0.bias", &[2], vec![0.0; 2]),
        ("head.weight", &[1, 2], vec![4.0; 2]),
        ("head.bias", &[1], vec![-3.2]),
    ])
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The pictures of a page.
fn pictures(page: &str) -> Vec<roxmltree::Document<'_>> {
    let starts = page.match_indices("<svg ").map(|(at, _)| at);
    let ends = page.match_indices("</svg>").map(|(at, end)| at + end.len());
    starts
        .zip(ends)
        .map(|(from, to)| roxmltree::Document::parse(&page[from..to]).unwrap())
        .collect()
}

/// A card without the section that is measured.
fn without_latency(card: &str) -> String {
    let (head, rest) = card.split_once("## Latency and memory").unwrap();
    format!("{head}{}", rest.split_once("## Limits").unwrap().1)
}

/// The figure of a row of a text table, in its first column of figures.
fn figure(out: &str, row: &str) -> f64 {
    let line = out.lines().find(|line| line.starts_with(row)).unwrap();
    line[row.len()..].split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_network_that_sees_what_a_regression_cannot_has_skill_and_gets_a_card_and_a_page() {
    let bench = Bench::new();
    let folder = bench.sees_magnitude("magnitude-1");
    let data = bench.data("rows");
    let ran = bench.validated(&folder, &data);
    assert_eq!((ran.status, ran.errors.as_str()), (0, ""));
    assert!(ran.out.contains("magnitude-1 has skill"), "{}", ran.out);
    // Of the best forecaster: E[max(p, 1 - p)] with p = 1 / (1 + exp(-4 (|x| - 0.8))), x normal.
    let accuracy = figure(&ran.out, "accuracy, %");
    assert!((accuracy - 80.4).abs() < 3.0, "{accuracy}");
    assert!(figure(&ran.out, "calibration error (ECE), %") < 5.0);
    let names = ["card.md", "model.toml", "report.html", "weights.safetensors"];
    assert_eq!(files(&folder), names);
    let card = std::fs::read_to_string(folder.join("card.md")).unwrap();
    for section in [
        "# magnitude-1",
        "planted rows: 2 instruments",
        "## Figures beside baselines",
        "| base rate | persistence | logistic regression |",
        "## Calibration",
        "## Robustness",
        "noise of 0.5 sd",
        "25 % of inputs missing",
        "## Importance of inputs",
        "## Drift",
        "## Over time",
        "## Latency and memory",
        "## Limits",
    ] {
        assert!(card.contains(section), "{section:?} is not in {card}");
    }
    let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
    let titles = [
        "Reliability",
        "Confusion",
        "Log loss over the tested rows",
        "Gain under noise",
        "Gain with inputs missing",
        "Importance by permutation",
        "Inputs that moved most",
    ];
    let shown = pictures(&page);
    assert_eq!(shown.len(), titles.len());
    for (picture, title) in shown.iter().zip(titles) {
        let mut texts = picture.descendants().filter_map(|node| node.text());
        assert!(texts.any(|text| text.trim() == title), "no picture says {title:?}");
    }
    assert!(!page.contains("http://www.w3.org/1999/xlink"), "nothing is fetched");
    // The input that matters comes first, and noise does harm.
    let importance = card.split_once("## Importance of inputs").unwrap().1;
    let first = importance.lines().nth(6).unwrap();
    assert!(first.starts_with(&format!("| {} |", NAMES[0])), "{first}");
    let loss = |row: &str| {
        let line = card.lines().find(|line| line.starts_with(row)).unwrap();
        line.split('|').nth(3).unwrap().trim().parse::<f64>().unwrap()
    };
    assert!(loss("| noise of 1 sd") > loss("| none") + 0.1);
    assert!(loss("| 50 % of inputs missing") > loss("| none") + 0.05);
}

#[test]
fn the_same_folder_and_rows_give_the_same_page_and_card_but_for_latency() {
    let bench = Bench::new();
    let folder = bench.sees_magnitude("magnitude");
    std::fs::write(
        folder.join("history.csv"),
        "epoch,train_loss,validation_loss\n0,0.7,0.69\n1,0.6,0.6\n",
    )
    .unwrap();
    let data = bench.data("rows");
    let read = || {
        let card = std::fs::read_to_string(folder.join("card.md")).unwrap();
        (without_latency(&card), std::fs::read_to_string(folder.join("report.html")).unwrap())
    };
    assert_eq!(bench.validated(&folder, &data).status, 0);
    let first = read();
    assert_eq!(bench.validated(&folder, &data).status, 0);
    assert!(read() == first, "two validations of one network differ");
    let training = pictures(&first.1).len();
    assert_eq!(training, 8, "and the loss of its training");
}

#[test]
fn a_network_without_skill_is_told_so_with_the_baselines_it_does_not_beat() {
    let bench = Bench::new();
    let folder = bench.says_half("half");
    let skilled = bench.sees_magnitude("magnitude");
    let data = bench.data("rows");
    let ran = bench.validated(&folder, &data);
    assert_eq!(ran.status, 1);
    for part in ["half has no proven skill over: base rate, gain -", "logistic regression, gain -"]
    {
        assert!(ran.out.contains(part), "{part:?} is not in {}", ran.out);
    }
    assert!(
        std::fs::read_to_string(folder.join("card.md"))
            .unwrap()
            .contains("has no proven skill over")
    );
    // Of several the worst counts; times name the span as well as shares do; nothing is written.
    let [half, skilled, data] = [&folder, &skilled, &data].map(|path| path.to_str().unwrap());
    let span = ["--from", "1970-01-01T00:04:00Z", "--to", "1970-01-01T00:04:50Z"];
    let both = [&["validate", skilled, half, "--data", data, "--dry-run"], &span[..]].concat();
    let ran = bench.ran(&both);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.contains("magnitude has skill") && ran.out.contains("half has no proven skill")
    );
    assert!(ran.out.contains("1970-01-01T00:04:00.000Z  1970-01-01T00:04:49.900Z  1000"));
    assert_eq!(files(Path::new(skilled)), ["model.toml", "weights.safetensors"]);
}

#[test]
fn what_cannot_be_evaluated_is_refused_by_name_and_leaves_nothing() {
    let bench = Bench::new();
    let data = bench.data("rows");
    let good = magnitude_weights();
    let text = description("hidden = [2]");
    let network = |name: &str, weights: &[u8]| bench.network(name, &text, weights);
    let wide = safetensors(&[
        ("layers.0.weight", &[2, 3], vec![1.0; 6]),
        ("layers.0.bias", &[2], vec![0.0; 2]),
        ("head.weight", &[1, 2], vec![4.0; 2]),
        ("head.bias", &[1], vec![0.0]),
    ]);
    let nan = safetensors(&[
        ("layers.0.weight", &[2, 2], vec![1.0, f32::NAN, 0.0, 0.0]),
        ("layers.0.bias", &[2], vec![0.0; 2]),
        ("head.weight", &[1, 2], vec![4.0; 2]),
        ("head.bias", &[1], vec![0.0]),
    ]);
    let huge = [&(2_u64 << 30).to_le_bytes()[..], b"{}"].concat();
    let fine = network("fine", &good);
    let torn_rows = bench.path("torn.parquet");
    let whole = std::fs::read(&data).unwrap();
    std::fs::write(&torn_rows, &whole[..whole.len() / 2]).unwrap();
    let up_or_down = |up| if up { 1 } else { -1 };
    let lacking = bench.data_with("lacking", &NAMES[..1], "200", 50, up_or_down);
    let empty = bench.data_with("empty", &NAMES[..2], "200", 0, up_or_down);
    let one_class = bench.data_with("one-class", &NAMES[..2], "200", 500, i32::from);
    let other = bench.data_with("other", &NAMES[..2], "500", 500, up_or_down);
    let bad_history = network("bad-history", &good);
    std::fs::write(bad_history.join("history.csv"), "epoch,loss\n0,low\n").unwrap();
    for (folder, rows, parts) in [
        (bench.path("absent"), &data, ["absent/model.toml", "No such file"]),
        (network("shape", &wide), &data, ["shape/weights.safetensors: layers.0.weight", "[2, 3]"]),
        (network("nan", &nan), &data, ["nan/weights.safetensors: layers.0.weight[1]", "NaN"]),
        (network("torn", &good[..good.len() - 3]), &data, ["torn/weights.safetensors", "cut"]),
        (
            network("huge", &huge),
            &data,
            ["huge/weights.safetensors: the header's length", "2147483648"],
        ),
        (bad_history, &data, ["history.csv line 2", "\"low\""]),
        (fine.clone(), &bench.path("none.parquet"), ["none.parquet", "No such file"]),
        (fine.clone(), &torn_rows, ["torn.parquet", "not a whole Parquet file"]),
        (fine.clone(), &lacking, ["lacking.parquet", NAMES[1]]),
        (fine.clone(), &empty, ["empty.parquet", "empty"]),
        (fine.clone(), &one_class, ["one-class.parquet: column label", "0 down"]),
        (fine.clone(), &other, ["other.parquet", "horizon_ms = 200"]),
    ] {
        let ran = bench.validated(&folder, rows);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""));
        assert!(parts.iter().all(|part| ran.errors.contains(part)), "{parts:?}: {}", ran.errors);
        let is_written = |name: &str| folder.join(name).exists();
        assert!(!is_written("card.md") && !is_written("report.html"), "{}", folder.display());
    }
    let short = bench.data_with("short", &NAMES[..2], "200", 60, up_or_down);
    let [folder, data, short] = [&fine, &data, &short].map(|path| path.to_str().unwrap());
    let ran = bench.ran(&["validate", folder, "--data", short, "--dry-run"]);
    assert_eq!(ran.status, 1);
    assert!(ran.out.contains("fine has not been shown to have skill: 10 horizons of 200 ms"));
    for (more, part) in [
        (["--share", "1.5"], "share = 1.5"),
        (["--from", "2030-01-01T00:00:00Z"], "holds no rows"),
        (["--from", "1970-01-01T00:00:00Z"], "the earlier span has 0 rises"),
        (["--max-rows", "10"], "expected at most 10"),
        (["--from", "yesterday"], "\"yesterday\""),
    ] {
        bench.refused(&[&["validate", folder, "--data", data], &more[..]].concat(), part);
    }
    assert_eq!(files(&fine), ["model.toml", "weights.safetensors"]);
}

#[test]
fn a_stream_goes_on_from_row_to_row_and_begins_anew_where_a_cycle_is_missing() {
    let bench = Bench::new();
    let numbers = |seed: u64, len: u64| -> Vec<f32> {
        (0..len).map(|k| Key::new(seed).uniform(k) - 0.5).collect()
    };
    let weights = safetensors(&[
        ("lstm.weight_ih_l0", &[16, 2], numbers(1, 32)),
        ("lstm.weight_hh_l0", &[16, 4], numbers(2, 64)),
        ("lstm.bias_ih_l0", &[16], numbers(3, 16)),
        ("lstm.bias_hh_l0", &[16], numbers(4, 16)),
        ("head.weight", &[1, 4], numbers(5, 4)),
        ("head.bias", &[1], vec![0.0]),
    ]);
    let text = description("hidden = [4]\nsteps = 5").replace("feed-forward", "lstm");
    let folder = bench.network("lstm", &text, &weights);
    let demands = Demands { instruments: 2, horizon_ms: 200, cycle_ms: 100 };
    let mut network = Network::load(&folder, &demands).unwrap();
    let rows = |path: &Path| {
        let inputs = [NAMES[0].to_owned(), NAMES[1].to_owned()];
        let data = LabelledRows::read(path, &inputs, 1_000).unwrap();
        Rows::new(data, LabelColumn::Move)
    };
    let whole = rows(&bench.data_with("whole", &NAMES[..2], "200", 50, i32::from));
    let all = forecasts(&mut network, &whole, 0..100, |_, _| {});
    let later = forecasts(&mut network, &whole, 60..100, |_, _| {});
    assert_eq!(all.len(), 100);
    assert_ne!(all[60..], later[..], "what came before is remembered");
    let shown = forecasts(&mut network, &whole, 0..100, |row, inputs| {
        if row >= 80 {
            inputs.fill(9.0);
        }
    });
    assert_eq!((shown.len(), &shown[..80]), (100, &all[..80]), "nothing looks ahead");
    assert!(shown[80..].iter().zip(&all[80..]).all(|(changed, as_it_was)| changed != as_it_was));
    // Cycle 31 of the first instrument is missing: its rows from cycle 32 on are a stream of their own.
    let gap = rows(&bench.data_without("gap", 50, (31, "sim:A")));
    let found = forecasts(&mut network, &gap, 0..99, |_, _| {});
    let of = |rows: &Rows, answers: &[f64], instrument: u32, from: u64| -> Vec<f64> {
        let chosen = rows.rows().iter().zip(answers);
        chosen
            .filter(|(row, _)| row.instrument == instrument && row.cycle >= from)
            .map(|(_, answer)| *answer)
            .collect()
    };
    assert_eq!(of(&gap, &found, 1, 1), of(&whole, &all, 1, 1), "the other's goes on");
    let anew = forecasts(&mut network, &whole, 62..100, |_, _| {});
    let expected: Vec<f64> = anew.iter().step_by(2).copied().collect();
    assert_eq!(of(&gap, &found, 0, 32), expected);
}

#[test]
fn a_disk_that_refuses_leaves_the_files_of_before() {
    let bench = Bench::new();
    let folder = bench.sees_magnitude("magnitude");
    let data = bench.data("rows");
    assert_eq!(bench.validated(&folder, &data).status, 0);
    let page = std::fs::read(folder.join("report.html")).unwrap();
    let before = files(&folder);
    let mut command = purkinje(bench.0.0.path());
    command.args(["model", "validate"]).arg(&folder).arg("--data").arg(&data);
    limit_file_size(command.args(["--disturbed-rows", "0"]), 1_000);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("cannot write") && told.contains("magnitude"), "{told}");
    assert_eq!(files(&folder), before);
    assert_eq!(std::fs::read(folder.join("report.html")).unwrap(), page);
}

#[test]
fn networks_are_listed_with_their_problems() {
    let bench = Bench::new();
    bench.sees_magnitude("models/b-magnitude");
    bench.says_half("models/a-half");
    let ran = bench.ran(&["list"]);
    assert_eq!((ran.status, ran.errors.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> =
        ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 3);
    let (half, magnitude) = (&lines[1], &lines[2]);
    assert_eq!(half[..4], ["models/a-half", "feed-forward", "2", "3"]);
    assert_eq!(magnitude[..4], ["models/b-magnitude", "feed-forward", "2", "9"]);
    assert_eq!((half[5], half[6], half[8]), ("200", "100", "none"));
    assert_ne!(half[7], magnitude[7], "other weights, another hash");
    let torn = &magnitude_weights()[..100];
    bench.network("models/c-torn", &description("hidden = [2]"), torn);
    bench.network("models/d-words", "features = 7", torn);
    let ran = bench.ran(&["list", "models"]);
    assert_eq!(ran.status, 1);
    let problem = |name: &str| ran.out.lines().find(|line| line.contains(name)).unwrap();
    assert!(problem("c-torn").contains("weights.safetensors"), "{}", ran.out);
    assert!(problem("d-words").contains("model.toml"), "{}", ran.out);
    let ran = bench.ran(&["list", "models/a-half", "models/b-magnitude"]);
    assert_eq!((ran.status, ran.out.lines().count()), (0, 3));
    bench.refused(&["list", "elsewhere"], "elsewhere: No such file");
}

#[test]
fn a_network_is_shown_tensor_by_tensor() {
    let bench = Bench::new();
    bench.sees_magnitude("magnitude");
    let ran = bench.ran(&["show", "magnitude"]);
    assert_eq!(ran.status, 0);
    let cells = |name: &str| -> Vec<String> {
        let line = ran.out.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    let expected = ["head.weight", "[1,", "2]", "2", "5.6569", "4.0000", "4.0000", "4.0000"];
    assert_eq!(cells("head.weight"), expected);
    assert_eq!(cells("layers.0.weight")[4..], ["1.4142", "0.0000", "-1.0000", "1.0000"]);
    for part in ["horizon      200 ms", "parameters   9", "hidden = [2]", NAMES[1]] {
        assert!(ran.out.contains(part), "{part:?} is not in {}", ran.out);
    }
    bench.refused(&["show", "nowhere"], "nowhere/model.toml");
}

#[test]
fn a_step_is_timed_warm_and_cold_for_as_many_instruments_as_asked() {
    let bench = Bench::new();
    bench.sees_magnitude("magnitude");
    let few = ["--calls", "1000", "--cold-calls", "1000", "--instruments", "3"];
    let ran = bench.ran(&[&["bench", "magnitude"], &few[..]].concat());
    assert_eq!(ran.status, 0);
    assert!(ran.out.starts_with("3 instruments a step, "), "{}", ran.out);
    for row in ["step, warm", "step, cold caches", "the clock alone"] {
        let line = ran.out.lines().find(|line| line.starts_with(row)).unwrap();
        let figures: Vec<f64> =
            line[row.len()..].split_whitespace().map(|cell| cell.parse().unwrap()).collect();
        let [p50, p99, p999, calls] = figures[..] else { panic!("{line}") };
        assert!(p50 <= p99 && p99 <= p999 && p999 > 0.0 && calls == 1_000.0, "{line}");
    }
    for (args, part) in [
        (["bench", "nowhere", "--instruments", "1"], "nowhere/model.toml"),
        (["bench", "magnitude", "--instruments", "0"], "--instruments"),
        (["bench", "magnitude", "--calls", "10"], "--calls"),
    ] {
        bench.refused(&args, part);
    }
}
