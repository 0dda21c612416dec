//! Which image of a module a device is given.
//!
//! First machine code that the program carries, if it runs on the device: nothing is compiled and nothing else is
//! needed. Else NVRTC, if the host has it, compiles for the very device, once: the image is kept in the cache. Else
//! PTX that the program carries, which the driver compiles at every start or keeps in a cache of its own.
//!
//! A build embeds images only where `PURKINJE_KERNELS` named the folder that `make kernels` wrote. Invariants: an
//! embedded image was made of exactly the sources that the program carries, which the build script holds; NVRTC is
//! loaded only when it is needed, and then once.

use std::{borrow::Cow, fmt, path::PathBuf};

use thiserror::Error;

use crate::{
    cache::{Cache, Counters, Key},
    nvrtc::{Compiled, Nvrtc, NvrtcError, Version},
    sources::Module,
    target::Target,
};

/// An image that the program carries.
#[derive(Debug)]
pub struct Embedded {
    /// Its module.
    pub module: &'static str,
    /// What it was compiled for.
    pub target: Target,
    /// A cubin, or PTX with a zero byte at its end.
    pub bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program carries it.
    Embedded,
    /// NVRTC compiled it now.
    Compiled,
    /// NVRTC compiled it at an earlier start.
    Cached,
}

/// What a driver loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it was compiled for.
    pub target: Target,
    /// Where it comes from.
    pub origin: Origin,
    /// A cubin, or PTX with a zero byte at its end.
    pub bytes: Cow<'static, [u8]>,
}

/// No image fits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no image of {module}.cu runs on compute capability {}.{}: embedded: {embedded}; {compiler}",
    .capability / 10, .capability % 10
)]
pub struct NoImage {
    /// The module.
    pub module: String,
    /// The device's, as 90.
    pub capability: u32,
    /// Targets of what the program carries.
    pub embedded: String,
    /// Why NVRTC made none.
    pub compiler: Box<NvrtcError>,
}

/// What compiles a module: NVRTC, or in tests something that stands in for it.
pub trait Compiler: Send {
    /// Its release.
    fn version(&self) -> Version;

    /// Compute capabilities that it compiles for, ascending.
    fn architectures(&self) -> &[u32];

    /// Compiles a module.
    ///
    /// # Errors
    /// The compiler's.
    fn compile(&self, module: &Module, target: Target) -> Result<Compiled, NvrtcError>;
}

impl Compiler for Nvrtc {
    fn version(&self) -> Version {
        self.version()
    }

    fn architectures(&self) -> &[u32] {
        self.architectures()
    }

    fn compile(&self, module: &Module, target: Target) -> Result<Compiled, NvrtcError> {
        self.compile(module, target)
    }
}

/// Where to look; the default is the usual places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// NVRTC's library; see [`Nvrtc::find`].
    pub nvrtc: Option<PathBuf>,
    /// The cache's folder; else [`Cache::standard_folder`].
    pub cache: Option<PathBuf>,
}

/// Finds images.
pub struct Images {
    embedded: &'static [Embedded],
    settings: Settings,
    cache: Option<Cache>,
    compiler: Option<Result<Box<dyn Compiler>, NvrtcError>>,
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Images {
    /// With what the program carries, and these places.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let folder = settings.cache.clone().or_else(Cache::standard_folder);
        Self { embedded: EMBEDDED, settings, cache: folder.map(Cache::at), compiler: None }
    }

    /// With this compiler and nothing embedded; without a cache where there is no folder.
    #[must_use]
    pub fn with_compiler(compiler: Box<dyn Compiler>, cache: Option<PathBuf>) -> Self {
        Self {
            embedded: &[],
            settings: Settings::default(),
            cache: cache.map(Cache::at),
            compiler: Some(Ok(compiler)),
        }
    }

    /// What has happened to the cache.
    pub fn cache_counters(&self) -> Counters {
        self.cache.as_ref().map(Cache::counters).unwrap_or_default()
    }

    /// What went wrong last with the cache, or that there is none. Nothing else suffers from it.
    pub fn cache_problem(&self) -> Option<&str> {
        match &self.cache {
            Some(cache) => cache.problem(),
            None => Some("no folder: neither XDG_CACHE_HOME nor HOME is set"),
        }
    }

