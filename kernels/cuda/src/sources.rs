//! The kernels' sources, as they are embedded in the program, and what each kernel may take.
//!
//! A module is the text of `prelude.cuh` followed by its own. Invariants: `kernels` names every kernel of the
//! text, in its order, which the tests here hold; each keeps to its budget on every architecture, and has an
//! argument of the size that is stated, which `tests/compiles.rs` holds.
//!
//! The build script reads this file too, so it uses nothing else of the crate.

use sha2::{Digest, Sha256};

/// A source file that becomes one image on the device.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    /// Its file name without the ending.
    pub name: &'static str,
    /// Its text, without the prelude.
    pub text: &'static str,
    /// Its kernels.
    pub kernels: &'static [Kernel],
}

/// A kernel, and the most that it may take on any architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its name.
    pub name: &'static str,
    /// Size of its argument, bytes.
    pub argument_bytes: u32,
    /// Most threads of a block that it is launched with.
    pub threads_max: u32,
    /// Most registers of a thread.
    pub registers_max: u32,
    /// Most local memory of a thread, bytes: arrays that found no registers, and spills.
    pub local_bytes_max: u32,
}

/// What every module begins with.
pub const PRELUDE: &str = include_str!("../prelude.cuh");

/// What every compilation is told beside its target: arithmetic as on the CPU (no contraction, no flushing, exact
/// division and root), no word on helpers of the prelude that a module does not use, and a log of what each kernel
/// takes.
pub const OPTIONS: [&str; 7] = [
    "--std=c++17",
    "--fmad=false",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--diag-suppress=177",
    "--ptxas-options=-v",
];

/// A module's text: that of its headers, then its own.
macro_rules! with_headers {
    ($($file:literal),+) => {
        concat!($("#line 1 \"", $file, "\"\n", include_str!(concat!("../", $file))),+)
    };
}

/// Small kernels that prove the way to a device and back in tests.
pub static PROBE: Module = Module {
    name: "probe",
    text: include_str!("../probe.cu"),
    kernels: &[
        Kernel {
            name: "probe_saxpy",
            argument_bytes: 24,
            threads_max: 1024,
            registers_max: 24,
            local_bytes_max: 0,
        },
        Kernel {
            name: "probe_block_statistics",
            argument_bytes: 24,
            threads_max: 1024,
            registers_max: 40,
            local_bytes_max: 0,
        },
    ],
};

/// The trading cerebellum.
pub static CEREBELLUM: Module = Module {
    name: "cerebellum",
    text: with_headers!("cells.cuh", "pairs.cuh", "cerebellum.cu"),
    kernels: &[
        Kernel {
            name: "cerebellum_cycle",
            argument_bytes: 392,
            threads_max: 1024,
            registers_max: 64,
            local_bytes_max: 0,
        },
        Kernel {
            name: "cerebellum_paired_cycle",
            argument_bytes: 456,
            threads_max: 512,
            registers_max: 128,
            local_bytes_max: 0,
        },
        Kernel {
            name: "cerebellum_eligibility",
            argument_bytes: 48,
            threads_max: 128,
            registers_max: 32,
            local_bytes_max: 0,
        },
        Kernel {
            name: "cerebellum_settle",
            argument_bytes: 120,
            threads_max: 256,
            registers_max: 80,
            local_bytes_max: 0,
        },
        Kernel {
            name: "cerebellum_learn",
            argument_bytes: 72,
            threads_max: 256,
            registers_max: 40,
            local_bytes_max: 0,
        },
    ],
};

/// A predictor's kernel: with as many threads as there may be, a block has a multiprocessor's registers.
const fn of_predictor(name: &'static str, argument_bytes: u32) -> Kernel {
    Kernel { name, argument_bytes, threads_max: 512, registers_max: 128, local_bytes_max: 0 }
}

/// Feed-forward networks and autoencoders.
pub static FEED_FORWARD: Module = Module {
    name: "feed_forward",
    text: with_headers!("layers.cuh", "feed_forward.cu"),
    kernels: &[of_predictor("feed_forward_step", 1624)],
};

/// LSTMs.
pub static LSTM: Module = Module {
    name: "lstm",
    text: with_headers!("layers.cuh", "lstm.cu"),
    kernels: &[
        of_predictor("lstm_steps", 1136),
        Kernel { threads_max: 256, ..of_predictor("lstm_layer", 136) },
        of_predictor("lstm_head", 1136),
    ],
};

/// Convolutional networks.
pub static CNN: Module = Module {
    name: "cnn",
    text: with_headers!("layers.cuh", "cnn.cu"),
    kernels: &[of_predictor("cnn_step", 1416), of_predictor("cnn_window", 1416)],
};

/// Transformers.
pub static TRANSFORMER: Module = Module {
    name: "transformer",
    text: with_headers!("layers.cuh", "transformer.cu"),
    kernels: &[of_predictor("transformer_window", 304), of_predictor("transformer_step", 304)],
};

/// All modules.
pub static MODULES: [&Module; 6] = [&PROBE, &CEREBELLUM, &FEED_FORWARD, &LSTM, &CNN, &TRANSFORMER];

impl Module {
    /// The whole text that a compiler is given.
    #[must_use]
    pub fn source(&self) -> String {
        format!("{PRELUDE}\n#line 1 \"{}.cu\"\n{}", self.name, self.text)
    }

    /// The kernel of that name.
    #[must_use]
    pub fn kernel(&self, name: &str) -> Option<&'static Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }

    /// SHA-256 of its source and [`OPTIONS`], in hexadecimal digits: another one, another image.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut text = self.source();
        for option in OPTIONS {
            text.push('\0');
            text.push_str(option);
        }
        sha256_hex(text.as_bytes())
    }
}

/// SHA-256 in hexadecimal digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    let halves = Sha256::digest(bytes).into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    halves.filter_map(|half| char::from_digit(u32::from(half), 16)).collect()
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
            let listed: Vec<&str> = module.kernels.iter().map(|kernel| kernel.name).collect();
            assert_eq!(found, listed, "{}.cu", module.name);
        }
    }

    #[test]
    fn no_two_kernels_of_all_modules_share_a_name() {
        let mut names: Vec<&str> =
            MODULES.iter().flat_map(|module| module.kernels).map(|kernel| kernel.name).collect();
        let listed = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), listed);
    }

    #[test]
    fn the_digest_is_of_the_text_and_the_options() {
        let other = Module { text: "// another\n", ..PROBE };
        assert_ne!(PROBE.digest(), other.digest());
        assert_eq!(PROBE.digest().len(), 64);
        assert_ne!(PROBE.digest(), sha256_hex(PROBE.source().as_bytes()));
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), expected);
    }
}
