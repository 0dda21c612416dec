//! A recorder that is killed and one whose disk is full, each in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use purkinje_feeds::recording::{
    Fsync, Record, RecordingReader, RecordingWriter, WriteError, WriterConfig,
};

use super::{SESSION, number_of, numbered, read_all, small};

/// Runs one test of this binary in a child process with `role` set, through a shell that first
/// executes `prologue`.
fn spawn_child(test: &str, role: &str, dir: &Path, prologue: &str) -> std::process::Child {
    Command::new("sh")
        .arg("-c")
        .arg(format!("{prologue} exec \"$0\" --exact {test} --nocapture --test-threads 1"))
        .arg(std::env::current_exe().unwrap())
        .env("RECORDING_CHILD", role)
        .env("RECORDING_DIR", dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn child_dir(role: &str) -> Option<PathBuf> {
    let is_child = std::env::var("RECORDING_CHILD").is_ok_and(|found| found == role);
    is_child.then(|| PathBuf::from(std::env::var_os("RECORDING_DIR").unwrap()))
}

#[test]
fn a_killed_recorder_leaves_every_flushed_block() {
    if let Some(dir) = child_dir("kill") {
        let config = WriterConfig { rotate_bytes: 64 << 10, fsync: Fsync::Never, ..small() };
        let mut writer = RecordingWriter::create(&dir, "s", config).unwrap();
        writer.append(&SESSION).unwrap();
        let mut scratch = Vec::new();
        for number in 0.. {
            writer.append(&numbered(number, 100, &mut scratch)).unwrap();
        }
    }
    for attempt in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let test = "crash::a_killed_recorder_leaves_every_flushed_block";
        let mut child = spawn_child(test, "kill", dir.path(), "");
        // Killed at varied sizes rather than at times: a busy machine changes nothing.
        let wanted = 40 << 10 << attempt;
        while dir_size(dir.path()) < wanted {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let mut reader = RecordingReader::open(dir.path()).unwrap();
        assert_eq!(reader.next().unwrap(), Some(SESSION));
        let mut next = 0;
        while let Some(record) = reader.next().unwrap() {
            assert_eq!(number_of(&record), Some(next));
            next += 1;
        }
        assert!(next > 200, "{next} records");
        assert_eq!(reader.stats().holes, 0);
        assert!(reader.warnings().len() <= 1, "{:?}", reader.warnings());
        println!("killed after {next} records, warnings {:?}", reader.warnings());
    }
}

fn dir_size(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|e| e.unwrap().metadata().map_or(0, |m| m.len())).sum()
}

#[test]
fn a_full_disk_is_told_waited_for_and_what_it_cost_is_recorded() {
    if let Some(dir) = child_dir("full") {
        record_through_a_full_disk(&dir);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "crash::a_full_disk_is_told_waited_for_and_what_it_cost_is_recorded";
    // A file-size limit refuses a write half-way just as a full disk does. The signal that comes
    // with it is ignored, so that the write fails instead.
    let prologue = "trap '' XFSZ; ulimit -S -f 64;";
    if Command::new("prlimit").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: no prlimit to lift the limit with");
        return;
    }
    assert!(spawn_child(test, "full", dir.path(), prologue).wait().unwrap().success());

    // The writer said how many it kept and lost; the recording must agree.
    let report = fs::read_to_string(dir.path().join("report")).unwrap();
    let said: Vec<u64> = report.split(' ').map(|n| n.parse().unwrap()).collect();
    let [kept_before, lost, lost_bytes, total] = said[..] else { panic!("{report}") };
    let mut reader = RecordingReader::open(dir.path()).unwrap();
    let (mut next, mut holes) = (0, 0);
    while let Some(record) = reader.next().unwrap() {
        if let Record::Hole { connection, records, bytes } = record {
            assert_eq!((connection, records, bytes), (1, lost, lost_bytes));
            assert_eq!(next, kept_before, "the hole stands where the records would have");
            next += records;
            holes += 1;
        } else if let Some(number) = number_of(&record) {
            assert_eq!(number, next);
            next += 1;
        }
    }
    assert_eq!((holes, next), (1, total));
    assert_eq!(reader.warnings(), &[]);
    assert!(reader.saw_end());
    println!("kept {kept_before} records, lost {lost}, total {total}");
}

/// Writes until the limit refuses, on until records are lost, lifts the limit and ends in order.
fn record_through_a_full_disk(dir: &Path) {
    let config = WriterConfig {
        block_bytes: 8 << 10,
        retain_bytes: 32 << 10,
        rotate_bytes: 1 << 30,
        ..WriterConfig::default()
    };
    let mut writer = RecordingWriter::create(dir, "s", config).unwrap();
    writer.append(&SESSION).unwrap();
    let mut scratch = Vec::new();
    let (mut number, mut refused) = (0, 0);
    while writer.stats().lost_records < 50 {
        match writer.append(&numbered(number, 200, &mut scratch)) {
            Ok(()) => {}
            Err(WriteError::Lost { .. }) => {
                // A short record would still fit, but what follows a lost one is lost as well.
                number += 1;
                let short = writer.append(&numbered(number, 0, &mut scratch));
                assert!(matches!(short, Err(WriteError::Lost { .. })));
            }
            Err(WriteError::Io { path, .. }) => {
                refused += 1;
                assert_eq!(path, writer.path());
                assert!(writer.is_stalled());
                // What is on disk is whole even now.
                let (read, reader) = read_all(RecordingReader::open(dir).unwrap());
                assert!(read.len() > 50);
                assert_eq!(reader.warnings(), &[]);
                assert!(matches!(writer.flush(), Err(WriteError::Io { .. })));
            }
            Err(error) => panic!("{error}"),
        }
        number += 1;
    }
    assert_eq!(refused, 1, "appends do not hammer a full disk");
    let stats = writer.stats();
    assert_eq!(stats.write_errors, 2);
    let kept_before = number - stats.lost_records;

    let pid = std::process::id().to_string();
    let lifted = Command::new("prlimit").args(["--fsize=unlimited", "--pid", &pid]).status();
    assert!(lifted.unwrap().success());
    writer.flush().unwrap();
    assert!(!writer.is_stalled());
    for _ in 0..100 {
        writer.append(&numbered(number, 200, &mut scratch)).unwrap();
        number += 1;
    }
    writer.append(&Record::End { ts_ns: 0, json: "{}" }).unwrap();
    writer.finish().unwrap();
    let (lost, lost_bytes) = (stats.lost_records, stats.lost_bytes);
    fs::write(dir.join("report"), format!("{kept_before} {lost} {lost_bytes} {number}")).unwrap();
}
