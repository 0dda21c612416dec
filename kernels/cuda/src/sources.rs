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

/// A predictor's text: that of the layers that they share, then its own.
macro_rules! of_layers {
    ($file:literal) => {
        concat!(
            "#line 1 \"layers.cuh\"\n",
            include_str!("../layers.cuh"),
            "#line 1 \"",
            $file,
            "\"\n",
            include_str!(concat!("../", $file)),
        )
    };
}

/// Feed-forward networks and autoencoders.
pub static FEED_FORWARD: Module = Module {
    name: "feed_forward",
    text: of_layers!("feed_forward.cu"),
    kernels: &["feed_forward_step"],
};

/// LSTMs.
pub static LSTM: Module =
    Module { name: "lstm", text: of_layers!("lstm.cu"), kernels: &["lstm_steps"] };

/// Convolutional networks.
pub static CNN: Module = Module {
    name: "cnn",
    text: of_layers!("cnn.cu"),
    kernels: &["cnn_step", "cnn_window"],
};

/// Transformers.
pub static TRANSFORMER: Module = Module {
    name: "transformer",
    text: of_layers!("transformer.cu"),
    kernels: &["transformer_window", "transformer_step"],
};

/// All modules.
pub static MODULES: [&Module; 5] = [&PROBE, &FEED_FORWARD, &LSTM, &CNN, &TRANSFORMER];

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
