//! What the kernels of the cerebellum are given, and what lies in the block that a cycle copies in.
//!
//! Invariant: every structure here is the twin of the one of its name in `cerebellum.cu` or its headers, field by field under
//! the same names and without padding: `bytemuck` holds the latter, the test here the former.

use bytemuck::{Pod, Zeroable};

use crate::cerebellum::engine;

/// What changes from cycle to cycle.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Tick {
    pub(super) cycle: u64,
    pub(super) slot: u32,
    pub(super) outcomes: u32,
    pub(super) by_spike: u32,
    pub(super) unused: u32,
}

/// An outcome: whose weights it changes, the cycle's counts that it acts on, and what the traces weigh in it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Outcome {
    pub(super) set: u32,
    pub(super) instrument: u32,
    pub(super) slot: u32,
    pub(super) slow: f32,
    pub(super) fast: f32,
}

/// What an outcome finds in all granule cells.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Total {
    pub(super) sum: f32,
    pub(super) cells: u32,
}

/// What outcomes find of the spikes of past cycles.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Memory {
    pub(super) counts: u64,
    pub(super) traces: u64,
    pub(super) granules: u32,
    pub(super) pending: u32,
}

/// Fields of the mossy fibres.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Fields {
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) sd: f32,
    pub(super) background: f32,
    pub(super) peak: f32,
}

/// The exact solution of a membrane over one step.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Propagator {
    pub(super) keep_v: f32,
    pub(super) exc_to_v: f32,
    pub(super) inh_to_v: f32,
    pub(super) keep_exc: f32,
    pub(super) keep_inh: f32,
    pub(super) drive: f32,
    pub(super) unit: f32,
    pub(super) reset: f32,
}

impl From<&engine::Propagator> for Propagator {
    fn from(p: &engine::Propagator) -> Self {
        Self {
            keep_v: p.keep_v,
            exc_to_v: p.exc_to_v,
            inh_to_v: p.inh_to_v,
            keep_exc: p.keep_exc,
            keep_inh: p.keep_inh,
            drive: p.drive,
            unit: p.unit,
            reset: p.reset,
        }
    }
}

/// Of `cerebellum_cycle`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct CycleArgument {
    pub(super) tick: u64,
    pub(super) features: u64,
    pub(super) flags: u64,
    pub(super) factors: u64,
    pub(super) purkinje_drive: u64,
    pub(super) keys: u64,
    pub(super) centres: u64,
    pub(super) granule_mossy: u64,
    pub(super) golgi_mossy: u64,
    pub(super) cluster_golgi: u64,
    pub(super) golgi_granule: u64,
    pub(super) nuclear_purkinje: u64,
    pub(super) granule_drive: u64,
    pub(super) weights: u64,
    pub(super) state: u64,
    pub(super) results: u64,
    pub(super) keeps: u64,
    pub(super) memory: Memory,
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
    pub(super) features_each: u32,
    pub(super) fibres_each: u32,
    pub(super) granules: u32,
    pub(super) granules_a_cluster: u32,
    pub(super) golgi_cells: u32,
    pub(super) purkinje_cells: u32,
    pub(super) nuclear_cells: u32,
    pub(super) dendrites: u32,
    pub(super) mossy_per_golgi: u32,
    pub(super) golgi_per_cluster: u32,
    pub(super) steps: u32,
    pub(super) settle_steps: u32,
    pub(super) own_weights: u32,
    pub(super) state_floats: u32,
    pub(super) result_words: u32,
    pub(super) unused: u32,
}

/// Pair STDP's constants, and where its states lie.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Pairs {
    pub(super) state: u64,
    pub(super) decay: u64,
    pub(super) growth: u64,
    pub(super) potentiation: f32,
    pub(super) depression: f32,
    pub(super) keep: f32,
    pub(super) least: f32,
    pub(super) most: f32,
    pub(super) span: u32,
    pub(super) epoch: u32,
    pub(super) scan: u32,
    pub(super) chunk: u32,
    pub(super) state_bytes: u32,
}

/// What such a state begins with.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct PairState {
    pub(super) step: u64,
    pub(super) now: u64,
    pub(super) presynaptic: u64,
    pub(super) postsynaptic: u64,
    pub(super) settled_early: u64,
    pub(super) up: f64,
    pub(super) down: f64,
    pub(super) head: u32,
    pub(super) unused: u32,
}

/// Of `cerebellum_paired_cycle`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct PairedCycleArgument {
    pub(super) cycle: CycleArgument,
    pub(super) pairs: Pairs,
}

/// Of `cerebellum_eligibility`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct EligibilityArgument {
    pub(super) tick: u64,
    pub(super) outcomes: u64,
    pub(super) totals: u64,
    pub(super) memory: Memory,
}

