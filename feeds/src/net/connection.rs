//! One WebSocket connection for its whole life: dial, read, replace, reconnect, until told to stop.
//!
//! Everything runs in one task and suits a current-thread runtime: the sockets, the REST answers, the
//! timer and the shutdown signal meet in one `select!`, so the [`Handler`] is never called twice at a
//! time and needs no lock. Invariants: [`run`] returns only with a [`ConnectionEnd`], never by going
//! quiet; ticks reach the handler in every phase; at most [`MESSAGES_PER_TURN`]
//! messages of a link are taken between two looks at the timer and the shutdown signal; a link that
//! reaches its planned age goes on until its successor is ready, where the handler can follow both.

use std::future::{pending, poll_fn};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::backoff::{Backoff, BackoffConfig};
use super::counters::{DisconnectCause, NetCounters};
use super::dial::{DialError, Target, dial};
use super::limit::SharedLimit;
use super::open::{Open, Source, Stop, shutdown_stop};
use super::rest::{Reply, RestClient};
use super::rotation::{Dialled, Rotation, Standby};
use super::stamp::{Stamp, realtime_ns};
use super::{Handler, Link, install_crypto_provider};

/// Messages taken from the socket in one go.
pub const MESSAGES_PER_TURN: usize = 256;
/// Handler actions carried out in one go, so that a handler that always wants more cannot stop the
/// reading.
pub const ACTIONS_PER_TURN: usize = 256;
/// Texts that may wait for the message rate; one more drops the connection, because a subscription
/// that is lost quietly would be worse.
pub const SEND_QUEUE_BOUND: usize = 256;

/// A text that the venue wants to hear now and then, and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Time between two of them.
    pub every: Duration,
    /// The text.
    pub text: String,
    /// A connection on which not one byte came after two of them, for this long since the second, is
    /// dead.
    pub answer_timeout: Duration,
}

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
    /// Age at which a connection is replaced on our own terms, before the venue cuts it. Up to a
    /// sixteenth less, by the seed of the backoff, so that many hosts are not replaced at once.
    pub max_lifetime: Duration,
    /// How long the replacement may take to be ready while the old one goes on; after that the
    /// connection is dropped and dialled anew.
    pub rotation_timeout: Duration,
    /// What to send although there is nothing to say.
    pub keepalive: Option<Keepalive>,
    /// Texts sent per second at most; leave room for the pongs if the venue counts them.
    pub max_sends_per_s: u32,
    /// Attempts that may fail in a row; `None` is without limit.
    pub max_consecutive_failures: Option<u32>,
    /// Limit on attempts; share one among all connections from the same address.
    pub connect_limit: SharedLimit,
    /// Limit on texts besides `max_sends_per_s`, where the venue counts those of all connections from
    /// the same address together.
    pub send_limit: Option<SharedLimit>,
    /// Wait after a refusal (HTTP 429 or 418) that does not say how long; all that share
    /// `connect_limit` wait.
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
            rotation_timeout: Duration::from_mins(2),
            keepalive: None,
            max_sends_per_s: 4,
            max_consecutive_failures: None,
            connect_limit: SharedLimit::new(300, Duration::from_mins(5)),
            send_limit: None,
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
    let mut line = Line { spec, handler, counters, rest, shutdown, tick, opened: 0 };
    let mut backoff = Backoff::new(spec.backoff);
    let mut failures = 0_u32;
    loop {
        let Some(ended) = line.connect_once(&target).await else {
            return ConnectionEnd::Shutdown;
        };
        if ended.cause == DisconnectCause::Shutdown {
            return ConnectionEnd::Shutdown;
        }
        failures = if ended.was_proven { 0 } else { failures.saturating_add(1) };
        if spec.max_consecutive_failures.is_some_and(|most| failures >= most) {
            return ConnectionEnd::Exhausted { attempts: failures, last_error: ended.reason };
        }
        let delay = backoff.delay(failures).max(ended.stay_away);
        counters.backoff_ms_total.add(delay.as_millis() as u64);
        if line.meanwhile(sleep(delay)).await.is_none() {
            return ConnectionEnd::Shutdown;
        }
    }
}

