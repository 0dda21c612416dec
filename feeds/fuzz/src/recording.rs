//! Recordings: any bytes as a file, and any bytes as the content of blocks whose checksums hold.

use purkinje_feeds::recording::{Record, RecordingReader, decode, encode};

use crate::scratch::Scratch;

/// What separates the blocks of an input that is no file of its own.
const SEPARATOR: &[u8] = b"\n--\n";

/// Most records of a run: a block of repeated bytes expands beyond its length.
const MAX_RECORDS: usize = 65_536;

/// Reads an input that begins with `PKREC` as a file, any other as the records of blocks. Returns how many
/// records came.
///
/// # Panics
/// The reader goes on after its end, or comes to none although it gives no records.
pub fn run(input: &[u8]) -> usize {
    let file = if input.starts_with(b"PKREC") { input.to_vec() } else { sealed(input) };
    let scratch = Scratch::new();
    let path = scratch.write("fuzz-000001.pkrec", &file);
    let Ok(mut reader) = RecordingReader::open(&path) else { return 0 };
    let (mut records, mut errors) = (0, 0);
    while records < MAX_RECORDS {
        match reader.next() {
            Ok(Some(_)) => records += 1,
            // An error ends the reading of a file, and there is one.
            Err(_) => errors += 1,
            Ok(None) => {
                assert!(matches!(reader.next(), Ok(None)), "after the end comes nothing");
                break;
            }
        }
        assert!(errors < 2, "two errors in one file");
    }
    records
}

/// Decodes one record.
///
/// # Panics
/// A record does not encode to the bytes it was decoded from.
pub fn record(bytes: &[u8]) {
    let Ok((record, len)) = decode(bytes) else { return };
    let mut again = vec![0; record.encoded_len()];
    assert_eq!(encode(&record, &mut again), Some(len));
    assert_eq!(again, &bytes[..len]);
}

/// A file whose blocks are good and hold the parts of the input, after a good first record.
fn sealed(input: &[u8]) -> Vec<u8> {
    let start = Record::SessionStart { json: "{}" };
    let mut first = vec![0; start.encoded_len()];
    encode(&start, &mut first).expect("there is room for the record");
    let mut file = b"PKREC\0\x01\0".to_vec();
    let mut rest = Some(input);
    let mut sequence = 0u32;
    while let Some(left) = rest {
        let end = left.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        let part = &left[..end.unwrap_or(left.len())];
        rest = end.map(|end| &left[end + SEPARATOR.len()..]);
        let mut raw = std::mem::take(&mut first);
        raw.extend_from_slice(part);
        if raw.is_empty() {
            continue;
        }
        let payload = zstd::bulk::compress(&raw, 1).expect("memory is enough to compress");
        let mut header = Vec::with_capacity(16);
        for word in [payload.len() as u32, raw.len() as u32, sequence] {
            header.extend(word.to_le_bytes());
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header);
        crc.update(&payload);
        header.extend(crc.finalize().to_le_bytes());
        file.extend(header);
        file.extend(payload);
        sequence += 1;
    }
    file
}
