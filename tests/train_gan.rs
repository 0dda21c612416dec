//! `purkinje train gan` and `purkinje generate` as programs: paths have the columns of the data set and are
//! decided by their seed, a killed training goes on to the byte, and what cannot be trained or generated
//! leaves nothing behind.

#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

use parquet::{
    file::{reader::FileReader as _, serialized_reader::SerializedFileReader},
    record::Field,
};
use purkinje::{evaluation::history::HISTORY, training::gan::folder};
use purkinje_strategies::features::NAMES;
use support::{
    Daemon, purkinje,
    rows::{by_hand, by_hand_at, ran},
    wait_until,
};

const FEATURES: &str = "order_flow_100ms,order_flow_1s,queue_imbalance,spread";
const STEPS: usize = 8;

/// Writes `rows.parquet`.
fn dataset(dir: &Path) {
    let mut dataset = purkinje(dir);
    dataset.args(["dataset", "--simulate", "220", "--output", "rows.parquet"]);
    dataset.args(["--set", "simulator.instruments=2"]);
    assert!(ran(dataset).0.status.success());
}

fn train(dir: &Path, output: &str, more: &[&str]) -> Command {
    let mut command = purkinje(dir);
    command.args(["train", "gan", "rows.parquet", "--output", output]).args(more);
    if !more.contains(&"--test") {
        command.args(["--test", "0.25"]);
    }
    command
}

/// A small pair for four features, in a file.
fn small(dir: &Path, epochs: u32) -> String {
    let path = dir.join("small.toml");
    let sizes = "units = [16]\nnoise = 4\nwarm_up = 2\nchannels = [16]\nkernel = 3\nbatch = 128";
    let rates = "generator_rate = 0.002\ndiscriminator_rate = 0.004";
    let text = format!("features = 4\nepochs = {epochs}\n{sizes}\n{rates}\n");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The flags of a training on four features and windows of [`STEPS`].
fn flags<'a>(config: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["--config", config, "--features", FEATURES, "--window", "8"], more].concat()
}

fn generate(dir: &Path, folder: &str, paths: &str, seed: &str, output: &str) -> Command {
    let mut command = purkinje(dir);
    command.args(["generate", folder, "--paths", paths, "--seed", seed, "--output", output]);
    command
}

/// Names of the checkpoints in a folder.
fn checkpoints(folder: &Path) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(folder.join("checkpoints")) else { return Vec::new() };
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("step-")).collect();
    names.sort();
    names
}

/// What must not depend on where a training was broken.
fn result(folder: &Path) -> [Vec<u8>; 4] {
    [folder::DESCRIPTION, folder::WEIGHTS, HISTORY, folder::LIKENESS]
        .map(|name| std::fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")))
}

/// Path, step, features.
type Row = (i64, i32, Vec<f32>);

/// Columns of a file of paths, and its rows.
fn paths(path: &Path) -> (Vec<String>, Vec<Row>) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let names = schema.columns().iter().map(|column| column.name().to_owned()).collect();
    let row = |row: parquet::record::Row| {
        let mut fields = row.get_column_iter().map(|(_, field)| field);
        let (Some(Field::Long(path)), Some(Field::Int(step))) = (fields.next(), fields.next())
        else {
            panic!("{row:?}")
        };
        let value = |field: &Field| match field {
            Field::Float(value) => *value,
            other => panic!("{other:?}"),
        };
        (*path, *step, fields.map(value).collect())
    };
    (names, reader.get_row_iter(None).unwrap().map(|found| row(found.unwrap())).collect())
}

