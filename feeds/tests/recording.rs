//! Recordings on real disks: rotation, damage of every kind, a full disk, `kill -9`, real data.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use purkinje_feeds::recording::{
    Command, NO_CONNECTION, ReadError, Record, RecordingReader, RecordingWriter, WriteError,
    WriterConfig, decode, encode,
};

#[path = "recording/crash.rs"]
mod crash;
#[path = "recording/damage.rs"]
mod damage;

const SESSION: Record<'static> = Record::SessionStart { json: r#"{"format":1,"instruments":[]}"# };

/// Small blocks and files, so that a few kilobytes of records exercise all seams.
fn small() -> WriterConfig {
    WriterConfig { block_bytes: 4 << 10, rotate_bytes: 4 << 10, ..WriterConfig::default() }
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = vec![0; record.encoded_len()];
    assert_eq!(encode(record, &mut bytes), Some(bytes.len()));
    bytes
}

/// A frame that carries its number and `len` bytes that do not compress.
fn numbered(number: u64, len: usize, scratch: &mut Vec<u8>) -> Record<'_> {
    scratch.clear();
    scratch.extend(number.to_le_bytes());
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        scratch.push(state as u8);
    }
    Record::Frame { connection: 1, ts_recv_ns: number as i64, bytes: scratch }
}

fn number_of(record: &Record<'_>) -> Option<u64> {
    match record {
        Record::Frame { bytes, .. } => bytes.first_chunk().map(|b| u64::from_le_bytes(*b)),
        _ => None,
    }
}

/// Writes the session start and `count` numbered frames; returns all records' bytes.
fn write_numbered(dir: &Path, config: WriterConfig, count: u64, len: usize) -> Vec<Vec<u8>> {
    let mut writer = RecordingWriter::create(dir, "s", config).unwrap();
    writer.append(&SESSION).unwrap();
    let mut all = vec![encoded(&SESSION)];
    let mut scratch = Vec::new();
    for number in 0..count {
        let record = numbered(number, len, &mut scratch);
        writer.append(&record).unwrap();
        all.push(encoded(&record));
    }
    writer.finish().unwrap();
    all
}

