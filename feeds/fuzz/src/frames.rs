//! Frames of a venue into a session of two instruments, `AAA` and `BBB`.
//!
//! An input is lines, each a WebSocket frame 100 ms after the one before; the first byte of a line may
//! make it something else:
//!
//! * `~` or `^`: a REST answer for `AAA` or `BBB`, wanted or not;
//! * `+`: a new connection; `-`: the end of the connection;
//! * `?`: ten seconds pass;
//! * `!`: the consumer found both books crossed.

use std::sync::Arc;
use std::time::Duration;

use purkinje_feeds::session::{Action, Outbox, Session, SessionSpec, SnapshotReply};
use purkinje_feeds::protocol::SnapshotSource;
use purkinje_feeds::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Venue,
};

const FIRST: InstrumentId = InstrumentId(0);
const SECOND: InstrumentId = InstrumentId(1);

/// Longest input in lines: a run is short.
const MAX_LINES: usize = 512;

/// What came out of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Books complete after a message.
    pub commits: u64,
    /// Best bids and offers.
    pub tops: u64,
    /// Trades.
    pub trades: u64,
    /// Books given up.
    pub desyncs: u64,
    /// Frames and answers that could not be read.
    pub bad_input: u64,
}

/// The venues that speak through a decoder, with the sources of books to try.
fn sessions(target: &str) -> &'static [(Venue, Option<SnapshotSource>)] {
    match target {
        "binance" => &[
            (Venue::BinanceSpot, None),
            (Venue::BinanceUsdm, None),
            (Venue::BinanceCoinm, None),
        ],
        "bitstamp" => &[(Venue::Bitstamp, None)],
        "bybit" => &[(Venue::BybitSpot, None), (Venue::BybitLinear, None)],
        "coinbase_advanced" => &[(Venue::CoinbaseAdvanced, None)],
        "coinbase_exchange" => &[(Venue::CoinbaseExchange, None)],
        "deribit" => &[(Venue::Deribit, None)],
        "kraken" => &[(Venue::Kraken, None)],
        "okx" => &[
            (Venue::Okx, Some(SnapshotSource::Stream)),
            (Venue::Okx, Some(SnapshotSource::Rest)),
        ],
        other => panic!("no venue has a target {other}"),
    }
}

/// Runs an input through a session of each venue of the target; what each made of it.
///
/// # Panics
/// A session breaks a promise.
pub fn run_all(target: &str, input: &[u8]) -> Vec<Heard> {
    sessions(target).iter().map(|&(venue, source)| run(venue, source, input)).collect()
}

fn run(venue: Venue, source: Option<SnapshotSource>, input: &[u8]) -> Heard {
    let item = |symbol: &str| Instrument {
        venue,
        symbol: symbol.into(),
        price_decimals: 2,
        qty_decimals: 3,
    };
    let table = InstrumentTable::new(vec![item("AAA"), item("BBB")]).expect("a table of two");
    let spec = SessionSpec {
        snapshot_limit: 10,
        buffer_diffs: 8,
        buffer_levels: 64,
        snapshot_source: source,
        audit_every: Some(Duration::from_secs(1)),
        ..SessionSpec::new(0, venue, vec![FIRST, SECOND])
    };
    let session = Session::new(spec, Arc::new(table)).expect("the specification is good");
    let mut run = Run {
        out: session.outbox(),
        session,
        now_ns: 0,
        open: [false; 2],
        asked: [false; 2],
        heard: Heard::default(),
    };
    run.connect();
    for line in input.split(|&byte| byte == b'\n').take(MAX_LINES) {
        run.line(line);
    }
    run.session.on_disconnected(run.now_ns, &mut run.out);
    run.drain();
    assert!(!run.session.all_published(), "nothing is published without a connection");
    assert_eq!(run.open, [false; 2]);
    run.heard.bad_input = run.session.counters().bad_input.total();
    run.heard
}

struct Run {
    session: Session,
    out: Outbox,
    now_ns: i64,
    /// Whether levels and commits of the instrument may come: a book was begun and not given up.
    open: [bool; 2],
    /// Whether a snapshot request of the instrument is outstanding.
    asked: [bool; 2],
    heard: Heard,
}

impl Run {
    fn connect(&mut self) {
        self.asked = [false; 2];
        self.session.on_connected(self.now_ns, &mut self.out);
        self.drain();
    }

    fn line(&mut self, line: &[u8]) {
        self.now_ns += 100_000_000;
        match line {
            [b'~', body @ ..] => self.answer(FIRST, body),
            [b'^', body @ ..] => self.answer(SECOND, body),
            b"+" => self.connect(),
            b"-" => self.session.on_disconnected(self.now_ns, &mut self.out),
            b"?" => {
                self.now_ns += 10_000_000_000;
                let before = self.out.events.len();
                self.session.on_tick(self.now_ns, &mut self.out);
                assert_eq!(self.out.events.len(), before, "a tick emits no event");
            }
            b"!" => {
                for id in [FIRST, SECOND] {
                    let reason = DesyncReason::Crossed;
                    self.session.repair(id, reason, self.now_ns, &mut self.out);
                }
            }
            frame => self.session.on_frame(self.now_ns, frame, &mut self.out),
        }
        self.drain();
    }

    fn answer(&mut self, instrument: InstrumentId, body: &[u8]) {
        self.asked[instrument.index()] = false;
        let (generation, ts_recv_ns) = (self.session.generation(), self.now_ns);
        let reply = SnapshotReply { instrument, generation, ts_recv_ns, body };
        self.session.on_snapshot(reply, &mut self.out);
    }

    fn drain(&mut self) {
        for event in std::mem::take(&mut self.out.events) {
            self.event(&event);
        }
        for action in std::mem::take(&mut self.out.actions) {
            match action {
                Action::Snapshot { instrument, generation } => {
                    assert_eq!(generation, self.session.generation());
                    let asked = &mut self.asked[instrument.index()];
                    assert!(!std::mem::replace(asked, true), "one request at a time");
                    assert!(self.session.snapshot_request(instrument).is_some());
                }
                Action::Resubscribe { topic } => {
                    assert!(!self.session.resubscription(topic).is_empty());
                }
                Action::Send(_) | Action::Reconnect { .. } => {}
            }
        }
        self.out.topics.clear();
    }

    fn event(&mut self, event: &MarketEvent) {
        assert_eq!(event.ts_recv_ns, self.now_ns, "events carry the time of their call");
        let open = &mut self.open[event.instrument.index()];
        match event.body {
            EventBody::BookBegin => *open = true,
            EventBody::Level { price, qty, .. } => {
                assert!(*open && price > 0 && qty >= 0, "{event:?}");
            }
            EventBody::BookCommit { conflated } => {
                assert!(*open && !conflated);
                self.heard.commits += 1;
            }
            EventBody::Desync { .. } => {
                assert!(std::mem::replace(open, false), "only a published book is given up");
                self.heard.desyncs += 1;
            }
            // An empty side has a price of 0.
            EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } => {
                assert!([bid_price, bid_qty, ask_price, ask_qty].iter().all(|n| *n >= 0));
                self.heard.tops += 1;
            }
            EventBody::Trade { price, qty, count, .. } => {
                assert!(price > 0 && qty >= 0 && count == 1, "{event:?}");
                self.heard.trades += 1;
            }
            EventBody::Oracle { .. } => panic!("no venue has an oracle"),
        }
    }
}