#[test]
fn a_trained_generator_writes_paths_with_the_columns_of_the_data_set() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path());
    let config = small(dir.path(), 30);
    let (run, out, _) = ran(train(dir.path(), "gan", &flags(&config, &[])));
    assert!(run.status.success());
    for part in [
        "of 8 cycles; ",
        "2 instruments, 4 features",
        "epochs        30\n",
        "losses        discriminator ",
        "unlike the test part",
        "windows told apart, %",
        "largest difference of correlations",
        "generator     gan\n",
    ] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    let folder = dir.path().join("gan");
    let history = std::fs::read_to_string(folder.join("history.csv")).unwrap();
    assert_eq!(history.lines().count(), 31, "{history}");
    assert_eq!(checkpoints(&folder).len(), 3, "the last ones");
    let likeness = std::fs::read_to_string(folder.join("likeness.json")).unwrap();
    let likeness: serde_json::Value = serde_json::from_str(&likeness).unwrap();
    assert_eq!(likeness["steps"], STEPS);
    let features = likeness["features"].as_array().unwrap();
    for (feature, name) in features.iter().zip(FEATURES.split(',')) {
        assert_eq!(feature["name"], name);
        for figure in ["mean", "deviation", "autocorrelation"] {
            for kind in ["test", "generated", "training"] {
                assert!(feature[figure][kind].as_f64().unwrap().is_finite(), "{feature}");
            }
        }
        // Learned, and in the units of the data.
        let of = |figure: &str, kind: &str| feature[figure][kind].as_f64().unwrap();
        let deviation = of("deviation", "training");
        let factor = of("deviation", "generated") / deviation;
        assert!((0.5..2.0).contains(&factor), "{feature}");
        let off = (of("mean", "generated") - of("mean", "training")) / deviation;
        assert!(off.abs() < 0.5, "{feature}");
    }
    for kind in ["generated", "training"] {
        let share = likeness["told_apart"][kind].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&share), "{likeness}");
    }

    let (run, out, _) = ran(generate(dir.path(), "gan", "130", "5", "made/paths.parquet"));
    assert!(run.status.success());
    let told = "made/paths.parquet: 130 paths of 8 steps of 100 ms, 4 features, like ";
    assert!(out.starts_with(told), "{out}");
    let (names, rows) = paths(&dir.path().join("made/paths.parquet"));
    assert_eq!(names.join(","), format!("path,step,{FEATURES}"));
    assert_eq!(rows.len(), 130 * STEPS);
    // As the library makes them, to the bit.
    let made = folder::read(&folder).unwrap().generator.paths(130, 5).unwrap();
    for ((at, (path, step, values)), expected) in rows.iter().enumerate().zip(made.chunks_exact(4))
    {
        assert_eq!((*path as usize, *step as usize), (at / STEPS, at % STEPS));
        assert!(values == expected && values.iter().all(|value| value.is_finite()), "row {at}");
    }
    let bytes = |paths: &str, seed: &str, name: &str| {
        assert!(ran(generate(dir.path(), "gan", paths, seed, name)).0.status.success());
        std::fs::read(dir.path().join(name)).unwrap()
    };
    let first = std::fs::read(dir.path().join("made/paths.parquet")).unwrap();
    assert!(bytes("130", "5", "same.parquet") == first);
    assert!(bytes("130", "6", "other.parquet") != first);
    bytes("65", "5", "fewer.parquet");
    assert!(paths(&dir.path().join("fewer.parquet")).1 == rows[..65 * STEPS]);

    // Nobody takes paths, which have no labels, for a data set.
    let mut network = purkinje(dir.path());
    network.args(["train", "network", "same.parquet", "--kind", "lstm", "--output", "lstm"]);
    let (run, _, errors) = ran(network);
    assert!(!run.status.success() && errors.contains("horizon_ms is missing"), "{errors}");

    let refused = |folder: &str, count: &str, output: &str, told: &str| {
        let (run, _, errors) = ran(generate(dir.path(), folder, count, "1", output));
        assert!(!run.status.success() && errors.contains(told), "{told:?} is not in {errors}");
    };
    let told = "paths = 1250001: expected 1 to 1250000: 10000000 rows of 8 steps a path";
    refused("gan", "1250001", "new/many.parquet", told);
    refused("gan", "0", "new/none.parquet", "paths = 0: expected 1 to");
    refused("gan", "5", "new/paths.csv", "new/paths.csv: expected a file named NAME.parquet");
    refused("nowhere", "5", "new/p.parquet", "nowhere/gan.toml: No such file");
    refused("gan", "5", "same.parquet", "same.parquet: exists already and is not overwritten");
    let weights = std::fs::read(folder.join("generator.safetensors")).unwrap();
    std::fs::write(folder.join("generator.safetensors"), &weights[..weights.len() - 9]).unwrap();
    refused("gan", "5", "new/p.parquet", "gan/generator.safetensors: weights: ");
    let description = std::fs::read_to_string(folder.join("gan.toml")).unwrap();
    std::fs::write(folder.join("gan.toml"), description.replace("spread", "spraed")).unwrap();
    refused("gan", "5", "new/p.parquet", "gan/gan.toml: features = \"spraed\": expected names");
    assert!(!dir.path().join("new").exists());
}

