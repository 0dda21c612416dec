//! One WebSocket session of a simulator: frames out, requests in, and faults of the transport.
//!
//! Invariants: frames leave in the order they were queued; at most [`BATCH_FRAMES`] are written
//! between two looks at what the client says; an order of the hub is obeyed whatever the session is
//! doing.

use super::counters::count;
use super::dialect::ServerPing;
use super::http::Socket;
use super::hub::{Hub, Order, Outgoing, Seat};
use super::server::Timers;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

/// Frames written before the socket is flushed.
const BATCH_FRAMES: usize = 256;

/// How long the client may take to answer a closing frame.
const CLOSING_PATIENCE: Duration = Duration::from_secs(5);

/// When something shall happen that never does by itself.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// Serves a session until either side ends it.
pub(crate) async fn serve(hub: &Hub, seat: Seat, socket: Socket, timers: Timers) {
    let mut orders = seat.orders.clone();
    let mut conversation = Conversation::new(hub, seat, socket, timers);
    tokio::select! {
        // An error means that the hub has forgotten the session.
        _ = orders.wait_for(|order| *order != Order::Run) => {}
        // A broken socket ends the session like a closed one; the client will connect anew.
        _ = conversation.run() => return,
    }
    // Frozen: the socket stays open, unread and unwritten, until the session is cut.
    let _ = orders.wait_for(|order| *order == Order::Cut).await;
}

struct Conversation<'a> {
    hub: &'a Hub,
    seat: Seat,
    socket: Socket,
    ping_every: Duration,
    silence_limit: Duration,
    heard_at: Instant,
    pinged_at: Instant,
    /// Start of the present second and messages in it.
    second: (Instant, u32),
}

/// What the session woke up for.
enum Wake {
    Frame(Option<Outgoing>),
    Message(Option<Result<Message, Error>>),
    Ping,
    Silence,
}

impl<'a> Conversation<'a> {
    fn new(hub: &'a Hub, seat: Seat, socket: Socket, timers: Timers) -> Self {
        let venue_ping = match hub.facts.ping {
            ServerPing::None => NEVER,
            ServerPing::Protocol(every) => every,
        };
        let now = Instant::now();
        Self {
            ping_every: timers.ping_every.unwrap_or(venue_ping),
            silence_limit: timers
                .client_silence_limit
                .or(hub.facts.client_silence_limit)
                .unwrap_or(NEVER),
            hub,
            seat,
            socket,
            heard_at: now,
            pinged_at: now,
            second: (now, 0),
        }
    }

    async fn run(&mut self) -> Result<(), Error> {
        loop {
            let ping_at = self.pinged_at + self.ping_every;
            let silence_at = self.heard_at + self.silence_limit;
            let wake = tokio::select! {
                frame = self.seat.queue.recv() => Wake::Frame(frame),
                message = self.socket.next() => Wake::Message(message),
                () = tokio::time::sleep_until(ping_at) => Wake::Ping,
                () = tokio::time::sleep_until(silence_at) => Wake::Silence,
            };
            match wake {
                Wake::Frame(None) | Wake::Message(None) => return Ok(()),
                Wake::Frame(Some(frame)) => {
                    if !self.write_batch(frame).await? {
                        return Ok(());
                    }
                }
                Wake::Message(Some(message)) => self.hear(message?).await?,
                Wake::Ping => {
                    self.pinged_at = Instant::now();
                    self.socket.send(Message::Ping(Bytes::from_static(b"sim"))).await?;
                }
                Wake::Silence => {
                    count(&self.hub.counters.silent_clients);
                    return Ok(());
                }
            }
        }
    }

    async fn hear(&mut self, message: Message) -> Result<(), Error> {
        self.heard_at = Instant::now();
        self.note_haste();
        match message {
            Message::Text(text) => self.hub.handle(self.seat.id, &text),
            // The pong and the closing frame are queued by the library; this sends them.
            Message::Ping(_) | Message::Close(_) => self.socket.flush().await?,
            Message::Pong(_) => {}
            _ => count(&self.hub.counters.bad_requests),
        }
        Ok(())
    }

    /// Counts seconds with more messages than the venue takes.
    fn note_haste(&mut self) {
        if self.heard_at.duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (self.heard_at, 0);
        }
        self.second.1 = self.second.1.saturating_add(1);
        if self.second.1 == self.hub.facts.client_messages_per_s.saturating_add(1) {
            count(&self.hub.counters.hasty_seconds);
        }
    }

    /// Writes what is queued. False: the session is over.
    async fn write_batch(&mut self, first: Outgoing) -> Result<bool, Error> {
        let mut next = Some(first);
        let mut written = 0;
        while let Some(frame) = next {
            match frame {
                Outgoing::Text(text) => self.socket.feed(Message::Text(text)).await?,
                Outgoing::Binary(bytes) => self.socket.feed(Message::Binary(bytes)).await?,
                Outgoing::Dribble(text, pause) => self.dribble(&text, pause).await?,
                Outgoing::Close(code) => return self.close(code).await.map(|()| false),
            }
            written += 1;
            let has_room = written < BATCH_FRAMES;
            next = if has_room { self.seat.queue.try_recv().ok() } else { None };
        }
        self.socket.flush().await?;
        Ok(true)
    }

    /// Writes a text frame past the library, a byte at a time.
    async fn dribble(&mut self, text: &Utf8Bytes, pause: Duration) -> Result<(), Error> {
        self.socket.flush().await?;
        let mut frame = Vec::with_capacity(text.len() + 10);
        frame_header(&mut frame, text.len());
        frame.extend_from_slice(text.as_bytes());
        for byte in frame {
            tokio::time::sleep(pause).await;
            let stream = self.socket.get_mut();
            stream.write_all(&[byte]).await?;
            stream.flush().await?;
        }
        // What was unheard meanwhile is not silence.
        self.heard_at = Instant::now();
        Ok(())
    }

    /// Says goodbye and waits a little for the answer.
    async fn close(&mut self, code: u16) -> Result<(), Error> {
        let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from_static("") };
        self.socket.send(Message::Close(Some(frame))).await?;
        let answer = async { while let Some(Ok(_)) = self.socket.next().await {} };
        // Without an answer in time the socket is dropped all the same.
        let _ = tokio::time::timeout(CLOSING_PATIENCE, answer).await;
        Ok(())
    }
}

/// The header of an unmasked, final text frame: RFC 6455, section 5.2.
pub(crate) fn frame_header(out: &mut Vec<u8>, length: usize) {
    out.push(0x81);
    match length {
        0..126 => out.push(length as u8),
        126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}
