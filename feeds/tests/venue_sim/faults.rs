//! Every fault does what it says, once, and is on record.

use super::client::{
    Socket, ask, close_code, connect, get, is_over, json, message, simulator, text,
    timed_simulator, until,
};
use futures_util::{SinkExt, StreamExt};
use purkinje_feeds::venue_sim::dialects::{Binance, Bybit};
use purkinje_feeds::venue_sim::{
    BookFrame, Channel, Dialect, Effect, Facts, Fault, Garbage, Garble, Handle, Listing, Script,
    Scripted, Session, Timers, TopFrame, TradeFrame, When,
};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

const BOOK: &str = r#"{"op":"subscribe","args":["orderbook.50.AAAUSDT"]}"#;

/// A simulator and a client that has its snapshot of the first book.
async fn bybit(script: Script) -> (Handle, Socket) {
    let sim = simulator(Bybit::LINEAR, script);
    let mut socket = connect(&sim).await;
    ask(&mut socket, BOOK).await;
    assert_eq!(u(&json(&mut socket).await), 1, "the snapshot");
    (sim, socket)
}

fn u(frame: &Value) -> u64 {
    frame["data"]["u"].as_u64().unwrap()
}

/// Numbers of the next `n` frames.
async fn numbers(socket: &mut Socket, n: usize) -> Vec<u64> {
    let mut list = Vec::new();
    for _ in 0..n {
        list.push(u(&json(socket).await));
    }
    list
}

/// Steps the book and checks that it still reaches the client.
async fn still_flows(sim: &Handle, socket: &mut Socket) {
    sim.step_instrument(0, 1);
    assert_eq!(u(&json(socket).await), sim.ids()[0].count);
}

#[tokio::test]
async fn updates_are_lost_doubled_and_reordered_as_injected() {
    let cases: [(Fault, usize, &[u64]); 5] = [
        (Fault::DropUpdates { instrument: 0, count: 1 }, 5, &[3, 4, 5, 6]),
        (Fault::DropUpdates { instrument: 0, count: 3 }, 5, &[5, 6]),
        (Fault::DuplicateUpdate { instrument: 0 }, 3, &[2, 2, 3, 4]),
        (Fault::DelayUpdate { instrument: 0, updates: 1 }, 4, &[3, 2, 4, 5]),
        (Fault::DelayUpdate { instrument: 0, updates: 3 }, 5, &[3, 4, 5, 2, 6]),
    ];
    for (fault, steps, expected) in cases {
        let (sim, mut socket) = bybit(Script::default()).await;
        assert!(sim.inject(fault));
        sim.step_instrument(1, 2);
        assert_eq!(sim.fired(), [], "an update of another instrument is not meant");
        sim.step_instrument(0, steps as u64);
        assert_eq!(numbers(&mut socket, expected.len()).await, expected, "{fault:?}");
        assert!(sim.fired().iter().all(|fired| fired.fault == fault));
        assert_eq!(sim.waiting_faults(), 0);
        still_flows(&sim, &mut socket).await;
    }
}

#[tokio::test]
async fn a_fault_waits_for_an_update_that_somebody_receives() {
    let sim = simulator(Bybit::LINEAR, Script::default());
    sim.inject(Fault::DropUpdates { instrument: 0, count: 1 });
    sim.step_instrument(0, 3);
    assert_eq!((sim.waiting_faults(), sim.counters().faults), (1, 0));
    let mut socket = connect(&sim).await;
    ask(&mut socket, BOOK).await;
    sim.step_instrument(0, 2);
    assert_eq!(numbers(&mut socket, 2).await, [4, 6]);
    assert!(!sim.inject(Fault::DropUpdates { instrument: 9, count: 1 }), "not listed");
    assert_eq!((sim.counters().faults, sim.counters().faults_refused), (1, 1));
}

