//! A folder of images that were compiled on this host, so that a second start need not compile them again.
//!
//! An image's file is named by what it was made of: source, options, target and compiler. It carries its own
//! checksum, so one that is cut, altered or of another making is seen, counted, removed and made again. Files are
//! written under another name and renamed, so a reader sees a whole one or none, and of two that write the same, the
//! last wins with the same image.
//!
//! Invariants: the folder holds at most [`FILES_MAX`] files and [`BYTES_MAX`] bytes after a write, the oldest going
//! first; nothing that happens to the folder is an error of the caller's: a cache that cannot be read or written
//! holds nothing, and says so in [`Cache::problem`].

use std::{
    env, fs,
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest, Sha256};

use crate::{
    nvrtc::Version,
    sources::{Module, sha256_hex},
    target::Target,
};

/// Most files of the folder.
pub const FILES_MAX: usize = 64;

/// Most bytes of the folder's files.
pub const BYTES_MAX: u64 = 64 << 20;

/// Most bytes of one image; what is larger is not kept.
pub const IMAGE_BYTES_MAX: u64 = 16 << 20;

/// Most files of a folder that are looked at to find the oldest.
const LISTED_MAX: usize = 4096;

const MAGIC: [u8; 8] = *b"PKimage1";
const CHECKSUM_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + CHECKSUM_BYTES;
const EXTENSION: &str = "image";
const UNFINISHED: &str = ".unfinished-";

/// What has happened since the cache was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Images found whole.
    pub hits: u64,
    /// Images not there.
    pub misses: u64,
    /// Images found cut or altered, and removed.
    pub corrupt: u64,
    /// Images written.
    pub written: u64,
    /// Files removed to keep the bounds.
    pub evicted: u64,
    /// Reads and writes that failed.
    pub failed: u64,
}

/// A folder of images.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    counters: Counters,
    problem: Option<String>,
}

/// What an image is made of, as its file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Of a module that this release of NVRTC compiles for the target.
    #[must_use]
    pub fn new(module: &Module, target: Target, compiler: Version) -> Self {
        Self(sha256_hex(format!("{} {target} nvrtc-{compiler}", module.digest()).as_bytes()))
    }
}