    /// The image of a module for a device of this compute capability (as 90) whose driver serves this version of
    /// CUDA (as 12020).
    ///
    /// # Errors
    /// [`NoImage`] with each reason.
    pub fn image(
        &mut self,
        module: &Module,
        capability: u32,
        driver_version: u32,
    ) -> Result<Image, NoImage> {
        if let Some(image) =
            self.embedded(module, capability, |target| matches!(target, Target::Cubin(_)))
        {
            return Ok(image);
        }
        let compiler = match self.compiled(module, capability, driver_version) {
            Ok(image) => return Ok(image),
            Err(error) => error,
        };
        if let Some(image) =
            self.embedded(module, capability, |target| matches!(target, Target::Ptx(_)))
        {
            return Ok(image);
        }
        let carried: Vec<String> = self
            .embedded
            .iter()
            .filter(|one| one.module == module.name)
            .map(|one| one.target.to_string())
            .collect();
        Err(NoImage {
            module: module.name.to_owned(),
            capability,
            embedded: if carried.is_empty() { "none".to_owned() } else { carried.join(" ") },
            compiler: Box::new(compiler),
        })
    }

    /// The nearest embedded image of this kind that runs on the device.
    fn embedded(
        &self,
        module: &Module,
        capability: u32,
        kind: impl Fn(Target) -> bool,
    ) -> Option<Image> {
        let fits = |one: &&Embedded| {
            one.module == module.name && kind(one.target) && one.target.runs_on(capability)
        };
        let found = self.embedded.iter().filter(fits).max_by_key(|one| one.target)?;
        Some(Image {
            target: found.target,
            origin: Origin::Embedded,
            bytes: Cow::Borrowed(found.bytes),
        })
    }

    fn compiled(
        &mut self,
        module: &Module,
        capability: u32,
        driver_version: u32,
    ) -> Result<Image, NvrtcError> {
        let explicit = self.settings.nvrtc.as_deref();
        let compiler = self
            .compiler
            .get_or_insert_with(|| {
                let found = Nvrtc::find(explicit, Some(driver_version))?;
                Ok(Box::new(found) as Box<dyn Compiler>)
            })
            .as_ref()
            .map_err(Clone::clone)?;
        let target = target_for(compiler.architectures(), capability);
        let key = Key::new(module, target, compiler.version());
        if let Some(found) = self.cache.as_mut().and_then(|cache| cache.get(&key)) {
            return Ok(Image { target, origin: Origin::Cached, bytes: Cow::Owned(found) });
        }
        let image = compiler.compile(module, target)?.image;
        if let Some(cache) = &mut self.cache {
            cache.put(&key, &image);
        }
        Ok(Image { target, origin: Origin::Compiled, bytes: Cow::Owned(image) })
    }
}

