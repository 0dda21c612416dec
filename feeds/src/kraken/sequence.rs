//! How Kraken keeps a book in step, in terms of [`crate::protocol::sequence`].
//!
//! The venue's rules, numbered as in the tests ("Book checksum (WebSocket v2)", "Book checksum (WebSocket
//! v1)"; verified on a recording in `tests/captures_kraken.rs`):
//!
//! 1. The channel begins with a snapshot; an update before it is of no use.
//! 2. A snapshot replaces the book, whenever it comes.
//! 3. Messages carry no numbers: each is applied in its turn.
//! 4. All levels of a message are applied, in the order of the message, before the book is looked at.
//!    A quantity of zero removes a level; removing an unknown one is normal.
//! 5. Then the book is cut to the subscribed depth: no removal is sent for a level that falls out.
//! 6. Then the ten best levels a side must give the message's checksum; v1 snapshots have none. Anything
//!    else: subscribe again, this instrument alone.
//!
//! What this cannot show: a lost update of a level beyond the tenth is noticed only when that level has
//! come among the ten. At a depth of ten nothing lies beyond, and every loss shows with the next message.

use crate::protocol::sequence::{Rules, UpdateIds};

/// Snapshots come in the stream.
pub const RULES: Rules = Rules::STREAM;

/// What every message continues from and ends at: unsaid.
pub const IDS: UpdateIds = UpdateIds::NONE;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::protocol::sequence::{DiffStep, DropReason, Sequencer, SnapshotStep};
    use crate::session::{Action, Outbox, Session, SessionSpec};
    use crate::topic::TopicId;
    use crate::{
        DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, Side, Venue, fixed,
    };

    #[test]
    fn rules_1_to_3_updates_need_a_snapshot_and_nothing_else() {
        let mut sequencer = Sequencer::new(RULES);
        sequencer.connect(1);
        let waiting = DiffStep::Drop(DropReason::AwaitingSnapshot);
        let published = SnapshotStep::Bridge { stale: 0 };
        assert_eq!(sequencer.on_update(IDS), waiting);
        for _ in 0..2 {
            assert_eq!(sequencer.on_stream_snapshot(IDS.last), published);
            assert_eq!(sequencer.on_update(IDS), DiffStep::Apply);
            assert_eq!(sequencer.on_update(IDS), DiffStep::Apply);
        }
        sequencer.restart();
        assert_eq!(sequencer.on_update(IDS), waiting);
    }

    /// The worked example of "Book checksum (WebSocket v2)": bids, asks, best first, and their checksum.
    const BIDS: [(&str, &str); 10] = [
        ("45283.5", "0.10000000"),
        ("45283.4", "1.54582015"),
        ("45282.1", "0.10000000"),
        ("45281.0", "0.10000000"),
        ("45280.3", "1.54592586"),
        ("45279.0", "0.07990000"),
        ("45277.6", "0.03310103"),
        ("45277.5", "0.30000000"),
        ("45277.3", "1.54602737"),
        ("45276.6", "0.15445238"),
    ];
    const ASKS: [(&str, &str); 10] = [
        ("45285.2", "0.00100000"),
        ("45286.4", "1.54571953"),
        ("45286.6", "1.54571109"),
        ("45289.6", "1.54560911"),
        ("45290.2", "0.15890660"),
        ("45291.8", "1.54553491"),
        ("45294.7", "0.04454749"),
        ("45296.1", "0.35380000"),
        ("45297.5", "0.09945542"),
        ("45299.5", "0.18772827"),
    ];
    const EXAMPLE: u32 = 3_310_070_434;

    const ONE: InstrumentId = InstrumentId(0);

    fn list(levels: &[(&str, &str)]) -> String {
        let level = |(price, qty): &(&str, &str)| format!(r#"{{"price":{price},"qty":{qty}}}"#);
        levels.iter().map(level).collect::<Vec<_>>().join(",")
    }

    fn frame(
        (kind, symbol): (&str, &str),
        bids: &[(&str, &str)],
        asks: &[(&str, &str)],
        sum: u32,
    ) -> String {
        let (bids, asks) = (list(bids), list(asks));
        format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[{bids}],"asks":[{asks}],"checksum":{sum}}}]}}"#
        )
    }

    /// The checksum of a book of texts, straight from the documentation.
    fn checksum(bids: &[(&str, &str)], asks: &[(&str, &str)]) -> u32 {
        let bare = |text: &str| text.replace('.', "").trim_start_matches('0').to_owned();
        let side = |levels: &[(&str, &str)]| {
            levels.iter().map(|(price, qty)| bare(price) + &bare(qty)).collect::<String>()
        };
        crc32fast::hash((side(asks) + &side(bids)).as_bytes())
    }

    struct Rig {
        session: Session,
        out: Outbox,
        now_ns: i64,
    }

    impl Rig {
        fn new(snapshot_limit: usize) -> Self {
            let item = |symbol: &str| Instrument {
                venue: Venue::Kraken,
                symbol: symbol.into(),
                price_decimals: 1,
                qty_decimals: 8,
            };
            let table = InstrumentTable::new(vec![item("BTC/USD"), item("ETH/USD")]).unwrap();
            let mut spec = SessionSpec::new(0, Venue::Kraken, vec![ONE, InstrumentId(1)]);
            spec.snapshot_limit = snapshot_limit;
            let mut session = Session::new(spec, Arc::new(table)).unwrap();
            let mut out = session.outbox();
            session.on_connected(0, &mut out);
            Self { session, out, now_ns: 0 }
        }

        fn frame(&mut self, text: &str) -> (Vec<EventBody>, Vec<Action>) {
            self.now_ns += 2_000_000_000;
            self.session.on_frame(self.now_ns, text.as_bytes(), &mut self.out);
            let events = self.out.events.drain(..).map(|event| event.body).collect();
            (events, self.out.actions.drain(..).collect())
        }
    }

    fn level(side: Side, price: &str, qty: &str) -> EventBody {
        let price = fixed::parse(price.as_bytes(), 1).unwrap();
        EventBody::Level { side, price, qty: fixed::parse(qty.as_bytes(), 8).unwrap() }
    }

    const COMMIT: EventBody = EventBody::BookCommit { conflated: false };
    const SNAPSHOT: (&str, &str) = ("snapshot", "BTC/USD");
    const UPDATE: (&str, &str) = ("update", "BTC/USD");

    #[test]
    fn rule_6_the_documented_example_has_the_documented_checksum() {
        assert_eq!(checksum(&BIDS, &ASKS), EXAMPLE);
        let mut rig = Rig::new(10);
        let (events, actions) = rig.frame(&frame(SNAPSHOT, &BIDS, &ASKS, EXAMPLE));
        assert_eq!((events.len(), events.last(), actions.len()), (22, Some(&COMMIT), 0));
        assert_eq!(rig.session.counters().checksums, 1);
    }

    #[test]
    fn rules_4_and_5_a_message_is_applied_whole_then_cut_then_checked() {
        let mut rig = Rig::new(10);
        rig.frame(&frame(SNAPSHOT, &BIDS, &ASKS, EXAMPLE));
        // A new best bid pushes the tenth out; a removal of an unknown level is no matter; of two
        // quantities at one price the later holds.
        let changes = [("45284.0", "2.5"), ("45283.9", "0.0"), ("45284.0", "0.50000000")];
        let mut bids = BIDS.to_vec();
        bids.pop();
        bids.insert(0, ("45284.0", "0.50000000"));
        let (events, actions) = rig.frame(&frame(UPDATE, &changes, &[], checksum(&bids, &ASKS)));
        let expected = [
            level(Side::Bid, "45284.0", "2.5"),
            level(Side::Bid, "45283.9", "0"),
            level(Side::Bid, "45284.0", "0.5"),
            level(Side::Bid, "45276.6", "0"),
            COMMIT,
        ];
        assert_eq!((events.as_slice(), actions.len()), (&expected[..], 0));
        assert_eq!(rig.session.counters().levels_cut, 1);
    }

    #[test]
    fn rule_6_a_wrong_checksum_costs_one_instrument_its_book_until_the_next_snapshot() {
        let mut rig = Rig::new(10);
        rig.frame(&frame(SNAPSHOT, &BIDS, &ASKS, EXAMPLE));
        rig.frame(&frame(("snapshot", "ETH/USD"), &BIDS, &ASKS, EXAMPLE));
        let desync = EventBody::Desync { reason: DesyncReason::ChecksumMismatch };
        let again = Action::Resubscribe { topic: TopicId(0) };
        let wrong = frame(UPDATE, &[("45284.0", "1")], &[], EXAMPLE);
        assert_eq!(rig.frame(&wrong), (vec![desync], vec![again]));
        let no_change = frame(UPDATE, &[("1.0", "0")], &[], EXAMPLE);
        assert_eq!(rig.frame(&no_change), (vec![], vec![]), "waits for the snapshot");
        let other = frame(("update", "ETH/USD"), &[("1.0", "0")], &[], EXAMPLE);
        assert_eq!(rig.frame(&other).0.last(), Some(&COMMIT), "the other goes on");
        let (events, _) = rig.frame(&frame(SNAPSHOT, &BIDS, &ASKS, EXAMPLE));
        assert_eq!((events[0], events[21]), (EventBody::BookBegin, COMMIT));
        assert_eq!(rig.session.counters().repairs_done, 1);
    }

    #[test]
    fn a_depth_the_venue_does_not_offer_keeps_the_book_of_the_next_that_it_does() {
        let mut rig = Rig::new(3);
        assert!(rig.session.subscription().any(|text| text.contains(r#""depth":10"#)));
        let (events, _) = rig.frame(&frame(SNAPSHOT, &BIDS, &ASKS, EXAMPLE));
        assert_eq!((events.len(), events.last()), (22, Some(&COMMIT)));
        assert_eq!(rig.session.counters().snapshot_levels_cut, 0);
    }
}