#[test]
fn a_killed_training_goes_on_to_the_bytes_of_an_unbroken_one() {
    let dir = tempfile::tempdir().unwrap();
    dataset(dir.path());
    let config = small(dir.path(), 25);
    let more = flags(&config, &["--seed", "3"]);
    let resumed = [&more[..], &["--resume"]].concat();
    let refused = |output: &str, more: &[&str], told: &str| {
        let (run, _, errors) = ran(train(dir.path(), output, more));
        assert!(!run.status.success() && errors.contains(told), "{told:?} is not in {errors}");
    };
    let (run, whole_text, _) = ran(train(dir.path(), "whole", &more));
    assert!(run.status.success());
    let whole = result(&dir.path().join("whole"));
    refused("whole", &more, "whole: has a training of 25 epochs: resume it or name another folder");

    let killed = dir.path().join("killed");
    let mut child = Daemon(train(dir.path(), "killed", &more).spawn().unwrap());
    wait_until("three epochs", || checkpoints(&killed).len() >= 3);
    // Stopped, so that it cannot end before it is killed.
    child.signal(libc::SIGSTOP);
    refused("killed", &resumed, "another process keeps its checkpoints here");
    child.signal(libc::SIGKILL);
    child.end();
    assert!(!killed.join("gan.toml").exists(), "killed in the middle");
    // The newest checkpoint is damaged: it is told, and the one before is used.
    let newest = checkpoints(&killed).pop().unwrap();
    let path = killed.join("checkpoints").join(&newest);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let (run, text, errors) = ran(train(dir.path(), "killed", &resumed));
    assert!(run.status.success());
    assert!(errors.contains(&format!("{newest}: truncated")), "{errors}");
    assert!(result(&killed) == whole);
    assert_eq!(text.replace("killed", "whole"), whole_text);

    let stopped = dir.path().join("stopped");
    let mut command = train(dir.path(), "stopped", &more);
    let mut child = Daemon(command.stdout(Stdio::piped()).spawn().unwrap());
    wait_until("an epoch", || !checkpoints(&stopped).is_empty());
    child.signal(libc::SIGINT);
    assert!(child.end().success());
    let mut text = String::new();
    child.0.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("--resume goes on") && !stopped.join("gan.toml").exists(), "{text}");
    assert!(ran(train(dir.path(), "stopped", &resumed)).0.status.success());
    assert!(result(&stopped) == whole);

    // Other settings and other rows are other trainings.
    refused("killed", &[&resumed[..], &["-n", "26"]].concat(), "gan.epochs is 25, expected 26");
    refused("killed", &[&resumed[..], &["--test", "0.3"]].concat(), "split.test is 0.25, expected");
    let shuffled = "order_flow_1s,order_flow_100ms,queue_imbalance,spread";
    let others =
        ["--config", &config, "--features", shuffled, "--window", "8", "--seed", "3", "--resume"];
    refused("killed", &others, "rows.features is ");
    refused("killed", &flags(&config, &["--seed", "4", "--resume"]), "gan.seed is 3, expected 4");
    assert!(result(&killed) == whole);

    assert!(ran(train(dir.path(), "other", &flags(&config, &["--seed", "4"]))).0.status.success());
    assert!(result(&dir.path().join("other"))[1] != whole[1], "the seed decides the weights");
}

