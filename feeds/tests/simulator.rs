//! The simulated exchange from the outside: a plain WebSocket client and plain HTTP requests on a
//! real loopback socket.

#![allow(clippy::unwrap_used)] // A test that cannot go on panics; helper functions are no exception.

use futures_util::{SinkExt, StreamExt};
use purkinje_feeds::sim::{MarketConfig, SimConfig, SimHandle, SimStats, spawn_thread, start};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Far longer than anything here takes; only a defect waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn exchange(config: &SimConfig) -> SimHandle {
    spawn_thread(config, ANY_PORT).unwrap()
}

async fn connect(sim: &SimHandle, path: &str) -> Socket {
    connect_async(format!("ws://{}{path}", sim.local_addr())).await.unwrap().0
}

async fn next_text(socket: &mut Socket) -> Value {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Sends a request and returns its answer; frames that arrive in between are kept.
async fn ask(socket: &mut Socket, request: &str, frames: &mut Vec<Value>) -> Value {
    socket.send(Message::text(request)).await.unwrap();
    loop {
        let text = next_text(socket).await;
        if text.get("id").is_some() {
            return text;
        }
        frames.push(text);
    }
}

/// Reads until the other side has ended the connection.
async fn until_closed(socket: &mut Socket) {
    let end = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(PATIENCE, end).await.unwrap();
}

/// Waits until the counters say what is expected.
async fn until(sim: &SimHandle, condition: impl Fn(&SimStats) -> bool) {
    let wait = async {
        while !condition(&sim.stats()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "not reached: {:?}", sim.stats());
}

/// Status code and body of a GET request.
fn get(sim: &SimHandle, path: &str) -> (u16, Value) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n");
    let mut socket = TcpStream::connect(sim.local_addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

fn id(frame: &Value, key: &str) -> u64 {
    frame["data"][key].as_u64().unwrap()
}

fn is(frame: &Value, event: &str) -> bool {
    frame["data"]["e"] == event
}

#[tokio::test]
async fn a_snapshot_bridges_with_the_stream_by_the_rule_of_usdm_futures() {
    let sim = exchange(&SimConfig::default());
    let mut socket = connect(&sim, "/public/stream").await;
    let request = concat!(
        r#"{"method":"SUBSCRIBE","params":["sima@depth@0ms","sima@bookTicker","#,
        r#""sima@trade","sima@oracle"],"id":1}"#
    );
    let mut frames = Vec::new();
    let answer = ask(&mut socket, request, &mut frames).await;
    assert_eq!(answer, json!({"result": null, "id": 1}));
    while !frames.iter().any(|f| is(f, "depthUpdate")) {
        frames.push(next_text(&mut socket).await);
    }
    let (status, snapshot) = get(&sim, "/fapi/v1/depth?symbol=SIMA&limit=1000");
    assert_eq!(status, 200);
    let last = snapshot["lastUpdateId"].as_u64().unwrap();
    for side in ["bids", "asks"] {
        assert!((60..=100).contains(&snapshot[side].as_array().unwrap().len()));
    }
    let beyond = |f: &&Value| is(f, "depthUpdate") && id(f, "U") > last;
    let events = ["bookTicker", "trade", "oracle"];
    while frames.iter().filter(beyond).count() < 30
        || !events.iter().all(|event| frames.iter().any(|f| is(f, event)))
    {
        frames.push(next_text(&mut socket).await);
    }

    let mut depth = frames.iter().filter(|f| is(f, "depthUpdate"));
    let first = depth.find(|f| id(f, "u") >= last).unwrap();
    assert!(id(first, "U") <= last && last <= id(first, "u"), "{last} {first}");
    let mut previous = id(first, "u");
    for frame in depth {
        assert_eq!(id(frame, "pu"), previous);
        previous = id(frame, "u");
    }
    sim.stop();
}

#[tokio::test]
async fn rest_answers_as_the_venue_does() {
    let sim = exchange(&SimConfig::default());
    assert_eq!(get(&sim, "/fapi/v1/ping"), (200, json!({})));
    let (status, info) = get(&sim, "/fapi/v1/exchangeInfo");
    assert_eq!((status, info["symbols"].as_array().unwrap().len()), (200, 6));
    assert_eq!(info["symbols"][0]["symbol"], "SIMA");
    assert_eq!(info["symbols"][0]["filters"][0]["tickSize"], "0.10");
    assert_eq!(info["symbols"][2]["filters"][1]["stepSize"], "1");
    let (status, body) = get(&sim, "/fapi/v1/depth?symbol=SIMB&limit=5");
    assert_eq!((status, body["asks"].as_array().unwrap().len()), (200, 5));
    let refused = [
        ("/fapi/v1/depth?symbol=NOPE", 400, -1121),
        ("/fapi/v1/depth?symbol=", 400, -1102),
        ("/fapi/v1/depth", 400, -1102),
        ("/fapi/v1/depth?symbol=SIMA&limit=7", 400, -4021),
        ("/fapi/v1/nothing", 404, -1),
        ("/stream", 426, -1),
    ];
    for (path, status, code) in refused {
        let (found, body) = get(&sim, path);
        assert_eq!((found, body["code"].as_i64()), (status, Some(code)), "{path}");
    }
    assert_eq!(sim.stats().bad_requests, refused.len() as u64);
    let unknown = get(&sim, "/fapi/v1/depth?symbol=NOPE").1;
    assert_eq!(unknown, json!({"code": -1121, "msg": "Invalid symbol."}));
}

#[tokio::test]
async fn the_weight_of_rest_requests_is_limited_by_the_minute() {
    // Market time starts on a full minute and is slow: the minute does not turn during the test.
    let config = SimConfig { speed: 0.01, ..SimConfig::default() };
    let sim = start(&config, ANY_PORT, 28_333_334 * 60_000_000_000).await.unwrap();
    let (sim, answers) = tokio::task::spawn_blocking(|| {
        let path = "/fapi/v1/depth?symbol=SIMA&limit=1000";
        let answers: Vec<_> = (0..122).map(|_| get(&sim, path)).collect();
        (sim, answers)
    })
    .await
    .unwrap();
    // 120 snapshots of weight 20 fit in the 2400 of a minute.
    assert!(answers[..120].iter().all(|(status, _)| *status == 200));
    for (status, body) in &answers[120..] {
        assert_eq!((*status, &body["code"]), (429, &json!(-1003)));
    }
    assert_eq!(sim.stats().over_weight, 2);
}

#[tokio::test]
async fn streams_named_in_the_address_flow_and_without_envelope_on_a_raw_socket() {
    let sim = exchange(&SimConfig::default());
    let mut raw = connect(&sim, "/ws/simb@depth@0ms").await;
    let frame = next_text(&mut raw).await;
    assert_eq!((&frame["e"], &frame["s"]), (&json!("depthUpdate"), &json!("SIMB")));
    let mut combined = connect(&sim, "/stream?streams=simc@depth@0ms/simd@oracle").await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let stream = next_text(&mut combined).await["stream"].as_str().unwrap().to_owned();
        if !seen.contains(&stream) {
            seen.push(stream);
        }
    }
    seen.sort();
    assert_eq!(seen, ["simc@depth@0ms", "simd@oracle"]);
    assert_eq!(sim.stats().sessions, 2);
}

#[tokio::test]
async fn faults_happen_when_asked_for() {
    let sim = exchange(&SimConfig::default());
    let mut socket = connect(&sim, "/stream?streams=sima@depth@0ms").await;
    let mut previous = id(&next_text(&mut socket).await, "u");
    assert!(sim.skip_depth("SIMA"));
    // Frames sent before the fault still chain; the gap comes within a few frames.
    let mut gaps = 0;
    for _ in 0..40 {
        let frame = next_text(&mut socket).await;
        gaps += u32::from(id(&frame, "pu") != previous);
        previous = id(&frame, "u");
    }
    assert_eq!(gaps, 1);

    sim.mute(true);
    while let Ok(frame) = tokio::time::timeout(Duration::from_millis(500), socket.next()).await {
        frame.unwrap().unwrap();
    }
    assert_eq!(sim.stats().sessions, 1, "muted, not cut");
    sim.mute(false);
    let frame = next_text(&mut socket).await;
    assert_ne!(id(&frame, "pu"), previous, "the muted frames are lost, not late");

    sim.drop_connections();
    until_closed(&mut socket).await;
    until(&sim, |stats| stats.sessions == 0).await;
    // The exchange itself lives on.
    let mut again = connect(&sim, "/stream?streams=sima@depth@0ms").await;
    next_text(&mut again).await;
    sim.stop();
    until_closed(&mut again).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_and_others_are_served_on() {
    let market = MarketConfig { activity: 5.0, ..MarketConfig::default() };
    let config = SimConfig { market, speed: 20.0, queue_bytes: 1 << 20, ..SimConfig::default() };
    let sim = exchange(&config);
    let streams: Vec<String> = ["sima", "simb", "simc", "simd", "sime", "simf"]
        .iter()
        .map(|s| format!("{s}@depth@0ms/{s}@bookTicker/{s}@trade"))
        .collect();
    let _slow = connect(&sim, &format!("/stream?streams={}", streams.join("/"))).await;
    until(&sim, |stats| stats.slow_clients == 1 && stats.sessions == 0).await;
    let mut other = connect(&sim, "/stream?streams=sima@oracle").await;
    assert!(is(&next_text(&mut other).await, "oracle"));
}

#[tokio::test]
async fn pings_are_sent_and_a_client_that_answers_none_is_cut() {
    let config = SimConfig { ping_every: Duration::from_millis(200), ..SimConfig::default() };
    let sim = exchange(&config);
    let mut socket = connect(&sim, "/stream").await;
    // The library answers pings while it is read; ten of them are more than may go unanswered.
    for _ in 0..10 {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
        assert!(matches!(message, Some(Ok(Message::Ping(_)))), "{message:?}");
    }
    assert_eq!(sim.stats().silent_clients, 0);
    // Now it is not read any more.
    until(&sim, |stats| stats.silent_clients == 1 && stats.sessions == 0).await;
}

#[tokio::test]
async fn nonsense_is_counted_and_harms_nobody() {
    let sim = exchange(&SimConfig::default());
    for nonsense in ["\0\u{1}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "POST /ws HTTP/1.1\r\n\r\n"] {
        let mut socket = TcpStream::connect(sim.local_addr()).unwrap();
        socket.write_all(nonsense.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
    }
    until(&sim, |stats| stats.bad_requests == 3).await;
    let mut socket = connect(&sim, "/stream").await;
    socket.send(Message::text("{not json")).await.unwrap();
    assert_eq!(next_text(&mut socket).await["error"]["code"], 3);
    let answer = ask(&mut socket, r#"{"method":"JUMP","id":5}"#, &mut Vec::new()).await;
    assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(2), &json!(5)));
    // A request beyond the limit ends this session only; the send may see the end of it already.
    let _ = socket.send(Message::text("x".repeat(200_000))).await;
    until(&sim, |stats| stats.sessions == 0).await;
    assert_eq!(get(&sim, "/fapi/v1/ping").0, 200);
}
