//! The HTTP side of the simulated exchange: REST snapshots and the upgrade to WebSocket.
//!
//! Invariants: request bodies are never read; every answer is built from the hub's state in bounded
//! work; what cannot be understood gets the venue's error code and is counted.

use super::client;
use super::hub::{Hub, count};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Largest request a client may send on a WebSocket.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Depth limits of the venue and their weights.
const DEPTH_WEIGHTS: [(&str, usize, u32); 7] = [
    ("5", 5, 2),
    ("10", 10, 2),
    ("20", 20, 2),
    ("50", 50, 2),
    ("100", 100, 5),
    ("500", 500, 10),
    ("1000", 1_000, 20),
];

type Answer = Response<Full<Bytes>>;

/// Answers one request.
pub(crate) fn answer(hub: &Arc<Hub>, request: Request<Incoming>, ping_every: Duration) -> Answer {
    if request.method() != Method::GET {
        return refuse(hub, StatusCode::METHOD_NOT_ALLOWED, -1, "Only GET is served.");
    }
    let path = request.uri().path();
    if let Some(raw) = WsDoor::of(path).map(|door| door.raw) {
        return upgrade(hub, request, raw, ping_every);
    }
    let query = request.uri().query().unwrap_or_default();
    match path {
        "/fapi/v1/ping" => charged(hub, 1, b"{}".to_vec()),
        "/fapi/v1/exchangeInfo" => {
            let mut body = Vec::new();
            hub.with_market(|market| market.exchange_info(&mut body));
            charged(hub, 1, body)
        }
        "/fapi/v1/depth" => depth(hub, query),
        _ => refuse(hub, StatusCode::NOT_FOUND, -1, "No such path."),
    }
}

fn depth(hub: &Hub, query: &str) -> Answer {
    let bad = StatusCode::BAD_REQUEST;
    let Some(symbol) = parameter(query, "symbol").filter(|symbol| !symbol.is_empty()) else {
        let message = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.";
        return refuse(hub, bad, -1102, message);
    };
    let limit = parameter(query, "limit").unwrap_or("500");
    let Some((_, levels, weight)) = DEPTH_WEIGHTS.into_iter().find(|(text, ..)| *text == limit)
    else {
        return refuse(hub, bad, -4021, "Limit is not a valid depth limit.");
    };
    let body = hub.with_market(|market| {
        let symbol = market.symbol_index(symbol)?;
        let mut body = Vec::new();
        market.snapshot(symbol, levels, &mut body);
        Some(body)
    });
    match body {
        Some(body) => charged(hub, weight, body),
        None => refuse(hub, bad, -1121, "Invalid symbol."),
    }
}

/// The value of a query parameter; the values served need no percent-decoding.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|p| p.1)
}

/// The body, unless the weight of the present minute is used up.
fn charged(hub: &Hub, weight: u32, body: Vec<u8>) -> Answer {
    let (mut answer, used) = match hub.charge(weight) {
        Ok(used) => (json(StatusCode::OK, body), used),
        Err(used) => {
            count(&hub.counters.over_weight);
            let body = br#"{"code":-1003,"msg":"Too many requests."}"#.to_vec();
            let mut answer = json(StatusCode::TOO_MANY_REQUESTS, body);
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
            (answer, used)
        }
    };
    answer.headers_mut().insert("x-mbx-used-weight-1m", HeaderValue::from(used));
    answer
}

fn refuse(hub: &Hub, status: StatusCode, code: i32, message: &str) -> Answer {
    count(&hub.counters.bad_requests);
    json(status, format!(r#"{{"code":{code},"msg":"{message}"}}"#).into_bytes())
}

fn json(status: StatusCode, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A path that leads to a WebSocket: `[/public|/market]/{ws|stream}[/stream names]`.
#[derive(Debug, PartialEq, Eq)]
struct WsDoor<'a> {
    /// Frames without the envelope.
    raw: bool,
    /// Stream names behind the path, `/` between them.
    streams: &'a str,
}

impl<'a> WsDoor<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let path = ["/public", "/market"]
            .into_iter()
            .find_map(|route| path.strip_prefix(route))
            .unwrap_or(path)
            .strip_prefix('/')?;
        let (door, streams) = path.split_once('/').unwrap_or((path, ""));
        match door {
            "ws" => Some(Self { raw: true, streams }),
            "stream" if streams.is_empty() => Some(Self { raw: false, streams }),
            _ => None,
        }
    }
}

/// Turns a request into a session: RFC 6455, section 4.2.
fn upgrade(
    hub: &Arc<Hub>,
    mut request: Request<Incoming>,
    raw: bool,
    ping_every: Duration,
) -> Answer {
    let asks = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let accept = key.and_then(|key| HeaderValue::from_str(&key).ok());
    let (true, Some(accept)) = (asks, accept) else {
        return refuse(hub, StatusCode::UPGRADE_REQUIRED, -1, "A WebSocket is served here.");
    };
    let Some(session) = hub.attach(raw) else {
        let body = br#"{"code":-1,"msg":"Too many sessions."}"#.to_vec();
        return json(StatusCode::SERVICE_UNAVAILABLE, body);
    };
    let uri = request.uri();
    let in_path = WsDoor::of(uri.path()).map_or("", |door| door.streams);
    let in_query = uri.query().and_then(|query| parameter(query, "streams")).unwrap_or_default();
    for stream in in_path.split('/').chain(in_query.split('/')).filter(|s| !s.is_empty()) {
        hub.subscribe(session.id, stream, true);
    }
    let (upgraded, hub) = (hyper::upgrade::on(&mut request), hub.clone());
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else {
            hub.detach(session.id);
            return;
        };
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_REQUEST_BYTES))
            .max_frame_size(Some(MAX_REQUEST_BYTES));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
        client::serve(&hub, session, socket, ping_every).await;
    });
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doors_of_the_venue_lead_to_sockets_and_no_other_path_does() {
        let door = |raw, streams| Some(WsDoor { raw, streams });
        let cases = [
            ("/ws", door(true, "")),
            ("/ws/sima@trade", door(true, "sima@trade")),
            ("/stream", door(false, "")),
            ("/public/stream", door(false, "")),
            ("/market/ws/sima@trade/simb@trade", door(true, "sima@trade/simb@trade")),
            ("/private/ws", None),
            ("/stream/x", None),
            ("/streams", None),
            ("/", None),
            ("/fapi/v1/depth", None),
        ];
        for (path, expected) in cases {
            assert_eq!(WsDoor::of(path), expected, "{path}");
        }
    }

    #[test]
    fn query_parameters_are_found_by_their_whole_name() {
        let query = "limit=5&symbol=SIMA&xlimit=7&flag";
        assert_eq!(parameter(query, "symbol"), Some("SIMA"));
        assert_eq!(parameter(query, "limit"), Some("5"));
        assert_eq!(parameter(query, "flag"), None);
    }
}
