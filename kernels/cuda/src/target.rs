//! What a module is compiled for: machine code of one architecture, or PTX that a driver compiles later.
//!
//! Machine code for compute capability X.Y runs on devices X.Z with Z at least Y; PTX runs on every capability
//! from its own on.

use std::fmt;

/// What a compiler is to make. Capabilities are as 90 for 9.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Machine code, `sm_90`.
    Cubin(u32),
    /// PTX, `compute_80`.
    Ptx(u32),
}

/// What packages carry: machine code for data-centre and workstation devices from Ampere to Blackwell, and PTX for
/// those to come. A driver compiles no PTX that is newer than itself, but one that knows a device to come is newer
/// than the compiler of the package.
pub const PACKAGED: [Target; 7] = [
    Target::Cubin(80),
    Target::Cubin(86),
    Target::Cubin(89),
    Target::Cubin(90),
    Target::Cubin(100),
    Target::Cubin(120),
    Target::Ptx(80),
];

impl Target {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |digits: &str| {
            let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
            if (2..=3).contains(&digits.len()) && all_digits { digits.parse().ok() } else { None }
        };
        if let Some(digits) = text.strip_prefix("sm_") {
            return number(digits).map(Self::Cubin);
        }
        number(text.strip_prefix("compute_")?).map(Self::Ptx)
    }

    /// Whether a device of this compute capability runs it.
    #[must_use]
    pub const fn runs_on(self, capability: u32) -> bool {
        match self {
            Self::Cubin(made) => made / 10 == capability / 10 && made <= capability,
            Self::Ptx(made) => made <= capability,
        }
    }

    /// The ending of a file that holds it.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Cubin(_) => "cubin",
            Self::Ptx(_) => "ptx",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cubin(capability) => write!(f, "sm_{capability}"),
            Self::Ptx(capability) => write!(f, "compute_{capability}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_it_is_written() {
        for target in PACKAGED {
            assert_eq!(Target::parse(&target.to_string()), Some(target));
        }
        for wrong in ["", "sm_", "sm_9", "sm_9000", "sm_+90", "compute_8x", "80", "sm_ 90"] {
            assert_eq!(Target::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn machine_code_runs_on_its_major_from_its_minor_on_and_ptx_on_all_later() {
        assert!(Target::Cubin(86).runs_on(86));
        assert!(Target::Cubin(86).runs_on(89));
        assert!(!Target::Cubin(86).runs_on(80));
        assert!(!Target::Cubin(90).runs_on(100));
        assert!(Target::Cubin(100).runs_on(103));
        assert!(Target::Ptx(80).runs_on(120));
        assert!(!Target::Ptx(80).runs_on(75));
    }
}
