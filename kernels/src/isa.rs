//! Which vector instructions a hot loop is compiled for, chosen when the program runs.
//!
//! A loop is written once, in plain Rust, and compiled several times for different instruction sets;
//! [`Isa::best`] picks the widest that this processor has. Invariant: every version does the same
//! operations on the same numbers in the same order of rounding, so results are bit-equal whatever the
//! processor. The compiler never fuses a multiplication with an addition by itself; where a loop says
//! `mul_add`, every version rounds once, and a processor without that instruction pays for it.

/// An instruction set that the hot loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every processor of the target has.
    Portable,
    /// 256-bit vectors and fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The widest instruction set of this processor.
    #[must_use]
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                let is_wide = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl");
                return if is_wide { Self::Avx512 } else { Self::Avx2 };
            }
        }
        Self::Portable
    }

    /// Every instruction set that this processor can run, narrowest first.
    #[must_use]
    pub fn here() -> Vec<Self> {
        let mut all = vec![
            Self::Portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
        ];
        all.retain(|isa| *isa <= Self::best());
        all
    }
}

/// Defines `fn $name(isa: Isa, …)`, which runs `$body` compiled for that instruction set; after `wide`
/// also for 512-bit vectors, which otherwise are not used: they pay where arithmetic is dense. `$body`
/// must be `#[inline(always)]`, or it is compiled once, for the portable set.
macro_rules! dispatched {
    ($(#[$attribute:meta])* $vis:vis fn $name:ident = $body:ident($($argument:ident: $kind:ty),* $(,)?)) => {
        dispatched! {
            @ "avx2,fma", $(#[$attribute])* $vis fn $name = $body($($argument: $kind),*)
        }
    };
    ($(#[$attribute:meta])* $vis:vis wide fn $name:ident = $body:ident($($argument:ident: $kind:ty),* $(,)?)) => {
        dispatched! {
            @ "avx512f,avx512bw,avx512dq,avx512vl",
            $(#[$attribute])* $vis fn $name = $body($($argument: $kind),*)
        }
    };
    (@ $widest:literal, $(#[$attribute:meta])* $vis:vis fn $name:ident = $body:ident($($argument:ident: $kind:ty),*)) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "the arrays of one loop")]
        $vis fn $name(isa: $crate::isa::Isa, $($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[allow(clippy::too_many_arguments, reason = "as above")]
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $kind),*) {
                    $body($($argument),*);
                }
                #[allow(clippy::too_many_arguments, reason = "as above")]
                #[target_feature(enable = $widest)]
                fn widest($($argument: $kind),*) {
                    $body($($argument),*);
                }
                match isa {
                    $crate::isa::Isa::Portable => $body($($argument),*),
                    // SAFETY: an `Isa` other than `Portable` comes from `Isa::best` or `Isa::here`,
                    // which have found these features on this processor.
                    $crate::isa::Isa::Avx2 => unsafe { avx2($($argument),*) },
                    // SAFETY: as above; the widest has what the one before has.
                    $crate::isa::Isa::Avx512 => unsafe { widest($($argument),*) },
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
pub(crate) use dispatched;