/// How one connection, or one attempt, ended.
struct Ended {
    cause: DisconnectCause,
    reason: String,
    was_proven: bool,
    /// How long the venue wants us to stay away.
    stay_away: Duration,
}

/// Resolves when the signal turns true or can never turn any more.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// What lasts from one link to the next.
pub(super) struct Line<'a, H> {
    pub(super) spec: &'a ConnectionSpec,
    pub(super) handler: &'a mut H,
    pub(super) counters: &'a NetCounters,
    pub(super) rest: &'a RestClient,
    pub(super) shutdown: watch::Receiver<bool>,
    tick: Interval,
    /// Links opened so far.
    pub(super) opened: u64,
}

impl<H> Line<'_, H> {
    /// Has all that share the limit on connections stay away as long as a refusal says.
    pub(super) fn stay_away(&self, refusal: &DialError) -> Duration {
        let pause = refusal.retry_after.unwrap_or_default();
        if !pause.is_zero() {
            self.spec.connect_limit.pause(Instant::now(), pause);
        }
        pause
    }
}

impl<H: Handler> Line<'_, H> {
    /// Waits for `event` while ticks go on; none if told to stop first.
    async fn meanwhile<F: Future>(&mut self, event: F) -> Option<F::Output> {
        let mut event = pin!(event);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.shutdown) => return None,
                output = &mut event => return Some(output),
                _ = self.tick.tick() => self.handler.on_tick(realtime_ns()),
            }
        }
    }

    /// One attempt, and the connection that comes of it; none if told to stop before there is one.
    async fn connect_once(&mut self, target: &Target) -> Option<Ended> {
        while let Err(wait) = self.spec.connect_limit.try_take(Instant::now()) {
            self.counters.connect_limit_ms_total.add(wait.as_millis() as u64);
            self.meanwhile(sleep(wait)).await?;
        }
        self.counters.dials.add(1);
        let stamp = Arc::new(Stamp::default());
        // Boxed, here and below: large futures that are made once per connection.
        let dialling = Box::pin(dial(target, self.spec, Arc::clone(&stamp)));
        let dialled = self.meanwhile(dialling).await;
        let (stop, stay_away) = match dialled {
            Some(Ok(socket)) => {
                self.counters.connects.add(1);
                let open = Open::new(self, socket, stamp);
                return Some(Box::pin(serve(self, open, target)).await);
            }
            Some(Err(error)) => {
                let stay_away = self.stay_away(&error);
                ((error.cause, error.message), stay_away)
            }
            None => (shutdown_stop(), Duration::ZERO),
        };
        self.counters.disconnected(stop.0, &stop.1);
        Some(Ended { cause: stop.0, reason: stop.1, was_proven: false, stay_away })
    }
}

/// Runs an open connection, successors included, until its last link has ended.
async fn serve<H: Handler>(line: &mut Line<'_, H>, open: Open, target: &Target) -> Ended {
    let mut serving = Serving {
        rotation: Rotation::new(line.spec, target),
        active: open,
        farewell: None,
        was_replaced: false,
    };
    let mut stop = match serving.active.greet(Link::Active, line) {
        ControlFlow::Continue(()) => serving.pump(line).await,
        ControlFlow::Break(stop) => stop,
    };
    loop {
        let was_proven = serving.active.part(Link::Active, &stop, line) || serving.was_replaced;
        let may_fail_over =
            !matches!(stop.0, DisconnectCause::Shutdown | DisconnectCause::Lifetime);
        match serving.rotation.finish() {
            Some(successor) if may_fail_over => {
                line.counters.failovers.add(1);
                serving.promote(successor, line, stop.0);
                stop = serving.pump(line).await;
            }
            abandoned => {
                if let Some(mut standby) = abandoned {
                    standby.part(Link::Standby, &stop, line);
                    standby.goodbye(stop.0).await;
                }
                serving.active.goodbye(stop.0).await;
                let (cause, reason) = stop;
                return Ended { cause, reason, was_proven, stay_away: Duration::ZERO };
            }
        }
    }
}

