//! Which vector instructions a hot loop is compiled for, chosen when the program runs.
//!
//! A loop is written once, in plain Rust, and compiled several times for different instruction sets;
//! [`Isa::best`] picks the widest that this processor has. Invariant: every version does the same
//! operations on the same numbers in the same order of rounding (no fused multiply-add is ever
//! enabled), so results are bit-equal whatever the processor.

/// An instruction set that the hot loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// What every processor of the target has.
    Portable,
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Isa {
    /// The widest instruction set of this processor.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every instruction set that this processor can run, narrowest first.
    pub fn here() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        if Self::best() != Self::Portable {
            all.push(Self::best());
        }
        all
    }
}

/// Defines `fn $name(isa: Isa, …)`, which runs `$body` compiled for that instruction set. `$body`
/// must be `#[inline(always)]`, or it is compiled once, for the portable set.
macro_rules! dispatched {
    ($(#[$attribute:meta])* fn $name:ident = $body:ident($($argument:ident: $kind:ty),* $(,)?)) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "the arrays of one population or projection")]
        pub(super) fn $name(isa: Isa, $($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[allow(clippy::too_many_arguments, reason = "as above")]
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $kind),*) {
                    $body($($argument),*);
                }
                match isa {
                    Isa::Portable => $body($($argument),*),
                    // SAFETY: an `Isa` other than `Portable` comes from `Isa::best` or `Isa::here`,
                    // which have found this feature on this processor.
                    Isa::Avx2 => unsafe { avx2($($argument),*) },
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = isa;
                $body($($argument),*);
            }
        }
    };
}
pub(super) use dispatched;
