//! One open WebSocket: its send queue, its REST port, and the signs by which it is known to live.
//!
//! Invariants: each `on_connected` is followed by exactly one `on_disconnected` or `on_promoted`
//! (the callers' [`Open::greet`] and [`Open::part`]); a message is dropped before the next is read, so
//! the read buffer is reused and reading allocates nothing per message (the buffer doubles until one
//! frame and one read fit, at most); texts leave in order, within the link's own rate and the one that
//! connections share.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::backoff::{FlowWatch, jittered_lifetime};
use super::budget::{Budget, BudgetError};
use super::connection::{ACTIONS_PER_TURN, Line, MESSAGES_PER_TURN, SEND_QUEUE_BOUND, stopped};
use super::counters::{DisconnectCause, NetCounters};
use super::dial::{Socket, cause_of};
use super::rest::RestPort;
use super::stamp::{Stamp, realtime_ns};
use super::{Handler, Link, NetAction};

/// How long a goodbye (close frame) may take.
const CLOSE_GRACE: Duration = Duration::from_millis(200);

/// Keep-alive texts in a row that may go unanswered.
const MAX_UNANSWERED: u32 = 2;

/// A reason to end a link, on its way out of the read loop.
pub(super) type Stop = (DisconnectCause, String);

pub(super) fn shutdown_stop() -> Stop {
    (DisconnectCause::Shutdown, "shutting down".into())
}

/// A text that waits to be sent.
#[derive(Debug)]
struct Outgoing {
    text: String,
    is_keepalive: bool,
}

/// One open WebSocket.
#[derive(Debug)]
pub(super) struct Open {
    socket: Socket,
    stamp: Arc<Stamp>,
    rest: RestPort,
    opened_at: Instant,
    /// Age at which it is to be replaced.
    lifetime: Duration,
    flow: FlowWatch,
    last_bytes_at: Instant,
    bytes_seen: u64,
    outbox: VecDeque<Outgoing>,
    send_rate: Budget,
    /// The link's own rate lets the first text go; the shared one has not yet.
    has_turn: bool,
    /// How long until the rates let the next text go.
    send_wait: Duration,
    keepalive_at: Instant,
    /// Keep-alives sent since the last byte.
    unanswered: u32,
}

impl Open {
    pub(super) fn new<H>(line: &mut Line<'_, H>, socket: Socket, stamp: Arc<Stamp>) -> Self {
        let now = Instant::now();
        let spec = line.spec;
        line.opened += 1;
        Self {
            socket,
            stamp,
            rest: line.rest.open_port(),
            opened_at: now,
            lifetime: jittered_lifetime(spec.max_lifetime, spec.backoff.seed, line.opened),
            flow: FlowWatch::new(spec.flow_hold),
            last_bytes_at: now,
            bytes_seen: 0,
            outbox: VecDeque::new(),
            send_rate: Budget::new(spec.max_sends_per_s.max(1), Duration::from_secs(1)),
            has_turn: false,
            send_wait: Duration::ZERO,
            keepalive_at: now,
            unanswered: 0,
        }
    }

    /// Tells the handler and queues what it wants sent first.
    pub(super) fn greet<H: Handler>(
        &mut self,
        link: Link,
        line: &mut Line<'_, H>,
    ) -> ControlFlow<Stop> {
        let mut greetings = Vec::new();
        line.handler.on_connected(link, self.stamp.last_read_ns(), &mut greetings);
        self.queue_all(greetings)
    }

    /// Tells the handler that the link has ended; true when it had proven itself.
    pub(super) fn part<H: Handler>(
        &mut self,
        link: Link,
        (cause, reason): &Stop,
        line: &mut Line<'_, H>,
    ) -> bool {
        // It may have proven itself between its last tick and its end.
        self.watch_flow(link, line);
        self.count_bytes(line.counters);
        line.counters.disconnected(*cause, reason);
        line.handler.on_disconnected(link, realtime_ns(), *cause, reason);
        self.flow.is_proven()
    }

    /// Says goodbye, unless there is nobody left to hear it.
    pub(super) async fn goodbye(mut self, cause: DisconnectCause) {
        use DisconnectCause::{Idle, Lost, Unanswered};
        if !matches!(cause, Lost | Idle | Unanswered) {
            let goodbye = async {
                // Answers the peer's close frame, or sends ours; failing is no news at this point.
                let _ = self.socket.close(None).await;
                let _ = self.socket.flush().await;
            };
            let _ = timeout(CLOSE_GRACE, goodbye).await;
        }
    }

