//! One WebSocket session of the simulated exchange: frames out, subscription requests in.
//!
//! Invariants: a request is answered in order; at most [`BATCH_FRAMES`] frames are written between
//! two looks at what the client says; the session ends, whatever it is doing, as soon as the hub
//! cuts it.

use super::hub::{Hub, Session, count};
use crate::json::{Cursor, JsonError, scalar};
use futures_util::{Sink, SinkExt, StreamExt};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

/// Frames written before the socket is flushed.
const BATCH_FRAMES: usize = 256;

/// Pings a client may leave unanswered: with one every three minutes, ten minutes.
const MAX_UNANSWERED_PINGS: u32 = 3;

/// A request in the venue's request format; escapes in its texts are left unresolved.
#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    method: &'a str,
    params: Vec<&'a str>,
    id: u64,
}

impl<'a> Request<'a> {
    fn parse(json: &'a str) -> Option<Self> {
        let (mut method, mut params, mut id) = (None, None, None);
        let mut cursor = Cursor::new(json.as_bytes());
        cursor
            .object(|key, cursor| {
                let value = cursor.value()?;
                match key {
                    b"method" => method = Some(value),
                    b"params" => params = Some(value),
                    b"id" => id = Some(value),
                    _ => {}
                }
                Ok::<(), JsonError>(())
            })
            .ok()?;
        cursor.end().ok()?;
        Some(Self {
            method: text(method?)?,
            params: params.map_or(Some(Vec::new()), texts)?,
            id: std::str::from_utf8(id?).ok()?.parse().ok()?,
        })
    }
}

/// What a JSON string says.
fn text(raw: &[u8]) -> Option<&str> {
    let is_string = raw.first() == Some(&b'"');
    std::str::from_utf8(scalar(raw).filter(|_| is_string)?).ok()
}

/// What the strings of a JSON array say.
fn texts(raw: &[u8]) -> Option<Vec<&str>> {
    let mut cursor = Cursor::new(raw);
    let mut list = Vec::new();
    let mut more = cursor.enter_array().ok()?;
    while more {
        list.push(text(cursor.value().ok()?)?);
        more = cursor.next_element().ok()?;
    }
    Some(list)
}

/// Serves a session until either side ends it.
pub(crate) async fn serve<S>(
    hub: &Hub,
    mut session: Session,
    socket: WebSocketStream<S>,
    ping_every: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (id, cut) = (session.id, session.cut.clone());
    tokio::select! {
        () = cut.notified() => {}
        // A broken socket ends the session like a closed one; the client will connect anew.
        _ = converse(hub, &mut session, socket, ping_every) => {}
    }
    hub.detach(id);
}

async fn converse<S>(
    hub: &Hub,
    session: &mut Session,
    socket: WebSocketStream<S>,
    ping_every: Duration,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut incoming) = socket.split();
    let mut pings = interval_at(Instant::now() + ping_every, ping_every);
    let mut unanswered = 0;
    loop {
        tokio::select! {
            frame = session.queue.recv() => {
                let Some(frame) = frame else { return Ok(()) };
                write_batch(session, frame, &mut sink).await?;
            }
            message = incoming.next() => match message {
                None => return Ok(()),
                Some(message) => match message? {
                    Message::Text(text) => {
                        let answer = answer(hub, session.id, &text);
                        sink.send(Message::text(answer)).await?;
                    }
                    Message::Pong(_) => unanswered = 0,
                    // The pong and the closing frame are queued by the library; this sends them.
                    Message::Ping(_) | Message::Close(_) => sink.flush().await?,
                    _ => count(&hub.counters.bad_requests),
                },
            },
            _ = pings.tick() => {
                if unanswered == MAX_UNANSWERED_PINGS {
                    count(&hub.counters.silent_clients);
                    return Ok(());
                }
                unanswered += 1;
                sink.send(Message::Ping(Bytes::from_static(b"sim"))).await?;
            }
        }
    }
}

