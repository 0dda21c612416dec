//! The HTTP side of a simulator: REST answers and the upgrade to WebSocket, on one port.
//!
//! Invariants: request bodies are never read; every answer is made in bounded work.

use super::client;
use super::dialect::RestAnswer;
use super::faults::Fault;
use super::hub::{Hub, refusal};
use super::server::Timers;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Largest message a client may send on a WebSocket.
const MAX_REQUEST_BYTES: usize = 256 << 10;

pub(crate) type Answer = Response<Full<Bytes>>;

/// Answers one request.
pub(crate) async fn answer(hub: Arc<Hub>, request: Request<Incoming>, timers: Timers) -> Answer {
    if request.method() != Method::GET {
        return response(refusal(405, None));
    }
    if let Some(accept) = accept_value(request.headers()) {
        return upgrade(&hub, request, accept, timers);
    }
    let uri = request.uri();
    let outcome = hub.rest(uri.path(), uri.query().unwrap_or_default());
    if !outcome.delay.is_zero() {
        tokio::time::sleep(outcome.delay).await;
    }
    response(outcome.answer.unwrap_or_else(|| refusal(404, None)))
}

/// What the handshake is answered with, if the request is one: RFC 6455, section 4.2.
pub(crate) fn accept_value(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers.get(UPGRADE)?.as_bytes().eq_ignore_ascii_case(b"websocket");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asks)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// The answer that turns the connection into a WebSocket.
pub(crate) fn switching(accept: HeaderValue) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    answer
}

/// A WebSocket of ours over an upgraded connection.
pub(crate) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// The server's side of an upgraded connection.
pub(crate) async fn socket(upgraded: hyper::upgrade::Upgraded) -> Socket {
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MAX_REQUEST_BYTES))
        .max_frame_size(Some(MAX_REQUEST_BYTES));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await
}

fn upgrade(
    hub: &Arc<Hub>,
    mut request: Request<Incoming>,
    accept: HeaderValue,
    timers: Timers,
) -> Answer {
    if let Some(Fault::RefuseUpgrades { status, retry_after_s, .. }) = hub.take_upgrade_fault() {
        return response(refusal(status, retry_after_s));
    }
    let uri = request.uri();
    let seat = match hub.attach(uri.path(), uri.query().unwrap_or_default()) {
        Ok(seat) => seat,
        Err(status) => return response(refusal(status, None)),
    };
    let (upgraded, hub) = (hyper::upgrade::on(&mut request), hub.clone());
    tokio::spawn(async move {
        let id = seat.id;
        if let Ok(upgraded) = upgraded.await {
            client::serve(&hub, seat, socket(upgraded).await, timers).await;
        }
        hub.detach(id);
    });
    switching(accept)
}

/// An HTTP answer as JSON. Headers that HTTP does not allow are left out.
pub(crate) fn response(answer: RestAnswer) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
