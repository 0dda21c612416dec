//! Files cut, flipped, filled with garbage, missing and doubled.

use std::fs;

use purkinje_feeds::recording::{ReadError, ReadWarning, RecordingReader, WriterConfig};

use super::{SESSION, encoded, files_in, read_all, small, write_numbered};

#[test]
fn a_file_cut_at_any_byte_yields_a_prefix_and_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let config = WriterConfig { rotate_bytes: 1 << 20, ..small() };
    let written = write_numbered(dir.path(), config, 60, 70);
    let bytes = fs::read(&files_in(dir.path())[0]).unwrap();
    let cut_path = dir.path().join("cut.pkrec");
    let (mut lengths, mut torn) = (Vec::new(), 0);
    for len in 0..=bytes.len() {
        fs::write(&cut_path, &bytes[..len]).unwrap();
        let (read, reader) = read_all(RecordingReader::open(&cut_path).unwrap());
        assert!(written.starts_with(&read), "cut at {len}");
        assert_eq!(reader.stats().holes, 0);
        torn += usize::from(!reader.warnings().is_empty());
        if lengths.last() != Some(&read.len()) {
            lengths.push(read.len());
        }
    }
    assert!(lengths.len() >= 4 && lengths.is_sorted(), "{lengths:?}");
    assert_eq!(lengths.last(), Some(&written.len()));
    // Only cuts between blocks are silent: one behind the file header and one behind each block.
    assert_eq!(torn, bytes.len() + 1 - lengths.len());
}

#[test]
fn a_flipped_byte_anywhere_never_yields_what_was_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = WriterConfig { rotate_bytes: 1 << 20, ..small() };
    let written = write_numbered(dir.path(), config, 60, 70);
    let bytes = fs::read(&files_in(dir.path())[0]).unwrap();
    let bad_path = dir.path().join("bad.pkrec");
    let mut noticed = 0;
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&bad_path, &bad).unwrap();
        match RecordingReader::open(&bad_path) {
            Ok(reader) => {
                let (read, reader) = read_all(reader);
                assert!(written.starts_with(&read), "flipped at {at}");
                noticed += usize::from(!reader.warnings().is_empty());
            }
            Err(ReadError::NotARecording { .. } | ReadError::Version { .. }) => noticed += 1,
            Err(error) => panic!("flipped at {at}: {error}"),
        }
    }
    assert_eq!(noticed, bytes.len(), "every flip is noticed");
}

#[test]
fn a_garbage_tail_is_ignored_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let written = write_numbered(dir.path(), WriterConfig::default(), 20, 50);
    let path = &files_in(dir.path())[0];
    let whole = fs::read(path).unwrap();
    for tail in [&[0_u8; 4096][..], &[0xff; 100], b"x", &whole[8..]] {
        fs::write(path, [&whole[..], tail].concat()).unwrap();
        let (read, reader) = read_all(RecordingReader::open(path).unwrap());
        assert!(read == written);
        assert_eq!(reader.warnings().len(), 1);
    }
}

#[test]
fn damage_in_one_file_costs_the_rest_of_that_file_only_and_is_one_hole() {
    let dir = tempfile::tempdir().unwrap();
    let config = WriterConfig { rotate_bytes: 10 << 10, ..small() };
    let written = write_numbered(dir.path(), config, 400, 100);
    let files = files_in(dir.path());
    assert!(files.len() >= 4);
    let mut bytes = fs::read(&files[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&files[1], &bytes).unwrap();
    let (read, reader) = read_all(RecordingReader::open(dir.path()).unwrap());
    assert!(read.len() < written.len());
    assert!(read.iter().all(|record| written.contains(record)));
    assert_eq!(read.last(), written.last());
    assert_eq!(reader.stats().holes, 1);
    assert!(matches!(
        reader.warnings(),
        [ReadWarning::BadBlock { .. }, ReadWarning::MissingBlocks { .. }]
    ));

    // The same damage in the last file has no successor to tell what is missing.
    fs::write(&files[1], fs::read(&files[0]).unwrap()).unwrap();
    for file in &files[1..] {
        fs::remove_file(file).unwrap();
    }
    let mut bytes = fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&files[0], &bytes).unwrap();
    let (_, reader) = read_all(RecordingReader::open(dir.path()).unwrap());
    assert_eq!(reader.stats().holes, 1);
}

#[test]
fn missing_and_doubled_files_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let written = write_numbered(dir.path(), small(), 400, 100);
    let files = files_in(dir.path());
    let doubled = vec![files[0].clone(), files[1].clone(), files[1].clone()];
    let (_, reader) = read_all(RecordingReader::open_files(doubled).unwrap());
    assert!(matches!(reader.warnings(), [ReadWarning::OutOfOrder { .. }]));

    fs::remove_file(&files[0]).unwrap();
    fs::remove_file(&files[2]).unwrap();
    fs::remove_file(&files[3]).unwrap();
    let (read, reader) = read_all(RecordingReader::open(dir.path()).unwrap());
    assert_eq!(read[0], encoded(&SESSION), "the session is known from the second file");
    assert_eq!(read.last(), written.last());
    assert_eq!(reader.stats().holes, 2);
    let warnings = reader.warnings();
    assert!(matches!(warnings[0], ReadWarning::MissingFiles { from: 1, to: 1, .. }));
    assert!(matches!(warnings[1], ReadWarning::MissingBlocks { .. }));
    assert!(matches!(warnings[2], ReadWarning::MissingFiles { from: 3, to: 4, .. }));
    assert!(matches!(warnings[3], ReadWarning::MissingBlocks { .. }));
}