#[tokio::test]
async fn scripted_faults_strike_at_their_updates() {
    let drop = |instrument| Fault::DropUpdates { instrument, count: 1 };
    let script = Script(vec![
        Scripted { when: When::Updates { instrument: 0, count: 3 }, fault: drop(0) },
        Scripted { when: When::AllUpdates(6), fault: Fault::DuplicateUpdate { instrument: 0 } },
        Scripted { when: When::ModelTime(1_000_000_000), fault: drop(0) },
    ]);
    let (sim, mut socket) = bybit(script).await;
    assert_eq!(sim.waiting_faults(), 3);
    sim.step_instrument(0, 8);
    assert_eq!(numbers(&mut socket, 8).await, [2, 3, 4, 6, 7, 8, 8, 9]);
    sim.advance(Duration::from_secs(1));
    sim.step_instrument(0, 2);
    assert_eq!(numbers(&mut socket, 1).await, [11]);
    let at: Vec<_> = sim.fired().iter().map(|fired| fired.updates).collect();
    assert_eq!(at, [4, 7, 9], "counted with the update struck");
}

#[tokio::test]
async fn damaged_updates_are_no_json_or_have_wrong_types() {
    let (sim, mut socket) = bybit(Script::default()).await;
    sim.inject(Fault::Garble { instrument: 0, how: Garble::Truncated });
    sim.inject(Fault::Garble { instrument: 0, how: Garble::WrongTypes });
    sim.step_instrument(0, 3);
    assert!(serde_json::from_str::<Value>(&text(&mut socket).await).is_err());
    let wrong = json(&mut socket).await;
    assert_eq!(wrong["topic"], "orderbook.50.AAAUSDT");
    assert!(wrong["data"]["u"].is_object());
    assert_eq!(u(&json(&mut socket).await), 4);
}

#[tokio::test]
async fn a_slow_loris_frame_arrives_whole_in_the_end_and_delays_what_follows() {
    let (sim, mut socket) = bybit(Script::default()).await;
    let pause = Duration::from_millis(1);
    sim.inject(Fault::SlowLoris { instrument: 0, pause });
    let started = Instant::now();
    sim.step_instrument(0, 2);
    let frame = text(&mut socket).await;
    assert!(started.elapsed() > pause * frame.len() as u32, "each byte waits");
    assert_eq!(u(&serde_json::from_str(&frame).unwrap()), 2);
    assert_eq!(numbers(&mut socket, 1).await, [3]);
}

#[tokio::test]
async fn a_keep_alive_repeats_the_top_with_its_number() {
    let sim = simulator(Bybit::LINEAR, Script::default());
    let mut socket = connect(&sim).await;
    ask(&mut socket, r#"{"op":"subscribe","args":["orderbook.1.AAAUSDT"]}"#).await;
    let first = json(&mut socket).await;
    sim.inject(Fault::KeepAlive { instrument: 0 });
    let again = json(&mut socket).await;
    assert_eq!(again["data"], first["data"]);
    assert_eq!(again["type"], "snapshot");
}

#[tokio::test]
async fn a_restart_is_a_snapshot_with_number_one_or_the_end_of_the_connection() {
    let (sim, mut socket) = bybit(Script::default()).await;
    sim.step_instrument(0, 4);
    numbers(&mut socket, 4).await;
    sim.inject(Fault::ServiceRestart { instrument: 0 });
    let snapshot = json(&mut socket).await;
    assert_eq!((u(&snapshot), &snapshot["type"]), (1, &Value::from("snapshot")));
    sim.step_instrument(0, 1);
    assert_eq!(numbers(&mut socket, 1).await, [2]);

    let sim = simulator(Binance::USDM, Script::default());
    let mut socket = connect(&sim).await;
    sim.inject(Fault::ServiceRestart { instrument: 0 });
    assert_eq!(close_code(&mut socket).await, 1012);
}

#[tokio::test]
async fn a_muted_topic_is_silent_until_it_is_subscribed_to_anew() {
    let (sim, mut socket) = bybit(Script::default()).await;
    sim.inject(Fault::Mute { instrument: 0, channel: Channel::Book });
    let queued = sim.counters().frames_queued;
    sim.step_instrument(0, 5);
    assert_eq!(sim.counters().frames_queued, queued);
    sim.inject(Fault::MuteAfterAck { instrument: 0, channel: Channel::Book, subscriptions: 1 });
    assert_eq!(ask(&mut socket, BOOK).await["success"], Value::from(true));
    until(|| sim.counters().subscriptions == 2).await;
    sim.step_instrument(0, 5);
    assert_eq!(ask(&mut socket, BOOK).await["success"], Value::from(true), "no data in between");
    assert_eq!(numbers(&mut socket, 1).await, [11], "a fresh snapshot");
    still_flows(&sim, &mut socket).await;
}

#[tokio::test]
async fn a_half_open_socket_neither_speaks_nor_answers_nor_closes() {
    let (sim, mut socket) = bybit(Script::default()).await;
    sim.inject(Fault::HalfOpen);
    sim.step_instrument(0, 5);
    // The session's task may still be answering when the fault strikes.
    let mut is_mute = false;
    for _ in 0..25 {
        socket.send(Message::Ping(vec![1].into())).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(200), socket.next()).await;
        is_mute = heard.is_err();
        if is_mute {
            break;
        }
    }
    assert!(is_mute);
    assert_eq!(sim.counters().sessions_open, 1);
    // Other connections are not concerned.
    let mut other = connect(&sim).await;
    ask(&mut other, BOOK).await;
    assert_eq!(numbers(&mut other, 1).await, [6]);
    still_flows(&sim, &mut other).await;
    sim.shutdown();
    assert!(is_over(&mut socket).await);
}

