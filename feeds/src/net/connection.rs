//! One WebSocket connection for its whole life: dial, read, reconnect, until told to stop.
//!
//! Everything runs in one task and suits a current-thread runtime: the socket, the REST answers, the
//! timer and the shutdown signal meet in one `select!`, so the [`Handler`] is never called twice at a
//! time and needs no lock. Invariants: [`run`] returns only with a [`ConnectionEnd`], never by going
//! quiet; each `on_connected` is followed by exactly one `on_disconnected`; ticks and REST answers
//! reach the handler in every phase; a message is dropped before the next is read, so the read buffer
//! is reused and reading allocates nothing per message (the buffer doubles until one frame and one read
//! fit, at most); at most [`MESSAGES_PER_TURN`] messages are taken between two looks at the timer and
//! the shutdown signal.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::backoff::{Backoff, BackoffConfig, FlowWatch};
use super::budget::{Budget, BudgetError};
use super::counters::{DisconnectCause, NetCounters};
use super::dial::{ConnectLimit, DialError, Socket, Target, cause_of, dial};
use super::rest::{RestClient, RestPort};
use super::stamp::{Stamp, realtime_ns};
use super::{Handler, NetAction, install_crypto_provider};

/// Messages taken from the socket in one go.
pub const MESSAGES_PER_TURN: usize = 256;
/// Handler actions carried out in one go, so that a handler that always wants more cannot stop the
/// reading.
pub const ACTIONS_PER_TURN: usize = 256;
/// Texts that may wait for the message rate; one more drops the connection, because a subscription
/// that is lost quietly would be worse.
pub const SEND_QUEUE_BOUND: usize = 256;
/// How long a goodbye (close frame) may take.
const CLOSE_GRACE: Duration = Duration::from_millis(200);

/// What to connect to and how to keep it connected.
#[derive(Clone, Debug)]
pub struct ConnectionSpec {
    /// `ws://` or `wss://` address.
    pub url: String,
    /// For the caller's reports.
    pub name: String,
    /// Deadline of a whole dial: name, TCP, TLS and upgrade.
    pub connect_timeout: Duration,
    /// Longest time without a single byte before the connection counts as dead. Noticed within one
    /// tick. Streams that go mute behind a living socket are the handler's to notice.
    pub idle_timeout: Duration,
    /// Longest time a text may take to leave.
    pub write_timeout: Duration,
    /// Longest message accepted.
    pub max_frame_bytes: usize,
    /// Most bytes taken in one socket read; allocated when a connection opens.
    pub read_buffer_bytes: usize,
    /// Wait between attempts.
    pub backoff: BackoffConfig,
    /// How long data must flow before the backoff starts afresh.
    pub flow_hold: Duration,
    /// Interval of [`Handler::on_tick`] and of the checks above.
    pub tick_ms: u64,
    /// Age at which a connection is replaced on our own terms, before the venue cuts it.
    pub max_lifetime: Duration,
    /// Texts sent per second at most; leave room for the pongs if the venue counts them.
    pub max_sends_per_s: u32,
    /// Attempts that may fail in a row; `None` is without limit.
    pub max_consecutive_failures: Option<u32>,
    /// Limit on attempts; share one among all connections from the same address.
    pub connect_limit: ConnectLimit,
    /// Wait after a refusal (HTTP 429 or 418) that does not say how long.
    pub default_retry_after: Duration,
    /// TLS settings for `wss://`, for a private certificate authority; `None` trusts the authorities
    /// that Mozilla does.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl ConnectionSpec {
    /// The defaults for `url`, chosen for Binance (24 h life, 5 client messages/s of which one is left
    /// for pongs, 300 attempts per 5 minutes).
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: name.into(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(5),
            max_frame_bytes: 16 << 20,
            read_buffer_bytes: 128 << 10,
            backoff: BackoffConfig::default(),
            flow_hold: Duration::from_secs(10),
            tick_ms: 250,
            max_lifetime: Duration::from_mins(24 * 60 - 10),
            max_sends_per_s: 4,
            max_consecutive_failures: None,
            connect_limit: ConnectLimit::default(),
            default_retry_after: Duration::from_mins(1),
            tls: None,
        }
    }
}

