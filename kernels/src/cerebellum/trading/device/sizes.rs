//! What a configuration takes on a device: cells, threads, shared memory, and the places within the block that
//! a cycle copies in.
//!
//! Invariant: shared memory is counted as `cerebellum_cycle` lays it out; the outcomes lie before all else but
//! the tick, so that a copy of [`Input::features`] bytes is all that learning needs.

use super::super::config::{CerebellumConfig, Eligibility};
use super::arguments::{Outcome, PairState, Tick, Total};
use super::error::DeviceError;
use super::wiring::NO_SOURCE;
use crate::cerebellum::engine::PairRule;

/// Words of a result before the Purkinje cells' own: see `cerebellum.cu`.
pub(super) const RESULT_WORDS: usize = 9;
/// Threads of a block that learns: a synapse each.
pub(super) const LEARN_THREADS: usize = 256;
/// Threads of a block that sums an outcome's eligibility up.
pub(super) const ELIGIBILITY_THREADS: usize = 128;
/// Terms of what pair STDP owes to a row, and sources of which one is sampled: see `pairs.cuh`.
const PAIR_TERMS: usize = 5;
const PAIR_SAMPLE: usize = 64;
/// Rows that a block settles: see `cerebellum.cu`.
const SETTLE_ROWS: usize = 32;
/// Weights, and spikes, that a block takes together at most where they learn at every spike.
const PAIR_WEIGHTS: usize = 2_048;
const PAIR_SPIKES: usize = 64;
/// Most granule cells for which a block of this many threads is used, then twice as many each.
const GRANULES_A_BLOCK_OF_256: usize = 2_048;
/// Most threads of a block that learns at every spike.
const PAIRED_THREADS_MAX: usize = 512;
/// Most blocks in the second direction of a grid, which has one for each set of weights.
const INSTRUMENTS_MAX: usize = 65_535;
/// Parts of the input lie at multiples of so many bytes.
const ALIGNMENT_BYTES: usize = 16;

/// Places within the block that a cycle copies in, bytes from its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub(super) outcomes: usize,
    pub(super) changes: usize,
    /// Bytes that learning reads: what is before features.
    pub(super) features: usize,
    pub(super) factors: usize,
    pub(super) keeps: usize,
    pub(super) purkinje_drive: usize,
    pub(super) bytes: usize,
}

/// Sizes of networks that learn at every spike.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairSizes {
    /// Of what one set keeps beside the weights.
    pub(super) state_bytes: usize,
    /// Spikes that are taken together.
    pub(super) chunk: usize,
    /// Shared memory, words.
    shared_words: usize,
}

impl PairSizes {
    fn new(rule: &PairRule<'_>, granules: usize, purkinje: usize) -> Result<Self, DeviceError> {
        let words = purkinje.div_ceil(32);
        let span = rule.span as usize;
        let numbers = purkinje + words + span + 2 * granules + span * purkinje;
        let state_bytes = (size_of::<PairState>() + 4 * numbers).next_multiple_of(8);
        if u32::try_from(state_bytes).is_err() {
            return Err(DeviceError::Unsupported {
                setting: "rules.stdp.tau_pre_ms: bytes of an instrument's ledger",
                value: state_bytes.to_string(),
                expected: format!("at most {}", u32::MAX),
            });
        }
        let chunk = (PAIR_WEIGHTS / purkinje).clamp(1, PAIR_SPIKES);
        // By Purkinje cell its trace and its last number in the ledger, and a bit; by spike its terms and two sums,
        // and the weights; a count.
        let shared_words =
            2 * purkinje + words + chunk * (2 * PAIR_TERMS + 2) + chunk * purkinje + 1;
        Ok(Self { state_bytes, chunk, shared_words })
    }
}

/// Sizes that follow from the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) instruments: usize,
    pub(super) sets: usize,
    pub(super) features: usize,
    pub(super) granules: usize,
    pub(super) golgi: usize,
    pub(super) purkinje: usize,
    pub(super) nuclear: usize,
    pub(super) pending: usize,
    /// Outcomes that may wait for the next cycle.
    pub(super) outcomes_max: usize,
    /// Numbers of one instrument's cells.
    pub(super) state: usize,
    pub(super) shared_bytes: usize,
    pub(super) threads: usize,
    /// Whether Purkinje cells have drives of their own, which the host moves.
    pub(super) driven: bool,
    /// Whether outcomes find traces, not counts.
    pub(super) traced: bool,
    pub(super) pairs: Option<PairSizes>,
}

impl Sizes {
    /// Those of a configuration, whose synapses learn at every spike by `rule` if at all.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] for sizes that the kernels do not have.
    pub(super) fn new(
        config: &CerebellumConfig,
        rule: Option<&PairRule<'_>>,
    ) -> Result<Self, DeviceError> {
        for (setting, count, most) in [
            ("fibres of a network", config.fibres(), usize::from(NO_SOURCE)),
            ("granule_cells", config.granule_cells, usize::from(NO_SOURCE)),
            ("instruments", config.instruments, INSTRUMENTS_MAX),
        ] {
            if count > most {
                return Err(DeviceError::Unsupported {
                    setting,
                    value: count.to_string(),
                    expected: format!("at most {most}"),
                });
            }
        }
        let (granules, golgi) = (config.granule_cells, config.golgi_cells());
        let (purkinje, nuclear) = (2 * config.purkinje_per_zone, 2 * config.nuclear_per_zone);
        let state = 2 * granules + 4 * golgi + 3 * purkinje + 3 * nuclear;
        let words = |cells: usize| cells.div_ceil(32);
        let bits = config.steps_per_cycle * words(config.fibres())
            + words(granules)
            + words(golgi)
            + words(purkinje)
            + words(nuclear);
        let pairs = rule.map(|rule| PairSizes::new(rule, granules, purkinje)).transpose()?;
        let pair_words = pairs.map_or(0, |pairs| pairs.shared_words);
        let shared_bytes = 4 * (state + bits + RESULT_WORDS + purkinje + 1 + pair_words)
            + (size_of::<u16>() + size_of::<u8>()) * granules;
        let threads = match granules.div_ceil(GRANULES_A_BLOCK_OF_256) {
            0 | 1 => 256,
            2 => 512,
            _ if pairs.is_some() => PAIRED_THREADS_MAX,
            _ => 1_024,
        };
        Ok(Self {
            instruments: config.instruments,
            sets: if config.shared_weights { 1 } else { config.instruments },
            features: config.features,
            granules,
            golgi,
            purkinje,
            nuclear,
            pending: config.pending_cycles,
            outcomes_max: (2 * config.instruments).max(64),
            state,
            shared_bytes,
            threads,
            driven: config.plastic && config.rules.intrinsic.enabled,
            traced: config.eligibility == Eligibility::Kernel,
            pairs,
        })
    }