impl Cache {
    /// The folder given; it is made when something is first written.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, counters: Counters::default(), problem: None }
    }

    /// `$XDG_CACHE_HOME/purkinje/kernels`, else `~/.cache/purkinje/kernels`; none where neither variable is set to
    /// an absolute path.
    #[must_use]
    pub fn standard_folder() -> Option<PathBuf> {
        standard_folder_of(env::var_os("XDG_CACHE_HOME").map(PathBuf::from), env::home_dir())
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What has happened.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What went wrong last, with the file's name.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The image of this key, if it is there and whole.
    pub fn get(&mut self, key: &Key) -> Option<Vec<u8>> {
        let path = self.path(key);
        match read_limited(&path) {
            Ok(bytes) => {
                if let Some(image) = image_of(&bytes) {
                    self.counters.hits += 1;
                    return Some(image.to_vec());
                }
                self.counters.corrupt += 1;
                self.problem = Some(format!("{}: cut or altered, made again", path.display()));
                // If it stays, it is seen again next time.
                let _ = fs::remove_file(&path);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.counters.misses += 1,
            Err(error) => self.failed(&path, &error),
        }
        None
    }

    /// Keeps an image. Where it cannot, it says so in [`problem`](Self::problem).
    pub fn put(&mut self, key: &Key, image: &[u8]) {
        let path = self.path(key);
        if image.len() as u64 > IMAGE_BYTES_MAX {
            let what = format!("{} bytes, expected at most {IMAGE_BYTES_MAX}", image.len());
            return self.failed(&path, &io::Error::other(what));
        }
        match self.write(&path, image).and_then(|()| self.evict(&path)) {
            Ok(()) => self.counters.written += 1,
            Err(error) => self.failed(&path, &error),
        }
    }

    fn write(&self, path: &Path, image: &[u8]) -> io::Result<()> {
        // What lies in it runs on the device: others have no business there.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder)?;
        file.write_all(&MAGIC)?;
        file.write_all(&Sha256::digest(image))?;
        file.write_all(image)?;
        // Without a sync: a file that a power cut leaves short is seen by its checksum.
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes the oldest files until the folder keeps its bounds; never the one just written.
    fn evict(&mut self, written: &Path) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.folder)?.take(LISTED_MAX) {
            let entry = entry?;
            let path = entry.path();
            let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            let image = path.extension().is_some_and(|extension| extension == EXTENSION);
            // Another process may have removed it since; what is not ours stays.
            if let Ok(data) = entry.metadata()
                && (unfinished || image)
                && path != written
            {
                files.push((data.modified()?, path, data.len()));
            }
        }
        files.sort();
        let own_bytes = fs::metadata(written).map_or(0, |data| data.len());
        let mut bytes = files.iter().map(|file| file.2).sum::<u64>() + own_bytes;
        let mut count = files.len() + 1;
        for (_, path, length) in files {
            if count <= FILES_MAX && bytes <= BYTES_MAX {
                break;
            }
            match fs::remove_file(&path) {
                Ok(()) => self.counters.evicted += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            bytes -= length;
            count -= 1;
        }
        Ok(())
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(&key.0).with_extension(EXTENSION)
    }

    fn failed(&mut self, path: &Path, error: &io::Error) {
        self.counters.failed += 1;
        self.problem = Some(format!("{}: {error}", path.display()));
    }
}

fn standard_folder_of(cache: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    cache
        .filter(|path| path.is_absolute())
        .or_else(|| home.filter(|path| path.is_absolute()).map(|home| home.join(".cache")))
        .map(|cache| cache.join("purkinje").join("kernels"))
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte beyond what is allowed makes the checksum fail.
    let most = HEADER_BYTES as u64 + IMAGE_BYTES_MAX + 1;
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn image_of(bytes: &[u8]) -> Option<&[u8]> {
    let (checksum, image) = bytes.strip_prefix(&MAGIC)?.split_at_checked(CHECKSUM_BYTES)?;
    (Sha256::digest(image)[..] == *checksum).then_some(image)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, thread, time::Duration};

    use super::*;
    use crate::sources::PROBE;

    const COMPILER: Version = Version { major: 12, minor: 9 };

    fn key(number: u32) -> Key {
        Key::new(&PROBE, Target::Cubin(number), COMPILER)
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("kernels"));
        (folder, cache)
    }

    #[test]
    fn an_image_is_found_as_it_was_kept() {
        let (_folder, mut cache) = cache();
        assert_eq!(cache.get(&key(90)), None);
        cache.put(&key(90), b"machine code");
        assert_eq!(cache.get(&key(90)).unwrap(), b"machine code");
        assert_eq!(cache.get(&key(80)), None);
        let expected = Counters { hits: 1, misses: 2, written: 1, ..Counters::default() };
        assert_eq!((cache.counters(), cache.problem()), (expected, None));
        let mode = fs::metadata(cache.folder()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_key_is_of_the_source_the_target_and_the_compiler() {
        static OTHER: Module = Module { name: "probe", text: "// other", kernels: &[] };
        let newer = Version { minor: 10, ..COMPILER };
        let keys = [
            key(90),
            key(80),
            Key::new(&PROBE, Target::Ptx(90), COMPILER),
            Key::new(&PROBE, Target::Cubin(90), newer),
            Key::new(&OTHER, Target::Cubin(90), COMPILER),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[..index].iter().all(|other| other != one), "{index}");
        }
    }

    #[test]
    fn an_image_cut_or_altered_anywhere_is_counted_and_removed() {
        let (_folder, mut cache) = cache();
        let path = cache.path(&key(90));
        cache.put(&key(90), b"machine code");
        let whole = fs::read(&path).unwrap();
        let mut corrupt = 0;
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            for damaged in [&whole[..at], &altered] {
                fs::write(&path, damaged).unwrap();
                assert_eq!(cache.get(&key(90)), None, "byte {at}");
                corrupt += 1;
                assert_eq!(cache.counters().corrupt, corrupt);
                assert!(!path.exists());
            }
        }
        assert!(cache.problem().unwrap().contains("cut or altered"));
        cache.put(&key(90), b"machine code");
        assert_eq!(cache.get(&key(90)).unwrap(), b"machine code");
    }

    #[test]
    fn many_that_write_the_same_leave_one_whole_image() {
        let (_folder, cache) = cache();
        let image = vec![7; 100_000];
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut own = Cache::at(cache.folder().to_owned());
                    for _ in 0..20 {
                        own.put(&key(90), &image);
                        assert_eq!(own.get(&key(90)).as_ref(), Some(&image));
                    }
                    assert_eq!(own.problem(), None);
                });
            }
        });
        assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_said_and_nothing_else_happens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        // A folder below a file: not even the superuser makes one.
        let mut cache = Cache::at(file.join("kernels"));
        cache.put(&key(90), b"machine code");
        assert_eq!(cache.get(&key(90)), None);
        assert_eq!(cache.counters(), Counters { failed: 2, ..Counters::default() });
        assert!(cache.problem().unwrap().contains("file/kernels"), "{:?}", cache.problem());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_and_others_files_stay() {
        let (_folder, mut cache) = cache();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for number in 0..FILES_MAX as u32 {
            cache.put(&key(number), b"machine code");
            let file = fs::File::options().write(true).open(cache.path(&key(number))).unwrap();
            file.set_modified(start + Duration::from_secs(u64::from(number))).unwrap();
        }
        fs::write(cache.folder().join("notes.txt"), b"a user's").unwrap();
        assert_eq!(cache.counters().evicted, 0);
        cache.put(&key(1000), b"machine code");
        cache.put(&key(1001), b"machine code");
        assert_eq!(cache.counters().evicted, 2);
        assert!(cache.get(&key(0)).is_none() && cache.get(&key(1)).is_none());
        assert!(cache.get(&key(2)).is_some() && cache.get(&key(1001)).is_some());
        assert!(cache.folder().join("notes.txt").exists());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_bytes() {
        let (_folder, mut cache) = cache();
        let image = vec![1; 15 << 20];
        for number in 0..5 {
            cache.put(&key(number), &image);
        }
        assert_eq!((cache.counters().written, cache.counters().evicted), (5, 1));
    }

    #[test]
    fn an_image_that_is_too_large_is_not_kept() {
        let (_folder, mut cache) = cache();
        cache.put(&key(90), &vec![0; IMAGE_BYTES_MAX as usize + 1]);
        assert_eq!((cache.counters().written, cache.counters().failed), (0, 1));
        assert!(cache.problem().unwrap().contains("16777217 bytes"));
    }

    #[test]
    fn the_standard_folder_is_where_the_user_keeps_caches() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(standard_folder_of(path("/c"), path("/h")), path("/c/purkinje/kernels"));
        assert_eq!(standard_folder_of(path("c"), path("/h")), path("/h/.cache/purkinje/kernels"));
        assert_eq!(standard_folder_of(None, None), None);
    }
}