/// Why [`run`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// It was told to (or the sender of the shutdown signal is gone).
    Shutdown,
    /// As many attempts as allowed failed in a row: none had data flowing for long enough.
    Exhausted {
        /// How many.
        attempts: u32,
        /// Of the last one.
        last_error: String,
    },
    /// The address cannot be used; trying again is of no use.
    BadUrl {
        /// As configured.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Keeps a connection alive until `shutdown` turns true.
///
/// The future returns at the next await point after that, whatever it is doing; only a close frame is
/// given a fifth of a second to leave. (A name lookup runs on the runtime's blocking pool, which the
/// runtime waits for when it is dropped: use `shutdown_timeout` there.)
pub async fn run<H: Handler>(
    spec: &ConnectionSpec,
    handler: &mut H,
    rest: &RestClient,
    counters: &NetCounters,
    shutdown: watch::Receiver<bool>,
) -> ConnectionEnd {
    install_crypto_provider();
    let target = match Target::parse(&spec.url) {
        Ok(target) => target,
        Err(problem) => {
            return ConnectionEnd::BadUrl { url: spec.url.clone(), problem };
        }
    };
    let mut tick = interval(Duration::from_millis(spec.tick_ms.max(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut link = Link { spec, handler, counters, rest: rest.open_port(), shutdown, tick };
    let mut backoff = Backoff::new(spec.backoff);
    let mut failures = 0_u32;
    loop {
        let Some(ended) = link.connect_once(&target).await else {
            return ConnectionEnd::Shutdown;
        };
        counters.disconnected(ended.cause, &ended.reason);
        if ended.cause == DisconnectCause::Shutdown {
            return ConnectionEnd::Shutdown;
        }
        failures = if ended.was_proven { 0 } else { failures.saturating_add(1) };
        if spec.max_consecutive_failures.is_some_and(|most| failures >= most) {
            return ConnectionEnd::Exhausted { attempts: failures, last_error: ended.reason };
        }
        let delay = backoff.delay(failures).max(ended.retry_after.unwrap_or_default());
        counters.backoff_ms_total.add(delay.as_millis() as u64);
        if link.meanwhile(sleep(delay)).await.is_none() {
            return ConnectionEnd::Shutdown;
        }
    }
}

/// How one connection, or one attempt, ended.
struct Ended {
    cause: DisconnectCause,
    reason: String,
    was_proven: bool,
    retry_after: Option<Duration>,
}

impl Ended {
    fn unproven((cause, reason): Stop) -> Self {
        Self { cause, reason, was_proven: false, retry_after: None }
    }
}

/// A reason to end the connection, on its way out of the read loop.
type Stop = (DisconnectCause, String);

fn shutdown_stop() -> Stop {
    (DisconnectCause::Shutdown, "shutting down".into())
}

/// Resolves when the signal turns true or can never turn any more.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

struct Link<'a, H> {
    spec: &'a ConnectionSpec,
    handler: &'a mut H,
    counters: &'a NetCounters,
    rest: RestPort,
    shutdown: watch::Receiver<bool>,
    tick: Interval,
}

impl<H: Handler> Link<'_, H> {
    /// Waits for `event` while REST answers and ticks go on; none if told to stop first.
    async fn meanwhile<F: Future>(&mut self, event: F) -> Option<F::Output> {
        let mut event = pin!(event);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.shutdown) => return None,
                output = &mut event => return Some(output),
                reply = self.rest.recv() => self.handler.on_snapshot(reply.as_ref()),
                _ = self.tick.tick() => self.handler.on_tick(realtime_ns()),
            }
        }
    }

    /// One attempt, and the connection that comes of it; none if told to stop before there is one.
    async fn connect_once(&mut self, target: &Target) -> Option<Ended> {
        while let Err(wait) = self.spec.connect_limit.try_take() {
            self.counters.connect_limit_ms_total.add(wait.as_millis() as u64);
            self.meanwhile(sleep(wait)).await?;
        }
        self.counters.dials.add(1);
        let stamp = Arc::new(Stamp::default());
        // Boxed, here and below: large futures that are made once per connection.
        let dialling = Box::pin(dial(target, self.spec, Arc::clone(&stamp)));
        let dialled = self.meanwhile(dialling).await;
        Some(match dialled {
            Some(Ok(socket)) => {
                self.counters.connects.add(1);
                Box::pin(Open::new(self, socket, &stamp).serve()).await
            }
            Some(Err(DialError { cause, message, retry_after })) => {
                Ended { retry_after, ..Ended::unproven((cause, message)) }
            }
            None => Ended::unproven(shutdown_stop()),
        })
    }
}