    /// Weights of one set.
    pub(super) fn weights(&self) -> usize {
        self.granules * self.purkinje
    }

    pub(super) fn input(&self) -> Input {
        let aligned = |bytes: usize| bytes.next_multiple_of(ALIGNMENT_BYTES);
        let outcomes = size_of::<Tick>();
        let changes = outcomes + self.outcomes_max * size_of::<Outcome>();
        let features = aligned(changes + self.outcomes_max * self.purkinje * 4);
        let factors = features + aligned(self.instruments * self.features * 4);
        let keeps = factors + aligned(self.sets * 4);
        let traces = if self.traced { 2 * self.instruments } else { 0 };
        let purkinje_drive = keeps + aligned(traces * 4);
        let drives = if self.driven { self.instruments * self.purkinje } else { 0 };
        let bytes = purkinje_drive + aligned(drives * 4);
        Input { outcomes, changes, features, factors, keeps, purkinje_drive, bytes }
    }

    /// Words of one instrument's result.
    pub(super) fn result_words(&self) -> usize {
        RESULT_WORDS + self.purkinje
    }

    /// Bytes of what learning tells of each outcome that may wait.
    pub(super) fn learn_output_bytes(&self) -> usize {
        if self.traced { self.outcomes_max * size_of::<Total>() } else { 0 }
    }

    /// Bytes of that and then all instruments' results.
    pub(super) fn output_bytes(&self) -> usize {
        self.learn_output_bytes() + 4 * self.instruments * self.result_words()
    }

    /// Bytes of all instruments' cells.
    pub(super) fn state_bytes(&self) -> usize {
        4 * self.instruments * self.state
    }

    /// Bytes of all sets of weights.
    pub(super) fn weight_bytes(&self) -> usize {
        4 * self.sets * self.weights()
    }

    /// Bytes of what is kept of one instrument's past cycles: counts by slot, or two traces.
    pub(super) fn past_each(&self) -> usize {
        self.granules * if self.traced { 2 * size_of::<f32>() } else { self.pending }
    }

    /// Bytes of what is kept of all instruments' past cycles.
    pub(super) fn past_bytes(&self) -> usize {
        self.instruments * self.past_each()
    }

    /// Bytes of what all sets keep to learn at every spike.
    pub(super) fn pair_bytes(&self) -> usize {
        self.pairs.map_or(0, |pairs| self.sets * pairs.state_bytes)
    }

    /// Blocks that settle a set, the first of which has the rows that are sampled, and their shared memory, bytes.
    pub(super) fn settling(&self) -> (usize, usize) {
        let sampled = self.granules.div_ceil(PAIR_SAMPLE);
        (1 + self.granules.div_ceil(SETTLE_ROWS), 4 * (2 + 2 * PAIR_TERMS) * sampled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_the_kernels_do_not_have_are_refused_with_the_most_that_they_have() {
        let refused = |config: CerebellumConfig| Sizes::new(&config, None).unwrap_err().to_string();
        let config = CerebellumConfig::default();
        assert_eq!(
            refused(CerebellumConfig { granule_cells: 65_536, ..config.clone() }),
            "granule_cells is 65536, on a device expected at most 65535"
        );
        assert_eq!(
            refused(CerebellumConfig { instruments: 65_536, ..config.clone() }),
            "instruments is 65536, on a device expected at most 65535"
        );
        assert_eq!(
            refused(CerebellumConfig { features: 1_024, fibres_per_feature: 64, ..config }),
            "fibres of a network is 65536, on a device expected at most 65535"
        );
    }

    #[test]
    fn parts_of_the_input_lie_where_their_numbers_may_and_do_not_overlap() {
        let config = CerebellumConfig {
            instruments: 3,
            features: 5,
            purkinje_per_zone: 1,
            eligibility: Eligibility::Kernel,
            ..CerebellumConfig::default()
        };
        let sizes = Sizes::new(&config, None).unwrap();
        let input = sizes.input();
        let places = [
            (0, size_of::<Tick>()),
            (input.outcomes, sizes.outcomes_max * size_of::<Outcome>()),
            (input.changes, 4 * sizes.outcomes_max * sizes.purkinje),
            (input.features, 4 * 3 * 5),
            (input.factors, 4),
            (input.keeps, 8 * 3),
            (input.purkinje_drive, 0),
            (input.bytes, 0),
        ];
        for pair in places.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{places:?}");
        }
        assert!(places[3..].iter().all(|(at, _)| at.is_multiple_of(ALIGNMENT_BYTES)), "{places:?}");
    }
}
