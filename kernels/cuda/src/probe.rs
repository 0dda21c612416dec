//! What of CUDA a host has: the driver, its devices, the compiler, the images that the program carries.
//!
//! `purkinje doctor` prints it, and the refusal of `--backend cuda` says what is [`missing`](Probe::missing).
//! Invariant: looking takes no context and no memory of a device, changes nothing, and never panics.

use std::{env, fmt, path::PathBuf};

use crate::{
    api::Functions,
    driver::{Device, DriverError},
    images::{EMBEDDED, Embedded, Settings},
    nvrtc::{Nvrtc, NvrtcError, Version},
};

/// Hides devices from a process, or orders them.
pub const VISIBLE_DEVICES: &str = "CUDA_VISIBLE_DEVICES";

/// What a host has.
#[derive(Debug)]
pub struct Probe {
    /// CUDA version that the driver serves, as 12020.
    pub driver: Result<u32, DriverError>,
    /// The devices that it shows, or why it shows none.
    pub devices: Result<Vec<Device>, DriverError>,
    /// `CUDA_VISIBLE_DEVICES`, where it is set.
    pub visible_devices: Option<String>,
    /// The compiler.
    pub nvrtc: Result<Compiler, NvrtcError>,
    /// What the program carries.
    pub embedded: &'static [Embedded],
}

/// An NVRTC that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Its path, or its name where the loader found it.
    pub library: String,
    /// Its release.
    pub version: Version,
}

impl Probe {
    /// Looks.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let functions = Functions::get();
        let driver = functions.clone().and_then(Functions::version);
        let devices = functions.and_then(|functions| {
            let count = functions.start()?;
            (0..count).map(|index| functions.describe(index).map(|(_, device)| device)).collect()
        });
        let nvrtc: Option<PathBuf> = settings.nvrtc.clone();
        Self {
            nvrtc: Nvrtc::find(nvrtc.as_deref(), driver.as_ref().ok().copied()).map(|found| {
                Compiler { library: found.name().to_owned(), version: found.version() }
            }),
            driver,
            devices,
            visible_devices: env::var_os(VISIBLE_DEVICES)
                .map(|value| value.to_string_lossy().into_owned()),
            embedded: EMBEDDED,
        }
    }

    /// What stands between this program and the device of this number, if anything does.
    #[must_use]
    pub fn missing(&self, index: u32) -> Option<String> {
        let devices = match (&self.driver, &self.devices) {
            (Err(error), _) | (Ok(_), Err(error)) => return Some(error.to_string()),
            (Ok(_), Ok(devices)) => devices,
        };
        let found = devices.len() as u32;
        let Some(device) = devices.get(index as usize) else {
            return Some(DriverError::NoDevice { index, found }.to_string());
        };
        let carried =
            self.embedded.iter().any(|image| image.target.runs_on(device.compute_capability));
        match &self.nvrtc {
            Err(error) if !carried => Some(format!(
                "no kernels for {}: this build carries none that it runs, and there is {error}",
                device.name
            )),
            _ => None,
        }
    }
}