/// An open connection: its active link, and the successor in the making.
struct Serving<'a> {
    active: Open,
    rotation: Rotation<'a>,
    /// The goodbye of a link that was replaced.
    farewell: Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>,
    /// A successor has taken over before.
    was_replaced: bool,
}

/// What happened next.
enum Event {
    Stop,
    Reply(Link, Reply),
    /// Boxed, as it is large and rare.
    Dialled(Box<Dialled>),
    Farewell,
    Tick,
    MaySend,
    Read(Link, ControlFlow<Stop>),
}

impl Serving<'_> {
    /// Reads, sends and ticks until something ends the active link.
    async fn pump<H: Handler>(&mut self, line: &mut Line<'_, H>) -> Stop {
        loop {
            if let ControlFlow::Break(stop) = self.turn(line).await {
                return stop;
            }
        }
    }

    async fn turn<H: Handler>(&mut self, line: &mut Line<'_, H>) -> ControlFlow<Stop> {
        self.active.take_actions(Link::Active, line.handler)?;
        self.active.send_what_the_rate_allows(line).await?;
        if let Some(standby) = self.rotation.open() {
            let mut done = standby.take_actions(Link::Standby, line.handler);
            if done.is_continue() {
                // A successor that takes no texts holds the active link up for `write_timeout`, once.
                done = standby.send_what_the_rate_allows(line).await;
            }
            self.standby_ended(done, line)?;
        }
        if self.rotation.open().is_some() && line.handler.is_standby_ready() {
            self.rotate(line);
        }
        match self.next_event(line).await {
            Event::Stop => return ControlFlow::Break(shutdown_stop()),
            Event::Reply(link, reply) => line.handler.on_snapshot(link, reply.as_ref()),
            Event::Dialled(dialled) => {
                if let Some(standby) = self.rotation.dialled(*dialled, line) {
                    let greeted = standby.greet(Link::Standby, line);
                    self.standby_ended(greeted, line)?;
                }
            }
            Event::Farewell => self.farewell = None,
            Event::Tick => return self.on_tick(line),
            Event::MaySend => {}
            Event::Read(Link::Active, turn) => return turn,
            Event::Read(Link::Standby, turn) => self.standby_ended(turn, line)?,
        }
        ControlFlow::Continue(())
    }

    async fn next_event<H: Handler>(&mut self, line: &mut Line<'_, H>) -> Event {
        let mut send_wait = self.active.send_wait();
        let (mut standby_rest, mut standby_source, mut dialling) = (None, None, None);
        match &mut self.rotation.standby {
            Standby::Open(open) => {
                let waits = send_wait.into_iter().chain(open.send_wait());
                send_wait = waits.min();
                let (rest, source) = open.split();
                (standby_rest, standby_source) = (Some(rest), Some(source));
            }
            Standby::Dialling(dial) => dialling = Some(dial.as_mut()),
            Standby::Idle | Standby::Waiting(_) => {}
        }
        let (rest, source) = self.active.split();
        let standby_reply = async {
            match &mut standby_rest {
                Some(rest) => rest.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stopped(&mut line.shutdown) => Event::Stop,
            reply = rest.recv() => Event::Reply(Link::Active, reply),
            reply = standby_reply => Event::Reply(Link::Standby, reply),
            dialled = or_never(dialling) => Event::Dialled(Box::new(dialled)),
            () = or_never(self.farewell.as_mut()) => Event::Farewell,
            _ = line.tick.tick() => Event::Tick,
            () = or_never(send_wait.map(sleep)) => Event::MaySend,
            (link, turn) = read_turn(source, standby_source, line.handler, line.counters) => {
                Event::Read(link, turn)
            }
        }
    }

    fn on_tick<H: Handler>(&mut self, line: &mut Line<'_, H>) -> ControlFlow<Stop> {
        line.handler.on_tick(realtime_ns());
        self.active.on_tick(Link::Active, line)?;
        if let Some(standby) = self.rotation.open() {
            let done = standby.on_tick(Link::Standby, line);
            self.standby_ended(done, line)?;
        }
        let now = Instant::now();
        if self.rotation.is_overdue(now) {
            line.counters.rotations_failed.add(1);
            let timeout = line.spec.rotation_timeout;
            let reason = format!("{}, no successor ready after {timeout:?}", self.old_age());
            return ControlFlow::Break((DisconnectCause::Lifetime, reason));
        }
        if !self.rotation.has_begun() && self.active.is_old(now) {
            if !line.handler.can_rotate() {
                return ControlFlow::Break((DisconnectCause::Lifetime, self.old_age()));
            }
            self.rotation.begin(now);
        }
        self.rotation.on_tick(now, line.counters);
        ControlFlow::Continue(())
    }

    fn old_age(&self) -> String {
        format!("planned end after {:?}", self.active.lifetime())
    }

    /// Has another successor dialled if something ended the present one. Told to stop, the active link
    /// ends too.
    fn standby_ended<H: Handler>(
        &mut self,
        done: ControlFlow<Stop>,
        line: &mut Line<'_, H>,
    ) -> ControlFlow<Stop> {
        let ControlFlow::Break(stop) = done else {
            return ControlFlow::Continue(());
        };
        if stop.0 == DisconnectCause::Shutdown {
            return ControlFlow::Break(stop);
        }
        if let Standby::Open(mut open) =
            std::mem::replace(&mut self.rotation.standby, Standby::Idle)
        {
            open.part(Link::Standby, &stop, line);
            self.farewell = Some(Box::pin(open.goodbye(stop.0)));
        }
        self.rotation.failed(Duration::ZERO, line.counters);
        ControlFlow::Continue(())
    }

    /// The successor is ready: it takes over, and the old link goes.
    fn rotate<H: Handler>(&mut self, line: &mut Line<'_, H>) {
        let reason = self.old_age();
        if let Some(successor) = self.rotation.finish() {
            line.counters.rotations.add(1);
            line.counters.disconnected(DisconnectCause::Lifetime, &reason);
            self.promote(successor, line, DisconnectCause::Lifetime);
        }
    }

    fn promote<H: Handler>(
        &mut self,
        successor: Open,
        line: &mut Line<'_, H>,
        cause: DisconnectCause,
    ) {
        let old = std::mem::replace(&mut self.active, successor);
        self.was_replaced = true;
        self.farewell = Some(Box::pin(old.goodbye(cause)));
        line.handler.on_promoted(realtime_ns());
    }
}

async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// Waits for messages of either link and hands over those that are there.
///
/// Cancel-safe: it is only ever pending when it has taken nothing.
async fn read_turn<H: Handler>(
    mut active: Source<'_>,
    mut standby: Option<Source<'_>>,
    handler: &mut H,
    counters: &NetCounters,
) -> (Link, ControlFlow<Stop>) {
    poll_fn(|cx| {
        let first = active.poll_turn(Link::Active, handler, counters, cx);
        if let Poll::Ready(turn @ ControlFlow::Break(_)) = first {
            return Poll::Ready((Link::Active, turn));
        }
        let second = match &mut standby {
            Some(standby) => standby.poll_turn(Link::Standby, handler, counters, cx),
            None => Poll::Pending,
        };
        match (first, second) {
            (_, Poll::Ready(turn)) => Poll::Ready((Link::Standby, turn)),
            (Poll::Ready(turn), Poll::Pending) => Poll::Ready((Link::Active, turn)),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        }
    })
    .await
}
