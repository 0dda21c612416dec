//! What a configuration takes on a device: cells, threads, shared memory, and the places within the block that
//! a cycle copies in.
//!
//! Invariant: shared memory is counted as `cerebellum_cycle` lays it out; the outcomes lie before all else but
//! the tick, so that a copy of [`Input::features`] bytes is all that learning needs.

use super::super::config::CerebellumConfig;
use super::arguments::{Outcome, Tick};
use super::error::DeviceError;
use super::wiring::NO_SOURCE;

/// Words of a result before the Purkinje cells' own: see `cerebellum.cu`.
pub(super) const RESULT_WORDS: usize = 9;
/// Threads of a block that learns: a synapse each.
pub(super) const LEARN_THREADS: usize = 256;
/// Most granule cells for which a block of this many threads is used, then twice as many each.
const GRANULES_A_BLOCK_OF_256: usize = 2_048;
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
    pub(super) purkinje_drive: usize,
    pub(super) bytes: usize,
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
}

impl Sizes {
    /// Those of a configuration.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] for sizes that the kernels do not have.
    pub(super) fn new(config: &CerebellumConfig) -> Result<Self, DeviceError> {
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
        let shared_bytes =
            4 * (state + bits + RESULT_WORDS + purkinje + 1) + 2 * granules + granules;
        let threads = match granules.div_ceil(GRANULES_A_BLOCK_OF_256) {
            0 | 1 => 256,
            2 => 512,
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
        let features = changes + aligned(self.outcomes_max * self.purkinje * 4);
        let factors = features + aligned(self.instruments * self.features * 4);
        let purkinje_drive = factors + aligned(self.sets * 4);
        let drives = if self.driven { self.instruments * self.purkinje } else { 0 };
        let bytes = purkinje_drive + aligned(drives * 4);
        Input { outcomes, changes, features, factors, purkinje_drive, bytes }
    }

    /// Words of one instrument's result.
    pub(super) fn result_words(&self) -> usize {
        RESULT_WORDS + self.purkinje
    }

    /// Bytes of all instruments' results.
    pub(super) fn output_bytes(&self) -> usize {
        4 * self.instruments * self.result_words()
    }

    /// Bytes of all instruments' cells.
    pub(super) fn state_bytes(&self) -> usize {
        4 * self.instruments * self.state
    }

    /// Bytes of all sets of weights.
    pub(super) fn weight_bytes(&self) -> usize {
        4 * self.sets * self.weights()
    }

    /// Bytes of all instruments' counts.
    pub(super) fn count_bytes(&self) -> usize {
        self.instruments * self.pending * self.granules
    }
}