/// All records' bytes and the reader at its end.
fn read_all(mut reader: RecordingReader) -> (Vec<Vec<u8>>, RecordingReader) {
    let mut all = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        all.push(encoded(&record));
    }
    (all, reader)
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    let ids = || (any::<u8>(), any::<u32>(), any::<i64>());
    prop_oneof![
        "\\PC*".prop_map(|json| encoded(&Record::SessionStart { json: &json })),
        ids().prop_map(|(connection, generation, ts_recv_ns)| encoded(&Record::Connected {
            connection,
            generation,
            ts_recv_ns
        })),
        (ids(), "\\PC*").prop_map(|((connection, generation, ts_recv_ns), reason)| {
            encoded(&Record::Disconnected { connection, generation, ts_recv_ns, reason: &reason })
        }),
        (ids(), bytes()).prop_map(|((connection, _, ts_recv_ns), bytes)| encoded(&Record::Frame {
            connection,
            ts_recv_ns,
            bytes: &bytes
        })),
        (ids(), any::<u16>(), any::<u16>(), bytes()).prop_map(
            |((connection, generation, ts_recv_ns), instrument, status, bytes)| {
                let bytes = &bytes;
                encoded(&Record::Snapshot {
                    connection,
                    generation,
                    instrument,
                    status,
                    ts_recv_ns,
                    bytes,
                })
            }
        ),
        (any::<bool>(), any::<u64>(), ids()).prop_map(|(idle, offer, (connection, free, _))| {
            encoded(&Record::Conflation { connection, idle, offer, free })
        }),
        ids().prop_map(|(connection, items, _)| encoded(&Record::Consumed { connection, items })),
        (ids(), any::<u64>()).prop_map(|((_, missed, ts_cycle_ns), cycle)| encoded(&Record::Cut {
            cycle,
            ts_cycle_ns,
            missed
        })),
        (any::<i64>(), any::<bool>()).prop_map(|(ts_ns, halt)| {
            let command = if halt { Command::Halt } else { Command::Resume };
            encoded(&Record::Control { ts_ns, command })
        }),
        (any::<i64>(), "\\PC*")
            .prop_map(|(ts_ns, json)| encoded(&Record::Settings { ts_ns, json: &json })),
        (any::<u8>(), any::<u64>(), any::<u64>()).prop_map(|(connection, records, bytes)| {
            encoded(&Record::Hole { connection, records, bytes })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_records_survive_encoding_and_files(
        records in proptest::collection::vec(any_record(), 0..200),
        json in "\\PC*",
        flush_every in 1_usize..50,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = RecordingWriter::create(dir.path(), "s", small()).unwrap();
        let mut written = vec![encoded(&Record::SessionStart { json: &json })];
        writer.append_encoded(&written[0]).unwrap();
        for (index, bytes) in records.into_iter().enumerate() {
            let (record, len) = decode(&bytes).unwrap();
            prop_assert_eq!(len, bytes.len());
            prop_assert_eq!(&encoded(&record), &bytes);
            if matches!(record, Record::SessionStart { .. }) {
                let refused = matches!(writer.append(&record), Err(WriteError::Order { .. }));
                prop_assert!(refused, "a session starts once");
                continue;
            }
            if index % 2 == 0 {
                writer.append(&record).unwrap();
            } else {
                writer.append_encoded(&bytes).unwrap();
            }
            if index % flush_every == 0 {
                writer.flush().unwrap();
            }
            written.push(bytes);
        }
        writer.finish().unwrap();
        let stats = writer.stats();
        prop_assert_eq!(stats.records, written.len() as u64);
        let (read, reader) = read_all(RecordingReader::open(dir.path()).unwrap());
        prop_assert_eq!(read, written);
        prop_assert_eq!(reader.warnings(), &[]);
        prop_assert_eq!(reader.stats().blocks, stats.blocks);
    }

    #[test]
    fn bytes_that_decode_are_exactly_those_of_the_record(bytes in proptest::collection::vec(any::<u8>(), 0..64), kind in 0_u8..13) {
        // Random bytes seldom have a plausible length, so half of the attempts get one.
        let mut plausible = (bytes.len() as u32 + 1).to_le_bytes().to_vec();
        plausible.push(kind);
        plausible.extend(&bytes);
        for attempt in [&bytes, &plausible] {
            if let Ok((record, len)) = decode(attempt) {
                prop_assert_eq!(&encoded(&record), &attempt[..len]);
            }
        }
    }
}

#[test]
fn rotated_files_read_as_one_session_and_each_alone() {
    let dir = tempfile::tempdir().unwrap();
    let written = write_numbered(dir.path(), small(), 400, 100);
    let files = files_in(dir.path());
    assert!(files.len() > 5, "{} files", files.len());
    let (read, reader) = read_all(RecordingReader::open(dir.path()).unwrap());
    assert!(read == written);
    assert_eq!(reader.warnings(), &[]);
    assert_eq!(reader.stats().holes, 0);
    let (read, reader) = read_all(RecordingReader::open_files(files.clone()).unwrap());
    assert!(read == written);
    assert_eq!(reader.warnings(), &[]);

    let mut joined = Vec::new();
    for file in &files {
        let (read, reader) = read_all(RecordingReader::open(file).unwrap());
        assert_eq!(read[0], encoded(&SESSION), "every file starts with the session");
        assert_eq!(reader.warnings(), &[]);
        joined.extend_from_slice(&read[1..]);
    }
    assert!(joined == written[1..]);
}

#[test]
fn a_file_is_rotated_when_its_records_span_the_configured_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = WriterConfig { rotate_ns: 1_000, ..WriterConfig::default() };
    let mut writer = RecordingWriter::create(dir.path(), "t", config).unwrap();
    writer.append(&SESSION).unwrap();
    for ts_cycle_ns in [5_000, 5_999, 6_000, 6_001, 4_000] {
        writer.append(&Record::Cut { cycle: 1, ts_cycle_ns, missed: 0 }).unwrap();
        writer.flush().unwrap();
    }
    // 6000 is a full span after 5000, and 4000 lies two spans before 6000: a clock that jumps back
    // must not keep a file open for ever.
    assert_eq!(writer.stats().files, 3);
    writer.append(&Record::Cut { cycle: 1, ts_cycle_ns: 4_001, missed: 0 }).unwrap();
    writer.finish().unwrap();
    assert_eq!(files_in(dir.path()).len(), 3);
    assert_eq!(read_all(RecordingReader::open(dir.path()).unwrap()).0.len(), 7);
}

#[test]
fn a_rotation_that_fails_is_told_and_the_old_file_is_used_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RecordingWriter::create(dir.path(), "s", small()).unwrap();
    writer.append(&SESSION).unwrap();
    let in_the_way = dir.path().join("s-000002.pkrec");
    fs::create_dir(&in_the_way).unwrap();
    let (mut written, mut scratch) = (vec![encoded(&SESSION)], Vec::new());
    for number in 0..300 {
        let record = numbered(number, 100, &mut scratch);
        match writer.append(&record) {
            Ok(()) => {}
            Err(WriteError::Io { path, .. }) => assert_eq!(path, in_the_way),
            Err(error) => panic!("{error}"),
        }
        written.push(encoded(&record));
        if number == 200 {
            assert!(writer.stats().rotate_errors > 2);
            assert_eq!(writer.stats().files, 1);
            fs::remove_dir(&in_the_way).unwrap();
        }
    }
    writer.finish().unwrap();
    let stats = writer.stats();
    assert!(stats.files > 1 && stats.write_errors == 0, "{stats:?}");
    let (read, reader) = read_all(RecordingReader::open(dir.path()).unwrap());
    assert!(read == written);
    assert_eq!(reader.warnings(), &[]);
}

