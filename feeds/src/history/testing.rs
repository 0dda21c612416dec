//! What the readers' unit tests share: small files under the names that tell their formats.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{HistoryError, HistoryReader};
use crate::{EventBody, MarketEvent};

/// A file in a folder of its own, removed with it.
pub(super) struct TestFile {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl TestFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts another file beside it.
    pub(super) fn beside(self, name: &str, bytes: &[u8]) -> Self {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
        self
    }
}

pub(super) fn file(name: &str, bytes: &[u8]) -> TestFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    TestFile { folder, path }
}

pub(super) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Every event of a reader, and the error that ended it.
pub(super) fn drain(reader: &mut dyn HistoryReader) -> (Vec<MarketEvent>, Option<HistoryError>) {
    let mut events = Vec::new();
    loop {
        match reader.next_batch(&mut events) {
            Ok(true) => {}
            Ok(false) => return (events, None),
            Err(error) => {
                let before = events.len();
                assert!(!reader.next_batch(&mut events).unwrap(), "an error ends the reading");
                assert_eq!(events.len(), before);
                return (events, Some(error));
            }
        }
    }
}

/// Opens by name and content and reads to the end.
pub(super) fn read(file: &TestFile) -> (Vec<MarketEvent>, Option<HistoryError>) {
    match super::open(file.path()) {
        Ok(mut reader) => drain(reader.as_mut()),
        Err(error) => (Vec::new(), Some(error)),
    }
}

/// The bodies of all events of a file that must be good.
pub(super) fn bodies(file: &TestFile) -> Vec<EventBody> {
    let (events, error) = read(file);
    assert!(error.is_none(), "{error:?}");
    events.into_iter().map(|event| event.body).collect()
}

/// The message of the error that the file must give.
pub(super) fn refusal(file: &TestFile) -> String {
    read(file).1.expect("the file is refused").to_string()
}