#[test]
fn what_cannot_be_trained_is_refused_by_name_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let labels = [1; 3_000];
    let refused = |more: &[&str], told: &str| {
        let (run, _, errors) = ran(train(dir.path(), "gan", more));
        assert!(!run.status.success() && errors.contains(told), "{told:?} is not in {errors}");
        assert!(!dir.path().join("gan").exists(), "{told}: something is left");
    };
    refused(&[], "rows.parquet: No such file");
    std::fs::write(dir.path().join("rows.parquet"), "PAR1 is how a Parquet file begins").unwrap();
    refused(&[], "rows.parquet: not a whole Parquet file");
    by_hand(dir.path(), &[], 0.5);
    refused(&[], "rows.parquet: the data set is empty, expected at least one row");
    by_hand(dir.path(), &labels, f32::NAN);
    refused(&[], &format!("{} of row 2999 = NaN: expected a finite number", NAMES[0]));
    by_hand(dir.path(), &labels[..300], 0.5);
    refused(&[], "split: no rows are left for the test: 300 rows");
    // Every tenth cycle is missing.
    let cycles = (1..4_000).filter(|cycle| cycle % 10 != 0);
    by_hand_at(dir.path(), &cycles.map(|cycle| (cycle, 1)).collect::<Vec<_>>(), 0.5);
    refused(&["--window", "10"], "and a window of 10 steps, expected at least 1");
    by_hand(dir.path(), &labels, 0.5);
    // Of the 750 rows of the test, 300 and those of a window know what was before.
    refused(&["--window", "435"], "test windows: 16, expected 20 or more to judge likeness by");
    let config = dir.path().join("mine.toml");
    let name = config.to_str().unwrap();
    for (text, told) in [
        ("features = 56\nlearning_rate = 0.1", "unknown field `learning_rate`"),
        ("features = 4", "mine.toml: features = 4: expected 56, one for each of --features"),
        ("features = 56\nkernel = 1", "mine.toml: kernel = 1: expected 2 to 64"),
    ] {
        std::fs::write(&config, text).unwrap();
        refused(&["--config", name], told);
    }
    for (more, told) in [
        (&["--config", "none.toml"][..], "none.toml: No such file"),
        (&["--features", "spraed"], "features = \"spraed\""),
        (&["--features", "spread,spread"], "features = spread twice: expected each name once"),
        (&["--window", "1"], "steps = 1: expected 2 to 4096"),
        (&["--epochs", "0"], "epochs = 0: expected 1 to 100000"),
        (&["--keep", "0"], "keep_last = 0, expected 1 to 1000"),
        (&["--every", "0"], "every = 0: expected 1 to 100000"),
        (&["--test", "0"], "test = 0: expected above 0"),
        (&["--test", "1"], "test = 1, expected each in [0, 1)"),
        (&["--max-rows", "2999"], "3000 rows, expected at most 2999"),
    ] {
        refused(more, told);
    }
    // The folder of a network is left as it is.
    std::fs::create_dir(dir.path().join("lstm")).unwrap();
    std::fs::write(dir.path().join("lstm/model.toml"), "mine").unwrap();
    let (run, _, errors) = ran(train(dir.path(), "lstm", &["--epochs", "1"]));
    let told = "lstm/model.toml: is there already and is not overwritten";
    assert!(!run.status.success() && errors.contains(told), "{errors}");
    assert_eq!(std::fs::read_dir(dir.path().join("lstm")).unwrap().count(), 1);
}