#[tokio::test]
async fn connections_end_as_the_fault_says() {
    let (sim, mut socket) = bybit(Script::default()).await;
    sim.inject(Fault::PlannedClose);
    assert_eq!(close_code(&mut socket).await, 1001);
    assert!(is_over(&mut socket).await);
    until(|| sim.counters().sessions_open == 0).await;

    let mut socket = connect(&sim).await;
    sim.inject(Fault::Disconnect);
    match socket.next().await {
        None | Some(Err(Error::Protocol(_) | Error::Io(_))) => {}
        other => panic!("a closing handshake or data: {other:?}"),
    }
    let mut socket = connect(&sim).await;
    let queued = sim.counters().frames_queued;
    sim.inject(Fault::ReconnectRequest);
    assert_eq!(sim.counters().frames_queued, queued, "Bybit has no such message");
    assert_eq!(ask(&mut socket, r#"{"op":"ping"}"#).await["op"], "pong");

    let sim = simulator(Binance::SPOT, Script::default());
    let mut socket = connect(&sim).await;
    sim.inject(Fault::PlannedClose);
    assert_eq!(json(&mut socket).await["e"], "serverShutdown", "the announcement comes first");
    assert_eq!(close_code(&mut socket).await, 1001);
}

#[tokio::test]
async fn garbage_and_oversized_frames_are_sent_and_the_stream_goes_on() {
    let (sim, mut socket) = bybit(Script::default()).await;
    sim.inject(Fault::Oversized { bytes: 300_000 });
    let big = text(&mut socket).await;
    assert_eq!(big.len(), 300_000);
    assert!(serde_json::from_str::<Value>(&big).is_ok());
    sim.inject(Fault::Garbage(Garbage::NotJson));
    assert!(serde_json::from_str::<Value>(&text(&mut socket).await).is_err());
    sim.inject(Fault::Garbage(Garbage::OtherJson));
    assert!(json(&mut socket).await.is_array());
    sim.inject(Fault::Garbage(Garbage::Binary));
    let Message::Binary(bytes) = message(&mut socket).await else { panic!("not binary") };
    assert!(std::str::from_utf8(&bytes).is_err());
    still_flows(&sim, &mut socket).await;
    assert_eq!(sim.counters().faults, 4);
}

#[tokio::test]
async fn rest_is_stale_refused_or_slow_for_as_many_answers_as_the_fault_says() {
    const PATH: &str = "/fapi/v1/depth?symbol=AAAUSDT&limit=5";
    let sim = simulator(Binance::USDM, Script::default());
    let last_id = |body: &str| serde_json::from_str::<Value>(body).unwrap()["lastUpdateId"].clone();

    let old = sim.ids()[0].link;
    sim.inject(Fault::StaleSnapshot { instrument: 0, answers: 2 });
    sim.step_instrument(0, 10);
    for _ in 0..2 {
        assert_eq!(last_id(&get(&sim, PATH).await.2), Value::from(old));
        get(&sim, "/fapi/v1/depth?symbol=BBBUSDT&limit=5").await;
    }
    assert_eq!(last_id(&get(&sim, PATH).await.2), Value::from(sim.ids()[0].link));

    sim.inject(Fault::RestRefused { status: 429, retry_after_s: Some(7), answers: 2 });
    sim.inject(Fault::RestRefused { status: 503, retry_after_s: None, answers: 1 });
    for (status, retry_after) in [(429, true), (429, true), (503, false), (200, false)] {
        let (found, head, _) = get(&sim, PATH).await;
        assert_eq!((found, head.contains("retry-after: 7")), (status, retry_after), "{head}");
    }

    let delay = Duration::from_millis(60);
    sim.inject(Fault::RestSlow { delay, answers: 1 });
    let started = Instant::now();
    assert_eq!(get(&sim, PATH).await.0, 200);
    assert!(started.elapsed() >= delay);
    assert_eq!((sim.counters().rest_refused, sim.waiting_faults()), (3, 0));
}

#[tokio::test]
async fn handshakes_are_refused_with_the_status_and_then_accepted_again() {
    let sim = simulator(Bybit::LINEAR, Script::default());
    sim.inject(Fault::RefuseUpgrades { status: 429, retry_after_s: Some(3), attempts: 2 });
    for _ in 0..2 {
        match connect_async(sim.ws_url()).await {
            Err(Error::Http(response)) => {
                assert_eq!(response.status(), 429);
                assert_eq!(response.headers()["retry-after"], "3");
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    connect(&sim).await;
    assert_eq!(sim.counters().upgrades_refused, 2);
}

#[tokio::test]
async fn clients_are_pinged_and_cut_when_they_say_nothing() {
    let timers = Timers {
        ping_every: Some(Duration::from_millis(20)),
        client_silence_limit: Some(Duration::from_secs(1)),
        ..Timers::default()
    };
    let sim = timed_simulator(Binance::USDM, Script::default(), timers);
    let mut socket = connect(&sim).await;
    for _ in 0..3 {
        // Reading answers the ping.
        assert!(matches!(message(&mut socket).await, Message::Ping(_)));
    }
    // From here on nothing is read and so nothing answered.
    until(|| sim.counters().silent_clients == 1).await;
    assert_eq!(sim.counters().sessions_open, 0);
}

/// Bybit with a checksum appended, which also proves that a dialect can be written outside.
#[derive(Debug)]
struct WithChecksum;

impl Dialect for WithChecksum {
    fn facts(&self) -> Facts {
        Facts { has_checksum: true, ..Bybit::LINEAR.facts() }
    }

    fn open(
        &self,
        path: &str,
        query: &str,
        listings: &[Listing],
        session: &mut Session,
        effects: &mut Vec<Effect>,
    ) -> bool {
        Bybit::LINEAR.open(path, query, listings, session, effects)
    }

    fn handle(
        &self,
        text: &str,
        listings: &[Listing],
        session: &mut Session,
        effects: &mut Vec<Effect>,
    ) {
        Bybit::LINEAR.handle(text, listings, session, effects);
    }

    fn write_snapshot(&self, session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        Bybit::LINEAR.write_snapshot(session, frame, out);
    }

    fn write_update(&self, session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        let (checksum, sequence) = (frame.checksum.of(77), session.next_sequence());
        out.extend_from_slice(format!("[{checksum},{sequence}]").as_bytes());
    }

    fn write_top(&self, _: &mut Session, _: &TopFrame<'_>, _: &mut Vec<u8>) {}

    fn write_trade(&self, _: &mut Session, _: &TradeFrame<'_>, _: &mut Vec<u8>) {}
}

#[tokio::test]
async fn checksums_are_wrong_or_zero_as_injected_and_lost_frames_use_their_numbers_up() {
    let sim = simulator(WithChecksum, Script::default());
    let mut socket = connect(&sim).await;
    ask(&mut socket, BOOK).await;
    json(&mut socket).await;
    sim.inject(Fault::WrongChecksum { instrument: 0 });
    sim.inject(Fault::ZeroChecksum { instrument: 0, count: 2 });
    sim.inject(Fault::DropUpdates { instrument: 0, count: 1 });
    sim.step_instrument(0, 5);
    for expected in [[!77, 0], [0, 1], [0, 2], [77, 4]] {
        let frame: Vec<u32> = serde_json::from_value(json(&mut socket).await).unwrap();
        assert_eq!(frame, expected);
    }
}