/// One open connection.
struct Open<'a, 'l, H> {
    link: &'a mut Link<'l, H>,
    socket: Socket,
    stamp: &'a Stamp,
    opened_at: Instant,
    flow: FlowWatch,
    last_bytes_at: Instant,
    bytes_seen: u64,
    outbox: VecDeque<String>,
    send_rate: Budget,
    /// How long until the rate lets the next text go.
    send_wait: Duration,
}

impl<'a, 'l, H: Handler> Open<'a, 'l, H> {
    fn new(link: &'a mut Link<'l, H>, socket: Socket, stamp: &'a Stamp) -> Self {
        let now = Instant::now();
        Self {
            flow: FlowWatch::new(link.spec.flow_hold),
            send_rate: Budget::new(link.spec.max_sends_per_s.max(1), Duration::from_secs(1)),
            link,
            socket,
            stamp,
            opened_at: now,
            last_bytes_at: now,
            bytes_seen: 0,
            outbox: VecDeque::new(),
            send_wait: Duration::ZERO,
        }
    }

    async fn serve(mut self) -> Ended {
        let mut greetings = Vec::new();
        self.link.handler.on_connected(self.stamp.last_read_ns(), &mut greetings);
        let (cause, reason) = match self.queue_all(greetings) {
            ControlFlow::Continue(()) => self.pump().await,
            ControlFlow::Break(stop) => stop,
        };
        // A connection may prove itself between its last tick and its end.
        self.watch_flow();
        self.count_bytes();
        if !matches!(cause, DisconnectCause::Lost | DisconnectCause::Idle) {
            let socket = &mut self.socket;
            let goodbye = async {
                // Answers the peer's close frame, or sends ours; failing is no news at this point.
                let _ = socket.close(None).await;
                let _ = socket.flush().await;
            };
            let _ = timeout(CLOSE_GRACE, goodbye).await;
        }
        self.link.handler.on_disconnected(realtime_ns(), &reason);
        Ended { was_proven: self.flow.is_proven(), ..Ended::unproven((cause, reason)) }
    }

    /// Reads, sends and ticks until something ends the connection.
    async fn pump(&mut self) -> Stop {
        loop {
            if let ControlFlow::Break(stop) = self.take_actions() {
                return stop;
            }
            if let ControlFlow::Break(stop) = self.send_what_the_rate_allows().await {
                return stop;
            }
            let link = &mut *self.link;
            let step = tokio::select! {
                biased;
                () = stopped(&mut link.shutdown) => ControlFlow::Break(shutdown_stop()),
                reply = link.rest.recv() => {
                    link.handler.on_snapshot(reply.as_ref());
                    ControlFlow::Continue(())
                }
                _ = link.tick.tick() => self.on_tick(),
                () = sleep(self.send_wait), if !self.outbox.is_empty() => ControlFlow::Continue(()),
                turn = read_turn(&mut self.socket, link.handler, self.stamp, link.counters) => turn,
            };
            if let ControlFlow::Break(stop) = step {
                return stop;
            }
        }
    }