#[test]
fn an_end_closes_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RecordingWriter::create(dir.path(), "e", small()).unwrap();
    let cut = Record::Cut { cycle: 1, ts_cycle_ns: 2, missed: 0 };
    assert!(matches!(writer.append(&cut), Err(WriteError::Order { .. })));
    writer.append(&SESSION).unwrap();
    writer.append(&cut).unwrap();
    writer.append(&Record::End { ts_ns: 3, json: "{}" }).unwrap();
    assert!(matches!(writer.append(&cut), Err(WriteError::Order { .. })));
    writer.finish().unwrap();
    let (read, reader) = read_all(RecordingReader::open(dir.path()).unwrap());
    assert_eq!(read.len(), 3);
    assert!(reader.saw_end());
}

#[test]
fn a_writer_and_a_reader_can_be_made_here_and_used_on_another_thread() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RecordingWriter::create(dir.path(), "s", small()).unwrap();
    std::thread::spawn(move || writer.append(&SESSION)).join().unwrap().unwrap();
    let reader = RecordingReader::open(dir.path()).unwrap();
    let read = std::thread::spawn(move || read_all(reader).0).join().unwrap();
    assert_eq!(read, [encoded(&SESSION)]);
}

#[test]
fn a_recording_is_never_overwritten_and_bad_settings_are_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(RecordingWriter::create(dir.path(), "x", small()).unwrap());
    let again = RecordingWriter::create(dir.path(), "x", small());
    assert!(matches!(again, Err(WriteError::Exists { .. })));
    for (name, config, key) in [
        ("../x", small(), "name"),
        ("", small(), "name"),
        ("y", WriterConfig { block_bytes: 0, ..small() }, "block_bytes"),
        ("y", WriterConfig { retain_bytes: 1, ..small() }, "retain_bytes"),
        ("y", WriterConfig { rotate_bytes: 1, ..small() }, "rotate_bytes"),
        ("y", WriterConfig { rotate_ns: 0, ..small() }, "rotate_ns"),
        ("y", WriterConfig { level: 19, ..small() }, "level"),
    ] {
        match RecordingWriter::create(dir.path(), name, config) {
            Err(WriteError::Config { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{key}: {:?}", other.err()),
        }
    }
}

#[test]
fn bytes_that_are_no_record_are_refused_and_what_stood_before_them_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = RecordingWriter::create(dir.path(), "b", small()).unwrap();
    let mut bytes = encoded(&SESSION);
    bytes.extend(encoded(&Record::Consumed { connection: 1, items: 2 }));
    let good = bytes.len();
    bytes.extend([1, 0, 0, 0, 99]);
    let error = writer.append_encoded(&bytes);
    assert!(matches!(error, Err(WriteError::BadRecord { offset, .. }) if offset == good));
    writer.finish().unwrap();
    assert_eq!(read_all(RecordingReader::open(dir.path()).unwrap()).0.len(), 2);
}

#[test]
fn two_sessions_in_a_directory_are_read_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b", "a"] {
        let mut writer = RecordingWriter::create(dir.path(), name, small()).unwrap();
        writer.append(&SESSION).unwrap();
        let reason = name;
        let gone = Record::Disconnected { connection: 0, generation: 1, ts_recv_ns: 0, reason };
        writer.append(&gone).unwrap();
    }
    let mut reader = RecordingReader::open(dir.path()).unwrap();
    let mut reasons = String::new();
    while let Some(record) = reader.next().unwrap() {
        match record {
            Record::SessionStart { .. } => reasons.push('|'),
            Record::Disconnected { reason, .. } => reasons.push_str(reason),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reasons, "|a|b");
    assert_eq!(reader.warnings(), &[]);
}

