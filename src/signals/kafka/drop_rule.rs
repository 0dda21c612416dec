//! The drop rule of consumers: per instrument, a signal counts only if its identity is greater than that
//! of the last one that counted.
//!
//! A producer that delivers at least once may repeat signals, and a daemon that lost its place may go
//! on publishing beside its successor; under this rule neither is ever obeyed. Invariant: the accepted
//! identities of an instrument are strictly increasing. Bounded: an instrument beyond the stated maximum
//! is refused, because forgetting another one's place could let a repetition through.

use std::collections::HashMap;

use thiserror::Error;

use super::contract::Identity;

/// Instruments that [`DropRule::default`] keeps: sixteen daemons' worth.
pub const DEFAULT_MAX_INSTRUMENTS: usize = 16 * 1024;

/// Why a signal does not count.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Dropped {
    /// It, or one made later, was accepted before.
    #[error("not after {last}")]
    NotAfter {
        /// The last one accepted.
        last: Identity,
    },
    /// Its instrument is new and there is no room for its place.
    #[error("more than {max_instruments} instruments")]
    TooManyInstruments {
        /// The bound.
        max_instruments: usize,
    },
}

/// The last identity accepted of each instrument.
#[derive(Clone, Debug)]
pub struct DropRule {
    last: HashMap<String, Identity>,
    max_instruments: usize,
}

impl Default for DropRule {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_INSTRUMENTS)
    }
}

impl DropRule {
    /// A rule that has accepted nothing yet.
    #[must_use]
    pub fn new(max_instruments: usize) -> Self {
        Self { last: HashMap::new(), max_instruments }
    }

    /// Accepts a signal of the instrument `venue:symbol`, or says why not. Allocates only for an
    /// instrument it has not met.
    ///
    /// # Errors
    /// The signal is to be dropped.
    pub fn accept(&mut self, instrument: &str, identity: Identity) -> Result<(), Dropped> {
        let has_room = self.last.len() < self.max_instruments;
        match self.last.get_mut(instrument) {
            Some(last) if identity > *last => *last = identity,
            Some(last) => return Err(Dropped::NotAfter { last: *last }),
            None if has_room => {
                self.last.insert(instrument.to_owned(), identity);
            }
            None => {
                return Err(Dropped::TooManyInstruments { max_instruments: self.max_instruments });
            }
        }
        Ok(())
    }

    /// Instruments met.
    #[must_use]
    pub fn instruments(&self) -> usize {
        self.last.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(epoch: u64, seq: u64) -> Identity {
        Identity { epoch, seq }
    }

    #[test]
    fn repetitions_and_an_old_owner_are_dropped_and_a_new_epoch_counts_from_one() {
        let mut rule = DropRule::default();
        let after = |epoch, seq| Err(Dropped::NotAfter { last: id(epoch, seq) });
        let steps = [
            (id(5, 1), Ok(())),
            (id(5, 1), after(5, 1)),
            (id(5, 9), Ok(())),
            (id(5, 8), after(5, 9)),
            (id(6, 1), Ok(())),
            (id(5, 10), after(6, 1)),
        ];
        for (identity, expected) in steps {
            assert_eq!(rule.accept("okx:A", identity), expected, "{identity}");
        }
        assert_eq!(rule.accept("okx:B", id(5, 2)), Ok(()), "instruments are apart");
        assert_eq!(after(6, 1).unwrap_err().to_string(), "not after 6-1");
    }

    #[test]
    fn an_instrument_too_many_is_refused_and_the_others_go_on() {
        let mut rule = DropRule::new(1);
        assert_eq!(rule.accept("okx:A", id(1, 1)), Ok(()));
        let refused = Err(Dropped::TooManyInstruments { max_instruments: 1 });
        assert_eq!(rule.accept("okx:B", id(1, 2)), refused);
        assert_eq!(rule.accept("okx:A", id(1, 3)), Ok(()));
        assert_eq!(rule.instruments(), 1);
    }

    proptest! {
        #[test]
        fn whatever_is_repeated_or_reordered_each_identity_counts_once_and_upwards(
            sent in proptest::collection::vec((0..3u8, 0..4u64, 0..20u64), 0..200)
        ) {
            let mut rule = DropRule::default();
            let mut accepted: [Vec<Identity>; 3] = Default::default();
            for (instrument, epoch, seq) in sent {
                let identity = id(epoch, seq);
                let counts = rule.accept(&format!("okx:{instrument}"), identity).is_ok();
                let accepted = &mut accepted[usize::from(instrument)];
                prop_assert_eq!(counts, accepted.iter().all(|&before| before < identity));
                if counts {
                    accepted.push(identity);
                }
            }
        }
    }
}