/// Lines of a name and what was found, without one at the end.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.driver {
            Ok(version) => writeln!(f, "driver    serves CUDA {}", Cuda(*version))?,
            Err(error) => writeln!(f, "driver    {error}")?,
        }
        match &self.devices {
            Ok(devices) => {
                for (index, device) in devices.iter().enumerate() {
                    writeln!(f, "device {index}  {}", Described(device))?;
                }
                if devices.is_empty() {
                    writeln!(f, "devices   none")?;
                }
            }
            // It said so already.
            Err(error) if self.driver.as_ref().err() == Some(error) => {
                writeln!(f, "devices   none")?;
            }
            Err(error) => writeln!(f, "devices   {error}")?,
        }
        if let Some(visible) = &self.visible_devices {
            writeln!(f, "          {VISIBLE_DEVICES}={visible}")?;
        }
        match &self.nvrtc {
            Ok(found) => writeln!(f, "compiler  NVRTC {} ({})", found.version, found.library)?,
            Err(error) => writeln!(f, "compiler  {error}")?,
        }
        write!(f, "kernels   embedded: ")?;
        let mut targets: Vec<_> = self.embedded.iter().map(|image| image.target).collect();
        targets.sort_unstable();
        targets.dedup();
        if targets.is_empty() {
            write!(f, "none")?;
        }
        for (index, target) in targets.iter().enumerate() {
            write!(f, "{}{target}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A version of CUDA as people write it.
struct Cuda(u32);

impl fmt::Display for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}

/// A device in a line.
struct Described<'a>(&'a Device);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Device { name, compute_capability, memory_bytes, multiprocessors, .. } = self.0;
        write!(
            f,
            "{name}, compute capability {}.{}, {} MiB, {multiprocessors} multiprocessors",
            compute_capability / 10,
            compute_capability % 10,
            memory_bytes >> 20
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;

    fn device() -> Device {
        Device {
            name: "NVIDIA H100".to_owned(),
            compute_capability: 90,
            memory_bytes: 80 << 30,
            multiprocessors: 132,
            shared_bytes_max: 232_448,
            driver_version: 12_040,
        }
    }

    fn nvrtc() -> Compiler {
        Compiler { library: "libnvrtc.so.12".to_owned(), version: Version { major: 12, minor: 9 } }
    }

    fn probe() -> Probe {
        Probe {
            driver: Ok(12_040),
            devices: Ok(vec![device()]),
            visible_devices: None,
            nvrtc: Ok(nvrtc()),
            embedded: &[],
        }
    }

    static CARRIED: [Embedded; 2] = [
        Embedded { module: "probe", target: Target::Cubin(90), bytes: b"" },
        Embedded { module: "probe", target: Target::Cubin(80), bytes: b"" },
    ];

    #[test]
    fn this_host_is_probed_and_says_what_it_lacks_if_anything() {
        let settings = Settings { nvrtc: Some("/nonexistent/libnvrtc.so".into()), cache: None };
        let found = Probe::new(&settings);
        let text = found.to_string();
        assert!(text.contains("compiler  no NVRTC library: tried /nonexistent"), "{text}");
        if found.driver.is_err() {
            let missing = found.missing(0).unwrap();
            assert_eq!(missing, "no NVIDIA driver: libcuda.so.1 was not found");
            assert!(text.contains("driver    no NVIDIA driver: libcuda.so.1"), "{text}");
            assert!(text.contains("devices   none"), "{text}");
        }
    }

    #[test]
    fn each_part_has_its_line() {
        let found =
            Probe { visible_devices: Some("0,2".to_owned()), embedded: &CARRIED, ..probe() };
        let expected = "\
driver    serves CUDA 12.4
device 0  NVIDIA H100, compute capability 9.0, 81920 MiB, 132 multiprocessors
          CUDA_VISIBLE_DEVICES=0,2
compiler  NVRTC 12.9 (libnvrtc.so.12)
kernels   embedded: sm_80, sm_90";
        assert_eq!(found.to_string(), expected);
    }

    #[test]
    fn what_is_missing_is_said_first_cause_first() {
        let too_old = DriverError::TooOld { found: 11_040, needed: 12_020 };
        let no_nvrtc = || NvrtcError::NotFound { tried: "libnvrtc.so.12".to_owned() };
        let old = Probe { driver: Ok(11_040), devices: Err(too_old), ..probe() };
        assert!(old.missing(0).unwrap().contains("serves CUDA 11040, expected 12020"));
        assert_eq!(probe().missing(0), None);
        assert!(probe().missing(1).unwrap().contains("no CUDA device 1: there are 1"));
        let bare = Probe { nvrtc: Err(no_nvrtc()), ..probe() };
        assert!(bare.missing(0).unwrap().starts_with("no kernels for NVIDIA H100"));
        let carrying = Probe { nvrtc: Err(no_nvrtc()), embedded: &CARRIED, ..probe() };
        assert_eq!(carrying.missing(0), None);
    }
}
