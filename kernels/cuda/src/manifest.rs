//! The list beside compiled images that says what each was made of and by which compiler.
//!
//! One line an image, seven words apart by spaces: module, target, digest of source and options, compiler, bytes,
//! SHA-256 of the image, file. `make kernels` writes it; the build script holds the images against it before it
//! embeds them, and reads this file too, so it uses nothing else of the crate.

use std::fmt::Write;

/// Its file name.
pub const FILE: &str = "manifest.txt";

/// Most images that a manifest lists.
pub const ENTRIES_MAX: usize = 4096;

const HEADER: &str = "purkinje-kernels 1";

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The module's name.
    pub module: String,
    /// What it was compiled for, as `sm_90`.
    pub target: String,
    /// [`digest`](crate::sources::Module::digest) of the module then.
    pub source: String,
    /// The compiler and its release, as `nvrtc-12.9`.
    pub compiler: String,
    /// The image's length.
    pub bytes: u64,
    /// The image's SHA-256, hexadecimal.
    pub sha256: String,
    /// Its file, in the manifest's folder.
    pub file: String,
}

/// The manifest's text.
#[must_use]
pub fn write(entries: &[Entry]) -> String {
    let mut text = format!("{HEADER}\n");
    for entry in entries {
        let Entry { module, target, source, compiler, bytes, sha256, file } = entry;
        let line = writeln!(text, "{module} {target} {source} {compiler} {bytes} {sha256} {file}");
        debug_assert!(line.is_ok(), "text takes all that is written to it");
    }
    text
}

/// Reads a manifest.
///
/// # Errors
/// The line that is wrong, and what was expected.
pub fn read(text: &str) -> Result<Vec<Entry>, String> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default();
    if header != HEADER {
        return Err(format!("begins with {header:?}, expected {HEADER:?}"));
    }
    let mut entries = Vec::new();
    for (index, line) in lines.enumerate() {
        let number = index + 2;
        if index >= ENTRIES_MAX {
            return Err(format!("line {number}: expected at most {ENTRIES_MAX} images"));
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [module, target, source, compiler, bytes, sha256, file] = words[..] else {
            return Err(format!("line {number}: {} words, expected 7", words.len()));
        };
        // A path would lead out of the folder.
        if file.contains('/') || file.starts_with('.') {
            return Err(format!("line {number}: file {file:?}, expected a name"));
        }
        let bytes = bytes
            .parse()
            .map_err(|_| format!("line {number}: {bytes:?} bytes, expected a number"))?;
        entries.push(Entry {
            module: module.to_owned(),
            target: target.to_owned(),
            source: source.to_owned(),
            compiler: compiler.to_owned(),
            bytes,
            sha256: sha256.to_owned(),
            file: file.to_owned(),
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: &str) -> Entry {
        Entry {
            module: "probe".to_owned(),
            target: target.to_owned(),
            source: "ab".repeat(32),
            compiler: "nvrtc-12.9".to_owned(),
            bytes: 9320,
            sha256: "cd".repeat(32),
            file: format!("probe.{target}.cubin"),
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_is_written() {
        let entries = [entry("sm_80"), entry("sm_90")];
        assert_eq!(read(&write(&entries)).unwrap(), entries);
        assert!(read(&write(&[])).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_line_is_named() {
        let whole = write(&[entry("sm_80")]);
        for (text, expected) in [
            (String::new(), "begins with \"\""),
            (whole.replace("kernels 1", "kernels 2"), "begins with"),
            (whole.replace(" 9320 ", " "), "line 2: 6 words, expected 7"),
            (whole.replace(" 9320 ", " 9k "), "line 2: \"9k\" bytes"),
            (whole.replace("probe.sm_80.cubin", "../secret"), "line 2: file \"../secret\""),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