#[test]
fn what_is_no_recording_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(RecordingReader::open(dir.path()), Err(ReadError::NoFiles { .. })));
    assert!(matches!(RecordingReader::open_files(vec![]), Err(ReadError::NoFiles { .. })));
    let path = dir.path().join("capture.gz");
    assert!(matches!(RecordingReader::open(&path), Err(ReadError::Io { .. })));
    fs::write(&path, b"1700000000 {}").unwrap();
    let error = RecordingReader::open(&path).err().unwrap().to_string();
    assert!(error.contains("capture.gz") && error.contains("PKREC"), "{error}");
    fs::write(&path, b"PKREC\0\x03\0").unwrap();
    let error = RecordingReader::open(&path).err().unwrap().to_string();
    assert!(error.contains("version 3, expected 1 to 2"), "{error}");
}

/// Lines of a real capture, as frames, or `None` when the data is not there.
fn real_frames() -> Option<Vec<(i64, Vec<u8>)>> {
    use std::io::BufRead;
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/ws_captures/hftbacktest/usdm/btcusdt_20240808.gz"
    );
    let Ok(file) = fs::File::open(path) else {
        println!("skipped: {path} is not there");
        return None;
    };
    let lines = std::io::BufReader::new(flate2::read::MultiGzDecoder::new(file)).split(b'\n');
    let frames = lines.map_while(Result::ok).filter_map(|line| {
        let (ts, json) = line.split_at(line.iter().position(|&b| b == b' ')?);
        Some((std::str::from_utf8(ts).ok()?.parse().ok()?, json[1..].to_vec()))
    });
    Some(frames.collect())
}

#[test]
fn a_real_capture_comes_back_byte_for_byte() {
    let Some(frames) = real_frames() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = WriterConfig { rotate_bytes: 1 << 20, ..WriterConfig::default() };
    let mut writer = RecordingWriter::create(dir.path(), "btcusdt", config).unwrap();
    writer.append(&SESSION).unwrap();
    for (ts_recv_ns, bytes) in &frames {
        let record = Record::Frame { connection: 0, ts_recv_ns: *ts_recv_ns, bytes };
        writer.append(&record).unwrap();
    }
    writer.finish().unwrap();
    let stats = writer.stats();
    let mut reader = RecordingReader::open(dir.path()).unwrap();
    assert_eq!(reader.next().unwrap(), Some(SESSION));
    for (ts_recv_ns, bytes) in &frames {
        let record = Record::Frame { connection: 0, ts_recv_ns: *ts_recv_ns, bytes };
        assert!(reader.next().unwrap() == Some(record));
    }
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.warnings(), &[]);
    assert!(frames.len() > 10_000 && stats.files > 1, "{stats:?}");
    println!(
        "{} frames, {} raw bytes in {} files of {} bytes",
        frames.len(),
        stats.raw_bytes,
        stats.files,
        stats.file_bytes
    );
}

/// Not a test of correctness: run by hand with `--ignored --nocapture`.
#[test]
#[ignore = "prints throughput, which a shared machine must not assert; run by hand"]
fn throughput_on_a_real_capture() {
    let Some(frames) = real_frames() else { return };
    for level in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        let config = WriterConfig { level, ..WriterConfig::default() };
        let mut writer = RecordingWriter::create(dir.path(), "t", config).unwrap();
        writer.append(&SESSION).unwrap();
        let started = std::time::Instant::now();
        for _ in 0..8 {
            for (ts_recv_ns, bytes) in &frames {
                let record = Record::Frame { connection: 0, ts_recv_ns: *ts_recv_ns, bytes };
                writer.append(&record).unwrap();
            }
        }
        writer.finish().unwrap();
        let stats = writer.stats();
        let (raw_mb, write_s) = (stats.raw_bytes as f64 / 1e6, started.elapsed().as_secs_f64());
        let started = std::time::Instant::now();
        let mut reader = RecordingReader::open(dir.path()).unwrap();
        let mut records = 0_u64;
        while let Some(record) = reader.next().unwrap() {
            records += u64::from(record.connection() != Some(NO_CONNECTION));
        }
        let read_s = started.elapsed().as_secs_f64();
        println!(
            "level {level}: {raw_mb:.0} MB raw, {records} records, write {:.0} MB/s, read {:.0} MB/s, ratio {:.1}",
            raw_mb / write_s,
            raw_mb / read_s,
            stats.raw_bytes as f64 / stats.file_bytes as f64
        );
    }
}