/// Of `cerebellum_settle`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct SettleArgument {
    pub(super) tick: u64,
    pub(super) outcomes: u64,
    pub(super) weights: u64,
    pub(super) memory: Memory,
    pub(super) pairs: Pairs,
    pub(super) purkinje_cells: u32,
    pub(super) unused: u32,
}

/// Of `cerebellum_learn`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct LearnArgument {
    pub(super) tick: u64,
    pub(super) outcomes: u64,
    pub(super) changes: u64,
    pub(super) weights: u64,
    pub(super) memory: Memory,
    pub(super) least: f32,
    pub(super) most: f32,
    pub(super) purkinje_cells: u32,
    pub(super) unused: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_cuda::sources::CEREBELLUM;
    use std::mem::offset_of;

    /// Name, offset and size in all of a structure's fields.
    type Listed = Vec<(String, usize)>;

    macro_rules! fields {
        ($name:ident: $($field:ident)+) => {
            (
                stringify!($name),
                vec![$((stringify!($field).to_owned(), offset_of!($name, $field))),+],
                size_of::<$name>(),
            )
        };
    }

    /// The fields of a structure of `cerebellum.cu` with their offsets, and its size.
    fn of_text(structure: &str) -> (Listed, usize) {
        let text = CEREBELLUM.text.split(&format!("struct {structure} {{")).nth(1).unwrap();
        let body = text.split("};").next().unwrap();
        let code: Vec<&str> =
            body.lines().map(|line| line.split("//").next().unwrap().trim()).collect();
        let (mut fields, mut end) = (Vec::new(), 0);
        for declaration in code.join(" ").split(';').filter(|d| !d.trim().is_empty()) {
            let (kind, names) = declaration.trim().split_once(' ').unwrap();
            let bytes = match kind {
                "u64" | "double" => 8,
                "u32" | "float" => 4,
                "Propagator" => size_of::<Propagator>(),
                "Fields" => size_of::<Fields>(),
                "Memory" => size_of::<Memory>(),
                "Pairs" => size_of::<Pairs>(),
                "CycleArgument" => size_of::<CycleArgument>(),
                other => panic!("{other} of {structure}"),
            };
            for name in names.split(',') {
                fields.push((name.trim().to_owned(), end));
                end += bytes;
            }
        }
        (fields, end)
    }

    #[test]
    fn structures_are_as_the_kernels_lay_them_out() {
        let twins = [
            fields!(Tick: cycle slot outcomes by_spike unused),
            fields!(Outcome: set instrument slot slow fast),
            fields!(Total: sum cells),
            fields!(Memory: counts traces granules pending),
            fields!(Fields: low high sd background peak),
            fields!(Propagator: keep_v exc_to_v inh_to_v keep_exc keep_inh drive unit reset),
            fields!(CycleArgument: tick features flags factors purkinje_drive keys centres
                granule_mossy golgi_mossy cluster_golgi golgi_granule nuclear_purkinje
                granule_drive weights state results keeps memory granule golgi purkinje nuclear
                fields mossy_to_granule mossy_to_golgi golgi_to_granule
                granule_to_golgi purkinje_to_nuclear features_each fibres_each granules
                granules_a_cluster golgi_cells purkinje_cells nuclear_cells dendrites
                mossy_per_golgi golgi_per_cluster steps settle_steps own_weights state_floats
                result_words unused),
            fields!(Pairs: state decay growth potentiation depression keep least most span epoch
                scan chunk state_bytes),
            fields!(PairState: step now presynaptic postsynaptic settled_early up down head unused),
            fields!(PairedCycleArgument: cycle pairs),
            fields!(EligibilityArgument: tick outcomes totals memory),
            fields!(SettleArgument: tick outcomes weights memory pairs purkinje_cells unused),
            fields!(LearnArgument: tick outcomes changes weights memory least most
                purkinje_cells unused),
        ];
        for (structure, fields, bytes) in twins {
            assert_eq!((fields, bytes), of_text(structure), "{structure}");
        }
    }

    #[test]
    fn arguments_have_the_sizes_that_the_kernels_are_listed_with() {
        for (kernel, bytes) in [
            ("cerebellum_cycle", size_of::<CycleArgument>()),
            ("cerebellum_paired_cycle", size_of::<PairedCycleArgument>()),
            ("cerebellum_eligibility", size_of::<EligibilityArgument>()),
            ("cerebellum_settle", size_of::<SettleArgument>()),
            ("cerebellum_learn", size_of::<LearnArgument>()),
        ] {
            assert_eq!(CEREBELLUM.kernel(kernel).unwrap().argument_bytes as usize, bytes);
        }
    }
}
