//! Both feeds through a session with bytes overwritten at random: nothing panics, and nothing of a book
//! is published before its snapshot or after it was given up.

use std::sync::Arc;

use proptest::prelude::*;

use crate::session::{Session, SessionSpec};
use crate::{EventBody, Instrument, InstrumentId, InstrumentTable, Venue};

const ADVANCED: [&str; 6] = [
    r#"{"channel":"subscriptions","timestamp":"2026-08-09T21:05:48Z","sequence_num":0,"events":[{"subscriptions":{"level2":["A-B"]}}]}"#,
    r#"{"channel":"l2_data","timestamp":"2026-08-09T21:05:48Z","sequence_num":1,"events":[{"type":"snapshot","product_id":"A-B","updates":[{"side":"bid","event_time":"2026-08-09T21:05:48Z","price_level":"1.5","new_quantity":"2"},{"side":"offer","event_time":"2026-08-09T21:05:48Z","price_level":"2.5","new_quantity":"2"}]}]}"#,
    r#"{"channel":"l2_data","timestamp":"2026-08-09T21:05:49Z","sequence_num":2,"events":[{"type":"update","product_id":"A-B","updates":[{"side":"bid","event_time":"2026-08-09T21:05:49Z","price_level":"1.5","new_quantity":"0"}]}]}"#,
    r#"{"channel":"market_trades","timestamp":"2026-08-09T21:05:49Z","sequence_num":3,"events":[{"type":"update","trades":[{"product_id":"A-B","trade_id":"2","price":"2.5","size":"1","time":"2026-08-09T21:05:49Z","side":"SELL"}]}]}"#,
    r#"{"channel":"ticker","timestamp":"2026-08-09T21:05:49Z","sequence_num":4,"events":[{"type":"update","tickers":[{"product_id":"A-B","best_bid":"1","best_ask":"2","best_bid_quantity":"3","best_ask_quantity":"4"}]}]}"#,
    r#"{"channel":"heartbeats","timestamp":"2026-08-09T21:05:50Z","sequence_num":5,"events":[{"heartbeat_counter":1}]}"#,
];

const EXCHANGE: [&str; 6] = [
    r#"{"type":"subscriptions","channels":[{"name":"level2_batch","product_ids":["A-B"]}]}"#,
    r#"{"type":"snapshot","product_id":"A-B","asks":[["2.5","2"]],"bids":[["1.5","2"]]}"#,
    r#"{"type":"l2update","product_id":"A-B","changes":[["buy","1.5","0"],["sell","2.5","NaN"]],"time":"2021-04-17T16:44:07.849205Z"}"#,
    r#"{"type":"match","trade_id":2,"side":"buy","size":"1","price":"1.5","product_id":"A-B","time":"2021-04-17T16:44:08Z"}"#,
    r#"{"type":"ticker","sequence":7,"product_id":"A-B","best_bid":"1.5","best_ask":"2.5"}"#,
    r#"{"type":"heartbeat","sequence":90,"last_trade_id":3,"product_id":"A-B"}"#,
];

fn session(venue: Venue) -> Session {
    let symbol = "A-B".to_owned();
    let item = Instrument { venue, symbol, price_decimals: 2, qty_decimals: 3 };
    let table = Arc::new(InstrumentTable::new(vec![item]).unwrap());
    Session::new(SessionSpec::new(0, venue, vec![InstrumentId(0)]), table).unwrap()
}

#[test]
fn whole_frames_publish_a_book_and_nothing_is_refused() {
    for (venue, frames) in
        [(Venue::CoinbaseAdvanced, ADVANCED), (Venue::CoinbaseExchange, EXCHANGE)]
    {
        let mut session = session(venue);
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        for frame in frames {
            session.on_frame(1, frame.as_bytes(), &mut out);
        }
        let c = *session.counters();
        assert_eq!((c.bad_input.total(), c.depth, c.tops, c.trades), (0, 2, 1, 1), "{venue:?}");
        assert_eq!((c.acks, c.heartbeats, c.ignored), (1, 1, 0), "{venue:?}");
        let is_exchange = venue == Venue::CoinbaseExchange;
        assert_eq!(c.levels_not_a_number, u64::from(is_exchange));
        // The heartbeat says that a third trade happened, which never came.
        assert_eq!((c.trades_lost, session.all_published()), (c.levels_not_a_number, !is_exchange));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_session_panic_or_publish_out_of_sequence(
        is_exchange in any::<bool>(),
        edits in prop::collection::vec((0usize..6, 0usize..300, any::<u8>()), 0..12),
        cut in prop::option::of((0usize..6, 0usize..300)),
    ) {
        let (venue, frames) = if is_exchange {
            (Venue::CoinbaseExchange, EXCHANGE)
        } else {
            (Venue::CoinbaseAdvanced, ADVANCED)
        };
        let mut session = session(venue);
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        let mut frames = frames.map(|frame| frame.as_bytes().to_vec());
        for (frame, at, byte) in edits {
            let frame = &mut frames[frame];
            let at = at % frame.len();
            frame[at] = byte;
        }
        if let Some((frame, len)) = cut {
            frames[frame].truncate(len);
        }
        for frame in &frames {
            session.on_frame(1, frame, &mut out);
        }
        prop_assert_eq!(session.counters().frames, 6);
        let mut is_open = false;
        for event in &out.events {
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