    /// What the link can be waited for: REST answers, and messages.
    pub(super) fn split(&mut self) -> (&mut RestPort, Source<'_>) {
        (&mut self.rest, Source { socket: &mut self.socket, stamp: &self.stamp })
    }

    /// How long until the next text may go; `None` while none waits.
    pub(super) fn send_wait(&self) -> Option<Duration> {
        (!self.outbox.is_empty()).then_some(self.send_wait)
    }

    pub(super) fn is_old(&self, now: Instant) -> bool {
        now - self.opened_at >= self.lifetime
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    pub(super) fn take_actions<H: Handler>(
        &mut self,
        link: Link,
        handler: &mut H,
    ) -> ControlFlow<Stop> {
        for _ in 0..ACTIONS_PER_TURN {
            match handler.next_action(link) {
                None => break,
                Some(NetAction::Send(text)) => self.queue_all([text])?,
                Some(NetAction::Reconnect { reason }) => {
                    return ControlFlow::Break((DisconnectCause::Requested, reason));
                }
                Some(NetAction::Snapshot { instrument, generation, path_and_query, weight }) => {
                    let refused = self.rest.submit(instrument, generation, path_and_query, weight);
                    if let Some(reply) = refused {
                        handler.on_snapshot(link, reply.as_ref());
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn queue_all(
        &mut self,
        texts: impl IntoIterator<Item = String, IntoIter: ExactSizeIterator>,
    ) -> ControlFlow<Stop> {
        let texts = texts.into_iter();
        if self.outbox.len() + texts.len() > SEND_QUEUE_BOUND {
            let reason = format!("more than {SEND_QUEUE_BOUND} texts wait to be sent");
            return ControlFlow::Break((DisconnectCause::SendStalled, reason));
        }
        self.outbox.extend(texts.map(|text| Outgoing { text, is_keepalive: false }));
        ControlFlow::Continue(())
    }

    pub(super) async fn send_what_the_rate_allows<H>(
        &mut self,
        line: &mut Line<'_, H>,
    ) -> ControlFlow<Stop> {
        while !self.outbox.is_empty() {
            match self.may_send(line) {
                Ok(()) => {}
                Err(BudgetError::Wait(wait)) => {
                    self.send_wait = wait;
                    break;
                }
                Err(never) => {
                    return ControlFlow::Break((DisconnectCause::SendStalled, never.to_string()));
                }
            }
            let Some(Outgoing { text, is_keepalive }) = self.outbox.pop_front() else {
                break;
            };
            let write_timeout = line.spec.write_timeout;
            let sent = tokio::select! {
                biased;
                () = stopped(&mut line.shutdown) => {
                    return ControlFlow::Break(shutdown_stop());
                }
                sent = timeout(write_timeout, self.socket.send(Message::text(text))) => sent,
            };
            match sent {
                Ok(Ok(())) => line.counters.sends.add(1),
                Ok(Err(error)) => {
                    return ControlFlow::Break((cause_of(&error), format!("sending: {error}")));
                }
                Err(_) => {
                    let reason = format!("the peer took no data for {write_timeout:?}");
                    return ControlFlow::Break((DisconnectCause::SendStalled, reason));
                }
            }
            if is_keepalive {
                line.counters.keepalives.add(1);
                self.unanswered += 1;
                self.keepalive_at = Instant::now();
            }
        }
        ControlFlow::Continue(())
    }

    /// Spends one message of the link's own rate and of the shared one.
    fn may_send<H>(&mut self, line: &Line<'_, H>) -> Result<(), BudgetError> {
        let now = Instant::now();
        if !self.has_turn {
            self.send_rate.try_spend(now, 1)?;
            self.has_turn = true;
        }
        if let Some(limit) = &line.spec.send_limit
            && let Err(wait) = limit.try_take(now)
        {
            line.counters.send_limit_ms_total.add(wait.as_millis() as u64);
            return Err(BudgetError::Wait(wait));
        }
        self.has_turn = false;
        Ok(())
    }

    /// Looks for signs of life, and asks for one where the venue wants to be asked.
    pub(super) fn on_tick<H: Handler>(
        &mut self,
        link: Link,
        line: &mut Line<'_, H>,
    ) -> ControlFlow<Stop> {
        self.watch_flow(link, line);
        let now = Instant::now();
        if self.count_bytes(line.counters) > 0 {
            self.last_bytes_at = now;
            self.unanswered = 0;
        }
        let spec = line.spec;
        if now - self.last_bytes_at >= spec.idle_timeout {
            let reason = format!("not one byte for {:?}", spec.idle_timeout);
            return ControlFlow::Break((DisconnectCause::Idle, reason));
        }
        let Some(keepalive) = &spec.keepalive else {
            return ControlFlow::Continue(());
        };
        let since = now - self.keepalive_at;
        if self.unanswered >= MAX_UNANSWERED && since >= keepalive.answer_timeout {
            let reason = format!("not one byte after {} keep-alives", self.unanswered);
            return ControlFlow::Break((DisconnectCause::Unanswered, reason));
        }
        if since >= keepalive.every && !self.outbox.iter().any(|out| out.is_keepalive) {
            if self.outbox.len() >= SEND_QUEUE_BOUND {
                let reason = format!("no room for a keep-alive behind {SEND_QUEUE_BOUND} texts");
                return ControlFlow::Break((DisconnectCause::SendStalled, reason));
            }
            self.outbox.push_back(Outgoing { text: keepalive.text.clone(), is_keepalive: true });
        }
        ControlFlow::Continue(())
    }

    /// Counts the bytes read since the last call, and tells how many they are.
    fn count_bytes(&mut self, counters: &NetCounters) -> u64 {
        let total = self.stamp.bytes_read();
        let new = total - std::mem::replace(&mut self.bytes_seen, total);
        counters.socket_bytes.add(new);
        new
    }

    fn watch_flow<H: Handler>(&mut self, link: Link, line: &mut Line<'_, H>) {
        let was_proven = self.flow.is_proven();
        let is_proven = self.flow.observe(Instant::now(), line.handler.is_flowing(link));
        line.counters.proven.add(u64::from(is_proven && !was_proven));
    }
}

/// Where a link's messages come from.
#[derive(Debug)]
pub(super) struct Source<'a> {
    socket: &'a mut Socket,
    stamp: &'a Stamp,
}

impl Source<'_> {
    /// Hands over all messages that are there, up to [`MESSAGES_PER_TURN`]; pending if there is none.
    /// A ping is answered by the next poll of the socket, which follows at once, here or in the next
    /// turn.
    pub(super) fn poll_turn<H: Handler>(
        &mut self,
        link: Link,
        handler: &mut H,
        counters: &NetCounters,
        cx: &mut Context<'_>,
    ) -> Poll<ControlFlow<Stop>> {
        for taken in 0..MESSAGES_PER_TURN {
            match self.socket.poll_next_unpin(cx) {
                Poll::Pending if taken == 0 => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(message) => {
                    let stamp_ns = self.stamp.last_read_ns();
                    let delivered = deliver(message, link, handler, stamp_ns, counters);
                    if delivered.is_break() {
                        return Poll::Ready(delivered);
                    }
                }
            }
        }
        Poll::Ready(ControlFlow::Continue(()))
    }
}

fn deliver<H: Handler>(
    message: Option<Result<Message, WsError>>,
    link: Link,
    handler: &mut H,
    ts_recv_ns: i64,
    counters: &NetCounters,
) -> ControlFlow<Stop> {
    let mut on_frame = |bytes: &[u8]| {
        counters.frames.add(1);
        counters.frame_bytes.add(bytes.len() as u64);
        handler.on_frame(link, ts_recv_ns, bytes);
        ControlFlow::Continue(())
    };
    match message {
        Some(Ok(Message::Text(text))) => on_frame(text.as_bytes()),
        Some(Ok(Message::Binary(bytes))) => on_frame(&bytes),
        Some(Ok(Message::Ping(_))) => {
            counters.pings.add(1);
            ControlFlow::Continue(())
        }
        Some(Ok(Message::Pong(_) | Message::Frame(_))) => ControlFlow::Continue(()),
        Some(Ok(Message::Close(frame))) => {
            let reason = frame.map_or_else(
                || "closed by the peer without a reason".into(),
                |frame| format!("closed by the peer: {} `{}`", frame.code, frame.reason),
            );
            ControlFlow::Break((DisconnectCause::ClosedByPeer, reason))
        }
        Some(Err(error)) => ControlFlow::Break((cause_of(&error), error.to_string())),
        None => ControlFlow::Break((DisconnectCause::Lost, "the socket ended".into())),
    }
}
