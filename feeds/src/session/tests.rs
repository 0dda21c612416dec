//! The session as a whole: frames and answers in, events and requests out.

use proptest::prelude::*;

use super::*;
use crate::{Instrument, Venue};

const T0: i64 = 1_000_000_000;
/// Long enough for a published book to count as repaired, and for the first request after a failure.
const A_WHILE_NS: i64 = 2_000_000_000;

fn table(venue: Venue) -> Arc<InstrumentTable> {
    let item = |symbol: &str| Instrument {
        venue,
        symbol: symbol.into(),
        price_decimals: 2,
        qty_decimals: 3,
    };
    Arc::new(InstrumentTable::new(vec![item("AAA"), item("BBB"), item("CCC")]).unwrap())
}

const AAA: InstrumentId = InstrumentId(0);
const BBB: InstrumentId = InstrumentId(1);

struct Rig {
    session: Session,
    out: Outbox,
    now_ns: i64,
}

impl Rig {
    fn with(change: impl FnOnce(&mut SessionSpec)) -> Self {
        let mut spec = SessionSpec::new(0, Venue::BinanceSpot, vec![AAA, BBB]);
        spec.channels.oracle = true;
        change(&mut spec);
        let session = Session::new(spec, table(Venue::BinanceSpot)).unwrap();
        let out = session.outbox();
        let mut rig = Self { session, out, now_ns: T0 };
        rig.session.on_connected(T0, &mut rig.out);
        rig
    }

    fn new() -> Self {
        Self::with(|_| {})
    }

    /// Feeds one frame and returns what it caused.
    fn frame(&mut self, text: &str) -> (Vec<EventBody>, Vec<Action>) {
        self.session.on_frame(self.now_ns, text.as_bytes(), &mut self.out);
        self.drain()
    }

    fn snapshot(
        &mut self,
        instrument: InstrumentId,
        generation: u32,
        body: &str,
    ) -> (Vec<EventBody>, Vec<Action>) {
        let body = body.as_bytes();
        let ts_recv_ns = self.now_ns;
        let reply = SnapshotReply { instrument, generation, ts_recv_ns, body };
        self.session.on_snapshot(reply, &mut self.out);
        self.drain()
    }

    fn drain(&mut self) -> (Vec<EventBody>, Vec<Action>) {
        let events = self.out.events.drain(..).map(|event| event.body).collect();
        (events, self.out.actions.drain(..).collect())
    }

    /// Both books published, in sequence up to 10.
    fn synced() -> Self {
        let mut rig = Self::new();
        for (symbol, id) in [("AAA", AAA), ("BBB", BBB)] {
            rig.frame(&depth(symbol, 6, 10));
            let (events, _) = rig.snapshot(id, 1, &book(8));
            assert_eq!(events.last(), Some(&COMMIT));
        }
        rig.now_ns += A_WHILE_NS;
        rig
    }

    fn counters(&self) -> &SessionCounters {
        self.session.counters()
    }
}

const COMMIT: EventBody = EventBody::BookCommit { conflated: false };

fn ask(instrument: InstrumentId, generation: u32) -> Vec<Action> {
    vec![Action::Snapshot { instrument, generation }]
}

fn depth(symbol: &str, first: u64, last: u64) -> String {
    format!(
        r#"{{"e":"depthUpdate","E":5,"s":"{symbol}","U":{first},"u":{last},"b":[["1.50","{last}"]],"a":[]}}"#
    )
}