    fn take_actions(&mut self) -> ControlFlow<Stop> {
        for _ in 0..ACTIONS_PER_TURN {
            match self.link.handler.next_action() {
                None => break,
                Some(NetAction::Send(text)) => self.queue_all(vec![text])?,
                Some(NetAction::Reconnect { reason }) => {
                    return ControlFlow::Break((DisconnectCause::Requested, reason));
                }
                Some(NetAction::Snapshot { instrument, generation, path_and_query, weight }) => {
                    let rest = &self.link.rest;
                    let refused = rest.submit(instrument, generation, path_and_query, weight);
                    if let Some(reply) = refused {
                        self.link.handler.on_snapshot(reply.as_ref());
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn queue_all(&mut self, texts: Vec<String>) -> ControlFlow<Stop> {
        if self.outbox.len() + texts.len() > SEND_QUEUE_BOUND {
            let reason = format!("more than {SEND_QUEUE_BOUND} texts wait to be sent");
            return ControlFlow::Break((DisconnectCause::SendStalled, reason));
        }
        self.outbox.extend(texts);
        ControlFlow::Continue(())
    }

    async fn send_what_the_rate_allows(&mut self) -> ControlFlow<Stop> {
        while !self.outbox.is_empty() {
            match self.send_rate.try_spend(Instant::now(), 1) {
                Ok(()) => {}
                Err(BudgetError::Wait(wait)) => {
                    self.send_wait = wait;
                    break;
                }
                Err(never) => {
                    return ControlFlow::Break((DisconnectCause::SendStalled, never.to_string()));
                }
            }
            let Some(text) = self.outbox.pop_front() else {
                break;
            };
            let write_timeout = self.link.spec.write_timeout;
            let sent = tokio::select! {
                biased;
                () = stopped(&mut self.link.shutdown) => {
                    return ControlFlow::Break(shutdown_stop());
                }
                sent = timeout(write_timeout, self.socket.send(Message::text(text))) => sent,
            };
            match sent {
                Ok(Ok(())) => self.link.counters.sends.add(1),
                Ok(Err(error)) => {
                    return ControlFlow::Break((cause_of(&error), format!("sending: {error}")));
                }
                Err(_) => {
                    let reason = format!("the peer took no data for {write_timeout:?}");
                    return ControlFlow::Break((DisconnectCause::SendStalled, reason));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn on_tick(&mut self) -> ControlFlow<Stop> {
        self.link.handler.on_tick(realtime_ns());
        self.watch_flow();
        let now = Instant::now();
        if self.count_bytes() > 0 {
            self.last_bytes_at = now;
        }
        let spec = self.link.spec;
        if now - self.last_bytes_at >= spec.idle_timeout {
            let reason = format!("not one byte for {:?}", spec.idle_timeout);
            return ControlFlow::Break((DisconnectCause::Idle, reason));
        }
        if now - self.opened_at >= spec.max_lifetime {
            let reason = format!("planned end after {:?}", spec.max_lifetime);
            return ControlFlow::Break((DisconnectCause::Lifetime, reason));
        }
        ControlFlow::Continue(())
    }

    /// Counts the bytes read since the last call, and tells how many they are.
    fn count_bytes(&mut self) -> u64 {
        let total = self.stamp.bytes_read();
        let new = total - std::mem::replace(&mut self.bytes_seen, total);
        self.link.counters.socket_bytes.add(new);
        new
    }

    fn watch_flow(&mut self) {
        let was_proven = self.flow.is_proven();
        let is_proven = self.flow.observe(Instant::now(), self.link.handler.is_flowing());
        self.link.counters.proven.add(u64::from(is_proven && !was_proven));
    }
}

/// Waits for a message and hands over all that are there, up to [`MESSAGES_PER_TURN`].
///
/// Cancel-safe: it is only ever pending when it has taken nothing. A ping is answered by the next poll
/// of the socket, which follows at once, here or in the next turn.
async fn read_turn<H: Handler>(
    socket: &mut Socket,
    handler: &mut H,
    stamp: &Stamp,
    counters: &NetCounters,
) -> ControlFlow<Stop> {
    poll_fn(|cx| {
        for taken in 0..MESSAGES_PER_TURN {
            match socket.poll_next_unpin(cx) {
                Poll::Pending if taken == 0 => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(message) => {
                    let delivered = deliver(message, handler, stamp.last_read_ns(), counters);
                    if delivered.is_break() {
                        return Poll::Ready(delivered);
                    }
                }
            }
        }
        Poll::Ready(ControlFlow::Continue(()))
    })
    .await
}

fn deliver<H: Handler>(
    message: Option<Result<Message, WsError>>,
    handler: &mut H,
    ts_recv_ns: i64,
    counters: &NetCounters,
) -> ControlFlow<Stop> {
    let mut on_frame = |bytes: &[u8]| {
        counters.frames.add(1);
        counters.frame_bytes.add(bytes.len() as u64);
        handler.on_frame(ts_recv_ns, bytes);
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