/// What to compile for a device: machine code for itself or the nearest that it runs, else, for a device that is
/// newer than the compiler, the newest PTX, which the driver compiles further.
fn target_for(architectures: &[u32], capability: u32) -> Target {
    let nearest = |kind: fn(u32) -> Target| {
        architectures.iter().map(|one| kind(*one)).filter(|one| one.runs_on(capability)).max()
    };
    nearest(Target::Cubin).or_else(|| nearest(Target::Ptx)).unwrap_or(Target::Cubin(capability))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;
    use crate::sources::{MODULES, PROBE};

    /// Answers with its target's name, and counts.
    struct Fake {
        compiled: Arc<AtomicU32>,
        refuses: bool,
    }

    impl Compiler for Fake {
        fn version(&self) -> Version {
            Version { major: 12, minor: 9 }
        }

        fn architectures(&self) -> &[u32] {
            &[80, 86, 90, 100]
        }

        fn compile(&self, module: &Module, target: Target) -> Result<Compiled, NvrtcError> {
            self.compiled.fetch_add(1, Ordering::Relaxed);
            if self.refuses {
                let (code, log) = ("NVRTC_ERROR_COMPILATION".to_owned(), "line 1".to_owned());
                return Err(NvrtcError::Refused { module: module.name.into(), target, code, log });
            }
            Ok(Compiled { image: target.to_string().into_bytes(), log: String::new() })
        }
    }

    fn images(cache: Option<PathBuf>, refuses: bool) -> (Images, Arc<AtomicU32>) {
        let compiled = Arc::new(AtomicU32::new(0));
        let fake = Box::new(Fake { compiled: Arc::clone(&compiled), refuses });
        (Images::with_compiler(fake, cache), compiled)
    }

    static CARRIED: [Embedded; 4] = [
        Embedded { module: "probe", target: Target::Cubin(80), bytes: b"sm_80" },
        Embedded { module: "probe", target: Target::Cubin(86), bytes: b"sm_86" },
        Embedded { module: "probe", target: Target::Ptx(80), bytes: b"compute_80" },
        Embedded { module: "other", target: Target::Cubin(90), bytes: b"other" },
    ];

    #[test]
    fn the_nearest_machine_code_that_the_program_carries_is_first() {
        let (mut images, compiled) = images(None, false);
        images.embedded = &CARRIED;
        for (capability, expected) in [(80, "sm_80"), (86, "sm_86"), (89, "sm_86")] {
            let image = images.image(&PROBE, capability, 12_020).unwrap();
            assert_eq!(image.origin, Origin::Embedded);
            assert_eq!(*image.bytes, *expected.as_bytes(), "{capability}");
        }
        assert_eq!(compiled.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_the_program_does_not_carry_is_compiled_once_and_then_found() {
        let folder = tempfile::tempdir().unwrap();
        for (expected, count) in [(Origin::Compiled, 1), (Origin::Cached, 0)] {
            let (mut images, compiled) = images(Some(folder.path().to_owned()), false);
            images.embedded = &CARRIED;
            let image = images.image(&PROBE, 90, 12_020).unwrap();
            assert_eq!((image.target, image.origin), (Target::Cubin(90), expected));
            assert_eq!(*image.bytes, *b"sm_90");
            assert_eq!(compiled.load(Ordering::Relaxed), count);
        }
    }

    #[test]
    fn a_corrupted_cache_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, _) = images(Some(folder.path().to_owned()), false);
        first.image(&PROBE, 90, 12_020).unwrap();
        let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&file).unwrap();
        bytes.truncate(bytes.len() - 1);
        fs::write(&file, bytes).unwrap();

        let (mut second, compiled) = images(Some(folder.path().to_owned()), false);
        let image = second.image(&PROBE, 90, 12_020).unwrap();
        assert_eq!((image.origin, compiled.load(Ordering::Relaxed)), (Origin::Compiled, 1));
        let counters = second.cache_counters();
        assert_eq!((counters.corrupt, counters.written), (1, 1));
        assert_eq!(second.image(&PROBE, 90, 12_020).unwrap().origin, Origin::Cached);
    }

    #[test]
    fn without_a_cache_or_with_one_that_cannot_be_written_it_compiles_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        for cache in [None, Some(file)] {
            let (mut images, compiled) = images(cache, false);
            for _ in 0..2 {
                let image = images.image(&PROBE, 90, 12_020).unwrap();
                assert_eq!(image.origin, Origin::Compiled);
            }
            assert_eq!(compiled.load(Ordering::Relaxed), 2);
            assert!(images.cache_problem().is_some());
        }
    }

    #[test]
    fn ptx_that_the_program_carries_is_last() {
        let (mut images, compiled) = images(None, true);
        images.embedded = &CARRIED;
        let image = images.image(&PROBE, 90, 12_020).unwrap();
        assert_eq!((image.target, image.origin), (Target::Ptx(80), Origin::Embedded));
        assert_eq!(compiled.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn where_nothing_fits_every_reason_is_said() {
        let (mut images, _) = images(None, true);
        images.embedded = &CARRIED;
        let error = images.image(&PROBE, 75, 12_020).unwrap_err().to_string();
        for expected in ["probe.cu", "7.5", "sm_80 sm_86 compute_80", "NVRTC_ERROR_COMPILATION"] {
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_library_that_is_missing_is_said() {
        let settings = Settings { nvrtc: Some("/nonexistent/libnvrtc.so".into()), cache: None };
        let mut images = Images { embedded: &[], ..Images::new(settings) };
        let error = images.image(&PROBE, 90, 12_020).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/libnvrtc.so"), "{error}");
        assert_eq!(error.embedded, "none");
    }

    #[test]
    fn a_device_newer_than_the_compiler_gets_what_it_can_run() {
        let made = [80, 86, 90, 100];
        for (capability, expected) in [
            (90, Target::Cubin(90)),
            (89, Target::Cubin(86)),
            (103, Target::Cubin(100)),
            (120, Target::Ptx(100)),
            (75, Target::Cubin(75)),
        ] {
            assert_eq!(target_for(&made, capability), expected);
        }
    }

    #[test]
    fn what_is_embedded_is_of_modules_that_there_are() {
        for one in EMBEDDED {
            assert!(MODULES.iter().any(|module| module.name == one.module), "{}", one.module);
            assert!(!one.bytes.is_empty());
        }
    }
}