async fn write_batch<W>(session: &mut Session, first: Utf8Bytes, sink: &mut W) -> Result<(), Error>
where
    W: Sink<Message, Error = Error> + Unpin,
{
    let mut frame = first;
    for _ in 0..BATCH_FRAMES {
        session.queued_bytes.fetch_sub(frame.len(), Relaxed);
        sink.feed(Message::Text(frame)).await?;
        match session.queue.try_recv() {
            Ok(next) => frame = next,
            Err(_) => return sink.flush().await,
        }
    }
    session.queued_bytes.fetch_sub(frame.len(), Relaxed);
    sink.send(Message::Text(frame)).await
}

/// Carries out a request and says so in the venue's words.
fn answer(hub: &Hub, id: u64, json: &str) -> String {
    let Some(request) = Request::parse(json) else {
        count(&hub.counters.bad_requests);
        return r#"{"error":{"code":3,"msg":"Invalid JSON: expected method, params and an unsigned id"}}"#.into();
    };
    let result = match request.method {
        method @ ("SUBSCRIBE" | "UNSUBSCRIBE") => {
            for stream in request.params {
                hub.subscribe(id, stream, method == "SUBSCRIBE");
            }
            "null".to_owned()
        }
        // Stream names hold neither quotes nor backslashes.
        "LIST_SUBSCRIPTIONS" => {
            let quoted: Vec<_> =
                hub.subscriptions(id).iter().map(|name| format!("\"{name}\"")).collect();
            format!("[{}]", quoted.join(","))
        }
        _ => {
            count(&hub.counters.bad_requests);
            return format!(
                r#"{{"error":{{"code":2,"msg":"Invalid request: unknown method, expected SUBSCRIBE, UNSUBSCRIBE or LIST_SUBSCRIPTIONS"}},"id":{}}}"#,
                request.id
            );
        }
    };
    format!(r#"{{"result":{result},"id":{}}}"#, request.id)
}

#[cfg(test)]
mod tests {
    use super::super::hub::Limits;
    use super::super::{Market, MarketConfig};
    use super::*;

    #[test]
    fn requests_are_answered_in_the_words_of_the_venue() {
        let market = Market::new(&MarketConfig::default(), 0).unwrap();
        let hub = Hub::new(market, Limits { sessions: 1, queue_bytes: 1 << 20 });
        let id = hub.attach(false).unwrap().id;
        let cases = [
            (
                r#"{"method":"SUBSCRIBE","params":["sima@trade","simf@depth@0ms"],"id":7}"#,
                r#"{"result":null,"id":7}"#,
            ),
            (
                r#"{"method":"LIST_SUBSCRIPTIONS","id":8}"#,
                r#"{"result":["sima@trade","simf@depth@0ms"],"id":8}"#,
            ),
            (
                r#"{"method":"UNSUBSCRIBE","params":["sima@trade"],"id":9}"#,
                r#"{"result":null,"id":9}"#,
            ),
            (
                r#"{"method":"LIST_SUBSCRIPTIONS","params":[],"id":10}"#,
                r#"{"result":["simf@depth@0ms"],"id":10}"#,
            ),
            (r#"{"method":"SUBSCRIBE","params":["x"],"id":11}"#, r#"{"result":null,"id":11}"#),
        ];
        for (request, expected) in cases {
            assert_eq!(answer(&hub, id, request), expected);
        }
        for (bad, expected) in [
            (r#"{"method":"DANCE","id":12}"#, r#"{"error":{"code":2,"#),
            (r#"{"method":"SUBSCRIBE","params":"x","id":12}"#, r#"{"error":{"code":3,"#),
            (r#"{"method":"SUBSCRIBE","params":["x",1],"id":12}"#, r#"{"error":{"code":3,"#),
            (r#"{"method":"SUBSCRIBE","params":["x"],"id":"12"}"#, r#"{"error":{"code":3,"#),
            (r#"{"method":"SUBSCRIBE","params":["x"]}"#, r#"{"error":{"code":3,"#),
            (r#"{"method":"SUBSCRIBE","params":["x"],"id":12}}"#, r#"{"error":{"code":3,"#),
            ("", r#"{"error":{"code":3,"#),
            ("[[[[", r#"{"error":{"code":3,"#),
        ] {
            let answer = answer(&hub, id, bad);
            assert!(answer.starts_with(expected), "{answer}");
            assert!(serde_json::from_str::<serde_json::Value>(&answer).is_ok());
        }
        // Eight bad requests and one unknown stream.
        assert_eq!(hub.stats().bad_requests, 9);
    }
}
