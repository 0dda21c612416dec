//! Captures of collectors, line by line.

use purkinje_feeds::recording::capture::{CaptureReader, MAX_CONNECTIONS, probe};

use crate::scratch::Scratch;

/// Reads a capture to its end and asks what it is of. Returns how many items its lines held.
///
/// # Panics
/// More items than lines, more connections than there may be, or something after an error.
pub fn run(input: &[u8]) -> usize {
    let scratch = Scratch::new();
    let path = scratch.write("capture", input);
    let Ok(mut reader) = CaptureReader::open(&path) else { return 0 };
    let mut items = 0;
    loop {
        match reader.next_line() {
            Ok(Some(line)) => {
                assert!(usize::from(line.connection) < MAX_CONNECTIONS);
                items += 1;
            }
            Ok(None) => break,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert!(matches!(reader.next_line(), Ok(None)), "an error ends the reading");
                break;
            }
        }
    }
    assert!(items as u64 <= reader.lines_read());
    let _ = probe(&path);
    items
}