fn book(id: u64) -> String {
    format!(r#"{{"lastUpdateId":{id},"bids":[["1.00","2"]],"asks":[["2.00","3"]]}}"#)
}

fn desync(reason: DesyncReason) -> Vec<EventBody> {
    vec![EventBody::Desync { reason }]
}

fn level(side: Side, price: i64, qty: i64) -> EventBody {
    EventBody::Level { side, price, qty }
}

#[test]
fn a_book_is_published_only_once_an_update_bridges_the_snapshot() {
    let mut rig = Rig::new();
    let bid = |qty| level(Side::Bid, 150, qty);
    let snapshot =
        [EventBody::BookBegin, level(Side::Bid, 100, 2000), level(Side::Ask, 200, 3000), COMMIT];
    assert_eq!(rig.frame(&depth("AAA", 1, 5)), (vec![], ask(AAA, 1)));
    assert_eq!(rig.frame(&depth("AAA", 6, 10)), (vec![], vec![]), "one request at a time");
    assert_eq!(rig.frame(&depth("AAA", 11, 12)), (vec![], vec![]));
    let (events, actions) = rig.snapshot(AAA, 1, &book(8));
    let expected = [&snapshot[..], &[bid(10_000), COMMIT, bid(12_000), COMMIT]].concat();
    assert_eq!((events, actions), (expected, vec![]));
    assert_eq!(rig.frame(&depth("AAA", 13, 14)), (vec![bid(14_000), COMMIT], vec![]));

    // The other instrument's snapshot comes before anything that could bridge it.
    assert_eq!(rig.snapshot(BBB, 1, &book(8)), (vec![], vec![]));
    assert_eq!(rig.frame(&depth("BBB", 2, 8)), (vec![], vec![]));
    let expected = [&snapshot[..], &[bid(9000), COMMIT]].concat();
    assert_eq!(rig.frame(&depth("BBB", 9, 9)), (expected, vec![]));
    assert_eq!((rig.counters().snapshots_applied, rig.counters().stale_dropped), (2, 2));
}

#[test]
fn events_carry_the_times_and_ids_of_their_message() {
    let mut rig = Rig::synced();
    rig.session.on_frame(T0 + 7, depth("AAA", 11, 12).as_bytes(), &mut rig.out);
    for event in &rig.out.events {
        assert_eq!((event.ts_venue_ns, event.ts_sent_ns), (5_000_000, 5_000_000));
        assert_eq!((event.ts_recv_ns, event.update_id, event.instrument), (T0 + 7, 12, AAA));
    }
    assert_eq!(rig.out.events.len(), 2);

    let spec = SessionSpec::new(0, Venue::BinanceUsdm, vec![AAA]);
    let mut futures = Session::new(spec, table(Venue::BinanceUsdm)).unwrap();
    let mut out = futures.outbox();
    futures.on_connected(T0, &mut out);
    let frame =
        br#"{"e":"bookTicker","u":9,"s":"AAA","b":"1","B":"2","a":"3","A":"4","T":6,"E":7}"#;
    futures.on_frame(T0, frame, &mut out);
    let event = out.events[0];
    assert_eq!((event.ts_venue_ns, event.ts_sent_ns, event.update_id), (6_000_000, 7_000_000, 9));
    let (bid_price, bid_qty, ask_price, ask_qty) = (100, 2000, 300, 4000);
    assert_eq!(event.body, EventBody::Top { bid_price, bid_qty, ask_price, ask_qty });
}

#[test]
fn times_in_microseconds_are_told_from_milliseconds_by_their_size() {
    let mut rig = Rig::new();
    for (text, ns) in [
        ("1723161256299", Some(1_723_161_256_299_000_000)),
        ("1723161256299123", Some(1_723_161_256_299_123_000)),
        ("1723161256299123456", None),
    ] {
        let frame = format!(
            r#"{{"e":"trade","E":{text},"s":"AAA","t":1,"p":"2","q":"1","T":{text},"m":true}}"#
        );
        rig.session.on_frame(T0, frame.as_bytes(), &mut rig.out);
        let event = rig.out.events.pop();
        let times = event.map(|event| (event.ts_venue_ns, event.ts_sent_ns));
        assert_eq!(times, ns.map(|ns| (ns, ns)), "{text}");
    }
    assert_eq!(rig.counters().bad_input.of(BadInput::BadField), 1);
}

#[test]
fn negative_prices_are_refused_and_an_empty_side_of_a_top_is_not() {
    let mut rig = Rig::new();
    let top = r#"{"u":1,"s":"AAA","b":"1","B":"2","a":"3","A":"4"}"#;
    let empty = top.replace(r#""1""#, r#""0""#).replace(r#""2""#, r#""0""#);
    let trade = r#"{"e":"trade","E":5,"s":"AAA","t":1,"p":"2","q":"1","T":4,"m":true}"#;
    assert_eq!(rig.frame(trade).0.len() + rig.frame(&empty).0.len(), 2);
    let bad = [
        top.replace(r#""1""#, r#""-1""#),
        top.replace(r#""3""#, r#""-3""#),
        trade.replace(r#""2""#, r#""-2""#),
        trade.replace(r#""2""#, r#""0""#),
    ];
    for frame in bad {
        assert_eq!(rig.frame(&frame), (vec![], vec![]), "{frame}");
    }
    assert_eq!(rig.counters().bad_input.of(BadInput::OutOfRange), 4);
}

#[test]
fn a_gap_costs_one_instrument_its_book_until_it_is_repaired() {
    let mut rig = Rig::synced();
    let gap = (desync(DesyncReason::SequenceGap), ask(AAA, 1));
    assert_eq!(rig.frame(&depth("AAA", 12, 13)), gap);
    assert_eq!(rig.frame(&depth("BBB", 11, 12)).0.last(), Some(&COMMIT), "the other goes on");
    assert_eq!(rig.frame(&depth("AAA", 14, 14)), (vec![], vec![]));
    assert_eq!(rig.snapshot(AAA, 1, &book(10)), (vec![], vec![]), "too old");
    rig.now_ns += A_WHILE_NS;
    assert_eq!(rig.frame(&depth("AAA", 15, 15)), (vec![], ask(AAA, 1)), "asked for again");
    let (events, _) = rig.snapshot(AAA, 1, &book(12));
    assert_eq!(events.first(), Some(&EventBody::BookBegin));
    assert_eq!(events.iter().filter(|body| **body == COMMIT).count(), 4);
    let c = rig.counters();
    assert_eq!((c.gaps, c.repairs_started, c.repairs_done, c.snapshots_stale), (1, 1, 1, 1));
}

#[test]
fn duplicates_and_unneeded_snapshots_change_nothing() {
    let mut rig = Rig::synced();
    assert_eq!(rig.frame(&depth("AAA", 6, 10)), (vec![], vec![]));
    assert_eq!(rig.snapshot(AAA, 1, &book(9)), (vec![], vec![]));
    assert_eq!((rig.counters().duplicates, rig.counters().snapshots_not_needed), (1, 1));
}

#[test]
fn a_new_connection_gives_up_books_and_refuses_older_snapshots() {
    let mut rig = Rig::synced();
    rig.session.on_disconnected(T0, &mut rig.out);
    let both = [desync(DesyncReason::Disconnected), desync(DesyncReason::Disconnected)].concat();
    assert_eq!(rig.drain(), (both, vec![]));
    rig.session.on_connected(T0, &mut rig.out);
    assert_eq!((rig.drain(), rig.session.generation()), ((vec![], vec![]), 2));
    assert_eq!(rig.frame(&depth("AAA", 21, 25)), (vec![], ask(AAA, 2)));
    assert_eq!(rig.snapshot(AAA, 1, &book(22)), (vec![], vec![]));
    assert_eq!(rig.counters().snapshots_wrong_generation, 1);
    assert_eq!(rig.snapshot(AAA, 2, &book(22)).0.last(), Some(&COMMIT));
    assert_eq!((rig.counters().repairs_started, rig.counters().repairs_done), (2, 1));
}

#[test]
fn a_reconnection_without_a_disconnection_does_not_leave_books_trusted() {
    let mut rig = Rig::synced();
    rig.session.on_connected(T0, &mut rig.out);
    assert_eq!(rig.drain().0.len(), 2);
}

#[test]
fn a_depth_frame_that_cannot_be_read_desyncs_its_instrument_alone() {
    let bad = |from: &str, to: &str| depth("AAA", 11, 12).replace(from, to);
    let table = [
        (bad("1.50", "12345678901234567890"), BadInput::Overflow),
        (bad("1.50", "1.501"), BadInput::TooPrecise),
        (bad("1.50", "x"), BadInput::NotANumber),
        (bad(r#""12"]"#, r#""-12"]"#), BadInput::OutOfRange),
        (bad("1.50", "-1.50"), BadInput::OutOfRange),
        (bad("1.50", "0.00"), BadInput::OutOfRange),
        (bad(r#""U":11"#, r#""U":13"#), BadInput::BadIds),
        (bad(r#""a":[]"#, r#""a":[["1"]]"#), BadInput::BadField),
        (bad(r#","a":[]"#, ""), BadInput::MissingField),
        (bad(r#""a":[]}"#, r#""a":["#), BadInput::Truncated),
        (bad(r#""E":5"#, r#""E":9223372036854775807"#), BadInput::BadField),
    ];
    for (frame, kind) in table {
        let mut rig = Rig::synced();
        let (events, actions) = rig.frame(&frame);
        assert_eq!((events, actions), (desync(DesyncReason::BadMessage), vec![]), "{frame}");
        assert_eq!(rig.counters().bad_input.of(kind), 1, "{frame}");
        assert_eq!(rig.counters().bad_input.total(), 1);
        // The next update is what a snapshot can be bridged to.
        assert_eq!(rig.frame(&depth("AAA", 13, 14)), (vec![], ask(AAA, 1)));
        assert_eq!(rig.snapshot(AAA, 1, &book(13)).0.last(), Some(&COMMIT));
        assert_eq!(rig.frame(&depth("BBB", 11, 12)).0.last(), Some(&COMMIT));
        assert_eq!((rig.counters().repairs_started, rig.counters().repairs_done), (1, 1));
    }
}

#[test]
fn a_level_whose_quantity_is_not_a_number_is_passed_over_and_counted() {
    let mut rig = Rig::synced();
    let frame =
        depth("AAA", 11, 12).replace(r#"[["1.50","12"]]"#, r#"[["1.40","NaN"],["1.50","12"]]"#);
    let expected = vec![level(Side::Bid, 150, 12_000), COMMIT];
    assert_eq!(rig.frame(&frame), (expected, vec![]));
    assert_eq!(rig.counters().levels_not_a_number, 1);
    assert_eq!(rig.counters().bad_input.total(), 0);
}

#[test]
fn a_frame_truncated_anywhere_never_passes_unnoticed() {
    let frame = format!(r#"{{"stream":"aaa@depth@100ms","data":{}}}"#, depth("AAA", 11, 12));
    for end in 0..frame.len() {
        let mut rig = Rig::synced();
        let (events, _) = rig.frame(&frame[..end]);
        assert_eq!(rig.counters().bad_input.of(BadInput::Truncated), 1);
        if events.is_empty() {
            // The instrument could not be told: the next update shows that one is missing.
            let gap = (desync(DesyncReason::SequenceGap), ask(AAA, 1));
            assert_eq!(rig.frame(&depth("AAA", 13, 14)), gap, "{end}");
        } else {
            assert_eq!(events, desync(DesyncReason::BadMessage), "{end}");
        }
    }
}

#[test]
fn bad_tops_and_trades_are_dropped_and_leave_the_book_alone() {
    let mut rig = Rig::synced();
    for frame in [
        r#"{"u":1,"s":"AAA","b":"1","B":"-2","a":"3","A":"4"}"#,
        r#"{"u":1,"s":"AAA","b":"1.001","B":"2","a":"3","A":"4"}"#,
        r#"{"e":"trade","E":5,"s":"AAA","t":1,"p":"1e5","q":"1","T":4,"m":true}"#,
        r#"{"e":"oracle","E":9,"s":"AAA","h":1000,"p":1.000000001}"#,
        r#"{"e":"oracle","E":9,"s":"AAA","h":1000,"p":-0.1}"#,
        r#"{"stream":"aaa@trade","data":{"e":"trade""#,
    ] {
        assert_eq!(rig.frame(frame), (vec![], vec![]), "{frame}");
    }
    assert_eq!(rig.counters().bad_input.total(), 6);
}

#[test]
fn tops_trades_and_oracles_flow_before_any_book() {
    let mut rig = Rig::new();
    let trade = |maker| {
        format!(r#"{{"e":"trade","E":5,"s":"AAA","t":1,"p":"2","q":"1","T":4,"m":{maker}}}"#)
    };
    let sold = EventBody::Trade { side: Side::Ask, price: 200, qty: 1000, count: 1 };
    let bought = EventBody::Trade { side: Side::Bid, price: 200, qty: 1000, count: 1 };
    assert_eq!(rig.frame(&trade(true)).0, [sold]);
    assert_eq!(rig.frame(&trade(false)).0, [bought]);
    let oracle =
        r#"{"stream":"aaa@oracle","data":{"e":"oracle","E":9,"s":"AAA","h":1000,"p":0.6123456}}"#;
    let expected = EventBody::Oracle { p_up_ppb: 612_345_600, horizon_ms: 1000 };
    assert_eq!(rig.frame(oracle).0, [expected]);
    assert_eq!((rig.counters().trades, rig.counters().oracles), (2, 1));
}

#[test]
fn frames_nobody_asked_for_are_counted() {
    let mut rig = Rig::with(|spec| spec.channels.trade = false);
    rig.frame(&depth("ZZZ", 1, 2));
    rig.frame(&depth("CCC", 1, 2));
    rig.frame(r#"{"e":"trade","E":5,"s":"AAA","t":1,"p":"2","q":"1","T":4,"m":true}"#);
    rig.frame(r#"{"e":"forceOrder"}"#);
    let c = rig.counters();
    assert_eq!((c.frames, c.unknown_symbol, c.ignored, c.bad_input.total()), (4, 2, 2, 0));
}

#[test]
fn an_oversize_frame_is_refused_and_its_instrument_repaired() {
    let mut rig = Rig::synced();
    let mut frame = br#"{"stream":"bbb@depth@100ms","data":{"e":"depthUpdate","b":[["#.to_vec();
    frame.resize(MAX_FRAME_BYTES + 1, b' ');
    rig.session.on_frame(T0, &frame, &mut rig.out);
    assert_eq!(rig.out.events[0].instrument, BBB);
    assert_eq!(rig.drain().0, desync(DesyncReason::BadMessage));
    assert_eq!(rig.counters().bad_input.of(BadInput::Oversize), 1);
}

/// Feeds updates of AAA from `first`, one every 10 ms, and returns when snapshots were asked for, ms.
fn asked_at_ms(rig: &mut Rig, first: u64, mut at_ask: impl FnMut(&mut Rig)) -> Vec<i64> {
    let start_ns = rig.now_ns;
    let mut asked = Vec::new();
    for id in first..first + 5000 {
        rig.now_ns += 10_000_000;
        for action in rig.frame(&depth("AAA", id, id)).1 {
            assert_eq!(vec![action], ask(AAA, 1));
            asked.push((rig.now_ns - start_ns) / 1_000_000);
            at_ask(rig);
        }
    }
    asked
}

#[test]
fn useless_snapshots_are_asked_for_again_at_doubling_distances() {
    let refusals: [fn(&mut Rig); 4] = [
        |rig| assert_eq!(rig.snapshot(AAA, 1, r#"{"code":-1003,"msg":"slow"}"#), (vec![], vec![])),
        |rig| {
            let negative = book(3).replace(r#""2""#, r#""-2""#);
            assert_eq!(rig.snapshot(AAA, 1, &negative), (vec![], vec![]));
        },
        |rig| assert_eq!(rig.snapshot(AAA, 1, &book(0)), (vec![], vec![])),
        |rig| {
            rig.session.on_snapshot_failed(AAA, 1);
            assert_eq!(rig.drain(), (vec![], vec![]));
        },
    ];
    for (i, refuse) in refusals.into_iter().enumerate() {
        let mut rig = Rig::with(|spec| spec.buffer_diffs = 10_000);
        // The oldest update continues from 1, so that a snapshot of 0 is too old.
        let asked = asked_at_ms(&mut rig, 2, refuse);
        let distances: Vec<i64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // A failure without a time of its own counts from the update after it.
        let late = if i == 3 { 10 } else { 0 };
        let expected: Vec<i64> =
            [250, 500, 1000, 2000, 4000, 8000, 16_000, 16_000].map(|ms| ms + late).to_vec();
        assert_eq!(distances, expected, "case {i}");
        assert_eq!(rig.snapshot(AAA, 1, &book(4000)).0.last(), Some(&COMMIT));
    }
}

#[test]
fn a_failure_of_an_older_connection_is_of_no_consequence() {
    let mut rig = Rig::new();
    assert_eq!(rig.frame(&depth("AAA", 1, 5)).1, ask(AAA, 1));
    rig.session.on_snapshot_failed(AAA, 0);
    assert_eq!(rig.frame(&depth("AAA", 6, 7)), (vec![], vec![]), "one is outstanding still");
    assert_eq!(
        (rig.counters().snapshots_failed, rig.counters().snapshots_wrong_generation),
        (0, 1)
    );
}

#[test]
fn a_book_that_is_given_up_again_and_again_is_not_asked_for_without_pause() {
    let mut rig = Rig::synced();
    let mut asked = 0;
    // Every update leaves something out, and every request is answered at once.
    for id in 10_000..15_000 {
        rig.now_ns += 10_000_000;
        for _ in rig.frame(&depth("AAA", id * 10 + 1, id * 10 + 5)).1 {
            asked += 1;
            assert_eq!(rig.snapshot(AAA, 1, &book(id * 10)).0.last(), Some(&COMMIT));
        }
    }
    assert!((6..=10).contains(&asked), "{asked} requests in 50 s");
}

#[test]
fn a_snapshot_is_cut_at_its_limit_and_the_cut_counted() {
    let mut rig = Rig::with(|spec| spec.snapshot_limit = 1);
    rig.frame(&depth("AAA", 1, 5));
    let body = r#"{"lastUpdateId":3,"bids":[["2","1"],["1","1"]],"asks":[["3","1"],["4","1"]]}"#;
    let (events, _) = rig.snapshot(AAA, 1, body);
    let levels = events.iter().filter(|body| matches!(body, EventBody::Level { .. })).count();
    assert_eq!((levels, rig.counters().snapshot_levels_cut), (2 + 1, 2));
}

#[test]
fn a_full_buffer_drops_the_oldest_and_needs_a_newer_snapshot() {
    let mut rig = Rig::with(|spec| spec.buffer_diffs = 2);
    for id in 1..=3 {
        rig.frame(&depth("AAA", id, id));
    }
    assert_eq!(rig.counters().buffered_dropped, 1);
    assert_eq!(rig.snapshot(AAA, 1, &book(0)), (vec![], vec![]));
    assert_eq!(rig.snapshot(AAA, 1, &book(1)).0.last(), Some(&COMMIT));
}

#[test]
fn an_update_larger_than_the_buffer_starts_the_chain_anew() {
    let mut rig = Rig::with(|spec| spec.buffer_levels = 1);
    rig.frame(&depth("AAA", 1, 1));
    let large = depth("AAA", 2, 2).replace(r#""a":[]"#, r#""a":[["9","1"]]"#);
    assert_eq!(rig.frame(&large), (vec![], vec![]));
    assert_eq!(rig.snapshot(AAA, 1, &book(1)), (vec![], vec![]), "held");
    assert_eq!(rig.frame(&depth("AAA", 3, 3)), (vec![], vec![]), "does not reach back");
    rig.now_ns += A_WHILE_NS;
    assert_eq!(rig.frame(&depth("AAA", 4, 4)), (vec![], ask(AAA, 1)));
    assert_eq!(rig.snapshot(AAA, 1, &book(3)).0.last(), Some(&COMMIT));
    assert_eq!(rig.counters().buffered_dropped, 3);
}

#[test]
fn a_consumer_that_finds_a_book_crossed_gets_it_repaired() {
    let mut rig = Rig::synced();
    rig.session.repair(AAA, DesyncReason::Crossed, rig.now_ns, &mut rig.out);
    assert_eq!(rig.drain().0, desync(DesyncReason::Crossed));
    rig.session.repair(AAA, DesyncReason::Crossed, rig.now_ns, &mut rig.out);
    assert_eq!(rig.drain().0, [], "once");
    assert_eq!(rig.frame(&depth("AAA", 11, 12)), (vec![], ask(AAA, 1)));
    assert_eq!(rig.snapshot(AAA, 1, &book(11)).0.last(), Some(&COMMIT));
}

#[test]
fn acknowledgements_confirm_topics_and_data_makes_them_flow() {
    let mut rig = Rig::new();
    rig.frame(r#"{"result":null,"id":1}"#);
    let state = |rig: &Rig, channel| rig.session.topic_state(BBB, channel);
    assert_eq!(state(&rig, Channel::Depth), Some(TopicState::Confirmed));
    rig.frame(&depth("BBB", 1, 2));
    assert_eq!(state(&rig, Channel::Depth), Some(TopicState::Flowing));
    assert_eq!(state(&rig, Channel::Trade), Some(TopicState::Confirmed));
    rig.frame(r#"{"error":{"code":2,"msg":"no"},"id":1}"#);
    for id in ["18446744073709551615", "0", "2", "-1"] {
        rig.frame(&format!(r#"{{"result":null,"id":{id}}}"#));
    }
    assert_eq!((rig.counters().acks, rig.counters().acks_refused), (5, 1));
    let flowing = rig.out.topics.iter().find(|change| change.to == TopicState::Flowing).unwrap();
    assert_eq!(rig.session.topic_subject(flowing.topic), Some((BBB, Channel::Depth)));
    assert_eq!(rig.session.topic_subject(TopicId(8)), None);
}

#[test]
fn ticks_emit_actions_and_topic_changes_but_never_events() {
    let mut rig = Rig::synced();
    rig.session.on_tick(T0 + 3_600_000_000_000, &mut rig.out);
    assert!(
        rig.out.topics.iter().all(|change| change.to != TopicState::Stale || change.at_ns > T0)
    );
    let reconnect = Action::Reconnect { reason: ReconnectReason::Silent };
    assert_eq!(rig.drain(), (vec![], vec![reconnect]));
}

#[test]
fn requests_name_every_stream_and_stay_under_the_venues_bound() {
    let rig = Rig::new();
    assert_eq!(rig.session.topic_count(), 8);
    let requests: Vec<&str> = rig.session.subscription().collect();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].contains(r#"["aaa@depth@100ms","aaa@bookTicker","#), "{}", requests[0]);
    let again = rig.session.resubscription(TopicId(1));
    assert_eq!(again[0], r#"{"method":"UNSUBSCRIBE","params":["aaa@bookTicker"],"id":4294967298}"#);
    assert_eq!(again[1], r#"{"method":"SUBSCRIBE","params":["aaa@bookTicker"],"id":4294967299}"#);
    assert!(rig.session.resubscription(TopicId(8)).is_empty());

    let items = (0..150).map(|i| Instrument {
        venue: Venue::BinanceSpot,
        symbol: format!("S{i}"),
        price_decimals: 2,
        qty_decimals: 2,
    });
    let table = Arc::new(InstrumentTable::new(items.collect()).unwrap());
    let mut spec =
        SessionSpec::new(0, Venue::BinanceSpot, table.iter().map(|(id, _)| id).collect());
    spec.buffer_diffs = 1;
    spec.buffer_levels = 1;
    let session = Session::new(spec, table).unwrap();
    let requests: Vec<&str> = session.subscription().collect();
    let streams: Vec<usize> = requests.iter().map(|text| text.matches('@').count()).collect();
    // 150 × (depth@100ms, bookTicker, trade) = 450 streams, 600 at-signs.
    assert_eq!((requests.len(), streams.iter().sum::<usize>()), (3, 600));
    assert!(requests[2].ends_with(r#""id":3}"#));
}

#[test]
fn contradictory_specifications_are_refused() {
    let refused = |change: &dyn Fn(&mut SessionSpec)| {
        let mut spec = SessionSpec::new(0, Venue::BinanceSpot, vec![AAA]);
        change(&mut spec);
        Session::new(spec, table(Venue::BinanceSpot)).unwrap_err()
    };
    let none = Channels { depth: false, book_ticker: false, trade: false, oracle: false };
    assert_eq!(refused(&|spec| spec.channels = none), SessionError::Nothing);
    assert_eq!(refused(&|spec| spec.instruments.clear()), SessionError::Nothing);
    assert!(matches!(
        refused(&|spec| spec.instruments = vec![InstrumentId(3)]),
        SessionError::UnknownInstrument { id: 3, len: 3 }
    ));
    assert!(matches!(refused(&|spec| spec.instruments.push(AAA)), SessionError::Duplicate { .. }));
    assert!(matches!(
        refused(&|spec| spec.venue = Venue::BinanceUsdm),
        SessionError::WrongVenue { .. }
    ));
    assert_eq!(refused(&|spec| spec.snapshot_limit = 0), SessionError::SnapshotLimit { found: 0 });
    let many = |spec: &mut SessionSpec| {
        spec.venue = Venue::BinanceUsdm;
        spec.instruments = vec![AAA; 67];
    };
    assert!(matches!(refused(&many), SessionError::TooManyStreams { found: 201, max: 200, .. }));
}

proptest! {
    #[test]
    fn no_bytes_make_a_session_panic_or_publish_out_of_sequence(
        edits in prop::collection::vec((0usize..6, 0usize..200, any::<u8>()), 0..12),
    ) {
        let mut rig = Rig::new();
        let mut frames = [
            depth("AAA", 1, 5).into_bytes(),
            depth("AAA", 6, 10).into_bytes(),
            br#"{"u":1,"s":"AAA","b":"1","B":"2","a":"3","A":"4"}"#.to_vec(),
            br#"{"e":"trade","E":5,"s":"AAA","t":1,"p":"2","q":"1","T":4,"m":true}"#.to_vec(),
            br#"{"result":null,"id":1}"#.to_vec(),
            depth("AAA", 11, 12).into_bytes(),
        ];
        for (frame, at, byte) in edits {
            let frame = &mut frames[frame];
            let at = at % frame.len();
            frame[at] = byte;
        }
        for frame in &frames[..3] {
            rig.session.on_frame(T0, frame, &mut rig.out);
        }
        let body = book(8);
        let reply =
            SnapshotReply { instrument: AAA, generation: 1, ts_recv_ns: T0, body: body.as_bytes() };
        rig.session.on_snapshot(reply, &mut rig.out);
        for frame in &frames[3..] {
            rig.session.on_frame(T0, frame, &mut rig.out);
        }
        prop_assert_eq!(rig.counters().frames, 6);
        // Levels and commits stand only between a `BookBegin` and the next `Desync`.
        let mut is_open = false;
        for event in &rig.out.events {
            match event.body {
                EventBody::BookBegin => is_open = true,
                EventBody::Desync { .. } => is_open = false,
                EventBody::Level { qty, .. } => prop_assert!(is_open && qty >= 0),
                EventBody::BookCommit { .. } => prop_assert!(is_open),
                _ => {}
            }
        }
    }
}
