//! The kernels' sources, as they are embedded in the program.
//!
//! A module is the text of `prelude.cuh` followed by its own. Invariant: `kernels` names every kernel of the
//! text, which `tests` holds.

/// A source file that becomes one image on the device.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    /// Its file name without the ending.
    pub name: &'static str,
    /// Its text, without the prelude.
    pub text: &'static str,
    /// Its kernels.
    pub kernels: &'static [&'static str],
}

/// What every module begins with.
pub const PRELUDE: &str = include_str!("../prelude.cuh");

/// Small kernels that prove the way to a device and back: `purkinje doctor` and the tests run them.
pub static PROBE: Module = Module {
    name: "probe",
    text: include_str!("../probe.cu"),
    kernels: &["probe_saxpy", "probe_block_statistics"],
};

/// The trading cerebellum.
pub static CEREBELLUM: Module = Module {
    name: "cerebellum",
    text: include_str!("../cerebellum.cu"),
    kernels: &["cerebellum_cycle", "cerebellum_learn"],
};

/// All modules.
pub static MODULES: [&Module; 2] = [&PROBE, &CEREBELLUM];

impl Module {
    /// The whole text that a compiler is given.
    #[must_use]
    pub fn source(&self) -> String {
        format!("{PRELUDE}\n#line 1 \"{}.cu\"\n{}", self.name, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_of_the_text_is_listed_and_no_other() {
        for module in MODULES {
            let found: Vec<&str> = module
                .text
                .lines()
                .filter_map(|line| line.strip_prefix("KERNEL("))
                .filter_map(|rest| rest.split(',').next())
                .collect();
            assert_eq!(found, module.kernels, "{}.cu", module.name);
        }
    }
}
