//! Both dialects of Coinbase against this crate's own sessions: the books are the model's.

use std::sync::Arc;

use purkinje_feeds::session::{Session, SessionSpec};
use purkinje_feeds::topic::{Channel, TopicState};
use purkinje_feeds::venue_sim::dialects::{CoinbaseAdvanced, CoinbaseExchange};
use purkinje_feeds::venue_sim::{Dialect, ModelBook, Script};
use purkinje_feeds::{EventBody, Instrument, InstrumentId, InstrumentTable};

use super::client::{connect, get, send, simulator, text, until};

const IDS: [InstrumentId; 2] = [InstrumentId(0), InstrumentId(1)];

/// Subscribes to everything, lets the market move, and reads until both books are the model's.
async fn follow(dialect: impl Dialect + 'static, heartbeats: u64) {
    let venue = dialect.facts().venue;
    let sim = simulator(dialect, Script::default());
    let item = |symbol: &str| Instrument {
        venue,
        symbol: symbol.into(),
        price_decimals: 2,
        qty_decimals: 3,
    };
    let table = InstrumentTable::new(vec![item("AAAUSDT"), item("BBBUSDT")]).unwrap();
    let mut session =
        Session::new(SessionSpec::new(0, venue, IDS.to_vec()), Arc::new(table)).unwrap();
    let mut out = session.outbox();
    let mut socket = connect(&sim).await;
    session.on_connected(0, &mut out);
    for request in session.subscription() {
        send(&mut socket, request).await;
    }
    until(|| sim.counters().subscriptions == 6 + heartbeats).await;
    sim.step_instrument(0, 300);
    sim.step_instrument(1, 200);
    sim.heartbeat();
    let truth = sim.books();
    let mut books = [ModelBook::default(), ModelBook::default()];
    let mut now_ns = 0;
    while books != truth[..] || session.counters().heartbeats < heartbeats {
        now_ns += 1;
        let frame = text(&mut socket).await;
        session.on_frame(now_ns, frame.as_bytes(), &mut out);
        for event in out.events.drain(..) {
            let book = &mut books[event.instrument.index()];
            match event.body {
                EventBody::BookBegin => *book = ModelBook::default(),
                EventBody::Level { side, price, qty } => {
                    book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => assert!(!book.is_crossed()),
                EventBody::Desync { reason } => panic!("{reason:?} at {frame}"),
                _ => {}
            }
        }
        assert_eq!(out.actions, [], "{frame}");
    }
    let c = session.counters();
    assert_eq!((c.bad_input.total(), c.gaps, c.connection_gaps, c.trades_lost), (0, 0, 0, 0));
    assert_eq!((c.acks, c.unknown_symbol, c.snapshots_applied), (6, 0, 2));
    assert!(c.trades > 20 && c.tops > 100, "{c:?}");
    for instrument in IDS {
        for channel in [Channel::Depth, Channel::BookTicker, Channel::Trade] {
            let state = session.topic_state(instrument, channel);
            assert_eq!(state, Some(TopicState::Flowing));
        }
        // Where there is a book over REST, it is the same one.
        if let Some(request) = session.snapshot_request(instrument) {
            let (status, _, body) = get(&sim, &request.path_and_query).await;
            let book = session.protocol().decode_snapshot(body.as_bytes()).unwrap();
            let held = |side: usize| book.levels[side].clone().map(Result::unwrap).count();
            let model = &truth[instrument.index()];
            let sides = [purkinje_feeds::Side::Bid, purkinje_feeds::Side::Ask];
            assert_eq!((status, [held(0), held(1)]), (200, sides.map(|s| model.levels(s).len())));
        }
    }
    sim.shutdown();
}

#[tokio::test]
async fn the_books_of_advanced_trade_are_the_models() {
    follow(CoinbaseAdvanced, 1).await;
}

#[tokio::test]
async fn the_books_of_exchange_are_the_models() {
    follow(CoinbaseExchange, 2).await;
}
