//! What the kernels of a wide network are given.
//!
//! Invariant: structures lie in memory as those of their names in `wide.cu`, without padding: `bytemuck` holds the
//! latter, the test here that order and size are the same.

use bytemuck::{Pod, Zeroable};

use crate::cerebellum::device_twins::{Fields, Propagator};

/// Arrays of a [`WideArgument`], and random streams.
pub(super) const ARRAYS: usize = 24;
const KEYS: usize = 9;

/// What changes from cycle to cycle.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct WideTick {
    pub(super) cycle: u64,
    pub(super) first_step: u32,
    pub(super) potentiation: u32,
    pub(super) climbing: [f32; 2],
    pub(super) intrinsic_rate: f32,
    pub(super) silence: u32,
}

/// Of all kernels.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct WideArgument {
    pub(super) tick: u64,
    pub(super) features: u64,
    pub(super) results: u64,
    /// From `centres` to `sums`.
    pub(super) arrays: [u64; ARRAYS],
    /// From `key_granule` to `key_dither`.
    pub(super) keys: [u64; KEYS],
    pub(super) granule: Propagator,
    pub(super) golgi: Propagator,
    pub(super) purkinje: Propagator,
    pub(super) nuclear: Propagator,
    pub(super) fields: Fields,
    pub(super) mossy_to_granule: f32,
    pub(super) mossy_to_golgi: f32,
    pub(super) golgi_to_granule: f32,
    pub(super) granule_to_golgi: f32,
    pub(super) purkinje_to_nuclear: f32,
    pub(super) gain: f32,
    pub(super) depression: f32,
    pub(super) wanted: f32,
    pub(super) fibres_each: u32,
    pub(super) fibres: u32,
    pub(super) steps: u32,
    pub(super) step_words: u32,
    pub(super) settle_steps: u32,
    pub(super) beams: u32,
    pub(super) clusters: u32,
    pub(super) granules_each: u32,
    pub(super) block_clusters: u32,
    pub(super) granular_threads: u32,
    pub(super) words: u32,
    pub(super) block_words: u32,
    pub(super) splits: u32,
    pub(super) purkinje_each: u32,
    pub(super) row: u32,
    pub(super) nuclear_each: u32,
    pub(super) window: u32,
    pub(super) slots: u32,
    pub(super) refractory: u32,
    pub(super) weight_low: u32,
    pub(super) weight_span: u32,
    pub(super) weight_cap: u32,
    pub(super) step: u32,
}

impl WideArgument {
    /// What a kernel is given in a step of the cycle.
    pub(super) fn in_step(&self, step: usize) -> Vec<u8> {
        bytemuck::bytes_of(&Self { step: step as u32, ..*self }).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::Array;
    use super::*;
    use crate::cerebellum::device_twins::declared;
    use purkinje_cuda::sources::WIDE;
    use std::mem::offset_of;

    /// Offset of every field in `wide.cu`, and the size of them all.
    fn offsets(structure: &str) -> (Vec<(String, usize)>, usize) {
        let mut end = 0;
        let place = |(kind, name): (String, String)| {
            let at = end;
            end += match &*kind {
                "u64" => 8,
                "u32" | "float" => 4,
                "Propagator" => size_of::<Propagator>(),
                "Fields" => size_of::<Fields>(),
                other => panic!("{other} of {structure}"),
            };
            (name, at)
        };
        let fields = declared(WIDE.text, structure).into_iter().map(place).collect();
        (fields, end)
    }

    macro_rules! twins {
        ($name:ident: $($field:ident)+) => {
            for (name, at) in [$((stringify!($field), offset_of!($name, $field))),+] {
                let (fields, _) = offsets(stringify!($name));
                let field = fields.iter().find(|(field, _)| field == name);
                assert_eq!(field.unwrap_or_else(|| panic!("{name} is not in wide.cu")).1, at, "{name}");
            }
        };
    }

    #[test]
    fn structures_are_as_the_kernels_lay_them_out() {
        assert_eq!(offsets("WideTick").1, size_of::<WideTick>());
        assert_eq!(offsets("WideArgument").1, size_of::<WideArgument>());
        twins!(WideTick: cycle first_step potentiation intrinsic_rate silence);
        twins!(WideArgument: tick features results granule golgi purkinje nuclear fields mossy_to_granule
            mossy_to_golgi golgi_to_granule granule_to_golgi purkinje_to_nuclear gain depression wanted fibres_each
            fibres steps step_words settle_steps beams clusters granules_each block_clusters granular_threads words
            block_words splits purkinje_each row nuclear_each window slots refractory weight_low weight_span
            weight_cap step);
        let (fields, _) = offsets("WideArgument");
        let names = |range: std::ops::Range<usize>| -> Vec<String> {
            fields[range].iter().map(|(name, _)| name.replace('_', "")).collect()
        };
        let arrays = Array::ALL.map(|array| format!("{array:?}").to_lowercase());
        assert_eq!(names(3..3 + ARRAYS), arrays);
        let keys = names(3 + ARRAYS..3 + ARRAYS + KEYS);
        assert!(keys.iter().all(|name| name.starts_with("key")), "{keys:?}");
        for kernel in WIDE.kernels {
            assert_eq!(
                kernel.argument_bytes as usize,
                size_of::<WideArgument>(),
                "{}",
                kernel.name
            );
        }
    }
}
