//! Any market, in every venue's dialect, ends as the same book as in a naive map; on a line that loses,
//! doubles, reorders or damages frames no book is published that the venue never had.
//!
//! The market is not the simulator's model: its changes are drawn at random, deletes of levels that nobody
//! holds among them, and its truth is a sorted map a side.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

#[path = "books/rig.rs"]
mod rig;

use proptest::prelude::*;
use proptest::sample::select;

use rig::{DIALECTS, Fault, INSTRUMENTS, Move, Rig, TICKS};

fn moves(most: usize) -> impl Strategy<Value = Vec<Move>> {
    let change = (any::<bool>(), 0..TICKS, prop_oneof![2 => Just(0), 3 => 1i64..4]);
    let changes = prop::collection::vec(change, 1..8);
    let one = (0..INSTRUMENTS, changes, any::<bool>(), prop::bool::weighted(0.1));
    let one = one.prop_map(|(instrument, changes, has_trade, has_snapshot)| Move {
        instrument,
        changes,
        has_trade,
        has_snapshot,
    });
    prop::collection::vec(one, 1..most)
}

fn line_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Drop),
        1 => Just(Fault::Double),
        1 => Just(Fault::Delay),
    ]
}

fn damage() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => Just(Fault::None),
        // Of what numbers, structure and names are made, or anything.
        4 => (any::<usize>(), select(b"-.0019eE,:[]{}\"".to_vec()))
            .prop_map(|(at, byte)| Fault::Damage { at, byte }),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Fault::Damage { at, byte }),
        1 => any::<usize>().prop_map(|at| Fault::Cut { at }),
    ]
}

/// An update that every client sees: two levels that change each time.
fn settling(instrument: usize, round: i64) -> Move {
    let changes = vec![(true, 0, 1 + round % 3), (false, TICKS, 1 + round % 3)];
    Move { instrument, changes, has_trade: false, has_snapshot: false }
}

/// Runs without faults until every book is published and true.
fn recover(rig: &mut Rig) {
    for round in 0..24 {
        for instrument in 0..INSTRUMENTS {
            // Kraken's channel carries ten levels: a change beyond them is none.
            rig.step(&settling(instrument, round), Fault::None);
            rig.step(&inner(instrument, round), Fault::None);
            rig.answer();
        }
        rig.wait(2_000_000_000);
    }
}

/// A change of the best bid or its removal, which every channel shows.
fn inner(instrument: usize, round: i64) -> Move {
    let changes = if round % 2 == 0 {
        (0..TICKS).map(|ticks| (ticks < TICKS / 2, ticks, 0)).collect()
    } else {
        vec![(true, 1, 1 + round), (false, TICKS - 1, 1 + round)]
    };
    Move { instrument, changes, has_trade: false, has_snapshot: false }
}

proptest! {
    #[test]
    fn any_stream_of_diffs_makes_the_book_that_a_naive_map_makes(
        dialect in select(DIALECTS.to_vec()),
        moves in moves(60),
        doubles in prop::collection::vec(prop::bool::weighted(0.1), 60),
        answers in prop::collection::vec(prop::bool::weighted(0.4), 60),
    ) {
        let mut rig = Rig::new(dialect);
        for (i, next) in moves.iter().enumerate() {
            rig.step(next, if doubles[i] { Fault::Double } else { Fault::None });
            if answers[i] {
                rig.answer();
            }
            for instrument in 0..INSTRUMENTS {
                if rig.published[instrument] {
                    prop_assert_eq!(rig.held(instrument), rig.truth(instrument), "{:?}", dialect);
                }
            }
        }
        for instrument in 0..INSTRUMENTS {
            for round in 0..3 {
                rig.step(&settling(instrument, round), Fault::None);
                rig.step(&inner(instrument, round), Fault::None);
                rig.answer();
            }
        }
        let c = rig.session.counters();
        prop_assert_eq!((c.gaps, c.bad_input.total(), c.acks_refused, rig.desyncs), (0, 0, 0, 0));
        prop_assert_eq!(rig.invented, 0);
        for instrument in 0..INSTRUMENTS {
            prop_assert!(rig.published[instrument], "{:?} {:?}", dialect, rig.session.counters());
            prop_assert_eq!(rig.held(instrument), rig.truth(instrument));
        }
    }

    #[test]
    fn on_a_line_that_loses_doubles_and_reorders_no_book_is_invented_and_all_come_back(
        dialect in select(
            DIALECTS.into_iter().filter(|dialect| dialect.facts().detects_loss).collect::<Vec<_>>()
        ),
        moves in moves(60),
        faults in prop::collection::vec(line_fault(), 60),
        answers in prop::collection::vec(prop::bool::weighted(0.4), 60),
    ) {
        let mut rig = Rig::new(dialect);
        for (i, next) in moves.iter().enumerate() {
            rig.step(next, faults[i]);
            if answers[i] {
                rig.answer();
            }
        }
        prop_assert_eq!(rig.invented, 0, "{:?}", dialect);
        recover(&mut rig);
        prop_assert_eq!(rig.invented, 0, "{:?}", dialect);
        for instrument in 0..INSTRUMENTS {
            prop_assert!(rig.published[instrument], "{:?} {:?}", dialect, rig.session.counters());
            prop_assert_eq!(rig.held(instrument), rig.truth(instrument), "{:?}", dialect);
        }
    }

    #[test]
    fn damaged_frames_make_no_decoder_panic_and_no_event_of_a_negative_quantity(
        dialect in select(DIALECTS.to_vec()),
        moves in moves(40),
        faults in prop::collection::vec(damage(), 40),
    ) {
        // The rig checks every event.
        let mut rig = Rig::new(dialect);
        for (i, next) in moves.iter().enumerate() {
            rig.step(next, faults[i]);
            rig.answer();
        }
        prop_assert_eq!(rig.session.counters().acks_refused, 0);
    }
}

/// The rig's faults are real: a lost update costs the book where the venue numbers or sums its frames, and
/// elsewhere makes one that never was, which the rig notices.
#[test]
fn a_lost_update_is_noticed_by_the_session_or_else_by_the_rig() {
    let bid_at = |ticks| Move {
        instrument: 0,
        changes: vec![(true, ticks, 9)],
        has_trade: false,
        has_snapshot: false,
    };
    for dialect in DIALECTS {
        let mut rig = Rig::new(dialect);
        for ticks in [14, 13, 12] {
            rig.step(&bid_at(ticks), Fault::None);
            rig.answer();
        }
        assert!(rig.published[0] && rig.commits > 0, "{dialect:?}");
        rig.step(&bid_at(11), Fault::Drop);
        rig.step(&bid_at(16), Fault::None);
        let is_seen = dialect.facts().detects_loss;
        assert_eq!((rig.desyncs > 0, rig.invented > 0), (is_seen, !is_seen), "{dialect:?}");
    }
}
