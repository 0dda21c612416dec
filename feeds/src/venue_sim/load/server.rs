//! The sockets of the load generator: sessions that send their rings at a given rate.
//!
//! A session writes whole batches past the WebSocket library, with frame headers of its own, since
//! a copy per frame is all that a load generator may cost. Requests are carried out as ever; each
//! one that changes what is sent renders the ring anew, so subscribe before the rate is set.
//!
//! Invariants: connections and batches are bounded; a receiver that cannot keep up slows its session
//! by back-pressure, which is counted, and nothing is queued meanwhile.

use super::lap::{FIRST_NUMBER, Lap, Moment};
use super::ring::Ring;
use super::stamps::SendStamps;
use crate::venue_sim::book::ModelBook;
use crate::venue_sim::client::frame_header;
use crate::venue_sim::counters::{add, count};
use crate::venue_sim::dialect::{
    BookFrame, Channel, Checksum, Dialect, Effect, RestView, Session, SnapshotSource, Topic,
};
use crate::venue_sim::http::{self, Answer, Socket};
use crate::venue_sim::hub::refusal;
use crate::venue_sim::model::{Ids, Listing, ModelConfig};
use crate::venue_sim::server::{ServerError, spawn_listener};
use futures_util::{SinkExt, StreamExt};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::OnceCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Most updates of half a lap: its frames stay in memory for every session.
const MAX_UPDATES: usize = 262_144;

/// Most frames written at once; what a stalled session is behind by more is not made up for.
const MAX_BATCH_FRAMES: u64 = 8_192;

/// Most sessions at a time.
const MAX_SESSIONS: usize = 256;

/// A load to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadConfig {
    /// The market; its step is the venue time between two updates.
    pub model: ModelConfig,
    /// Updates of half a lap, over all instruments, 1 to 262 144. Default 4096.
    pub updates: usize,
    /// How often a session writes, 100 µs to 1 s; below 1 ms it spins. Default 1 ms.
    pub batch_every: Duration,
}

impl Default for LoadConfig {
    fn default() -> Self {
        let batch_every = Duration::from_millis(1);
        Self { model: ModelConfig::default(), updates: 4_096, batch_every }
    }
}

/// What a load generator did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadCounters {
    /// WebSocket sessions opened.
    pub sessions: u64,
    /// Frames written to sockets.
    pub frames_sent: u64,
    /// Bytes of these, headers included.
    pub bytes_sent: u64,
    /// Frames the rate asked for and the receivers or the host did not let through.
    pub frames_behind: u64,
    /// Rings rendered.
    pub rings: u64,
    /// Rings that could not be rendered, because the frames of two laps differ in more than numbers
    /// of one width; their sessions send nothing.
    pub rings_refused: u64,
}

#[derive(Debug, Default)]
struct Counters {
    sessions: AtomicU64,
    frames_sent: AtomicU64,
    bytes_sent: AtomicU64,
    frames_behind: AtomicU64,
    rings: AtomicU64,
    rings_refused: AtomicU64,
}

/// What sessions, REST and handle share.
#[derive(Debug)]
struct Shared {
    dialect: Arc<dyn Dialect>,
    lap: Lap,
    batch_every: Duration,
    stamps: Arc<SendStamps>,
    counters: Counters,
    open: AtomicUsize,
    /// By instrument: the place in the round after the last update sent.
    places: Vec<AtomicU64>,
    /// Frames per second and session; negative: the end.
    rate_hz: watch::Sender<f64>,
}

/// A running load generator. Dropping the handle shuts it down.
#[derive(Debug)]
pub struct LoadHandle {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

/// Starts a load generator that speaks `dialect`, on a loopback port of its own choice and a thread
/// of its own. It sends nothing but snapshots until [`LoadHandle::set_rate`].
///
/// # Errors
/// A value out of range, no port or no thread to be had.
pub fn spawn_load(
    config: &LoadConfig,
    dialect: Arc<dyn Dialect>,
) -> Result<LoadHandle, ServerError> {
    let batch_s = config.batch_every.as_secs_f64();
    let checks = [
        ("updates", config.updates as f64, 1.0, MAX_UPDATES as f64, "1 to 262144"),
        ("batch_every", batch_s, 1e-4, 1.0, "100 us to 1 s, here in seconds"),
    ];
    for (key, found, low, high, expected) in checks {
        if !(found >= low && found <= high) {
            return Err(ServerError::OutOfRange { key, found, expected });
        }
    }
    let lap = Lap::new(&config.model, config.updates)?;
    let shared = Arc::new(Shared {
        dialect,
        places: lap.listings.iter().map(|_| AtomicU64::new(0)).collect(),
        lap,
        batch_every: config.batch_every,
        stamps: Arc::new(SendStamps::new()),
        counters: Counters::default(),
        open: AtomicUsize::new(0),
        rate_hz: watch::Sender::new(0.0),
    });
    let served = shared.clone();
    let (local_addr, thread) = spawn_listener(move |listener| async move {
        let mut rates = served.rate_hz.subscribe();
        tokio::select! {
            _ = rates.wait_for(|rate_hz| *rate_hz < 0.0) => {}
            () = accept_all(&served, &listener) => {}
        }
    })?;
    Ok(LoadHandle { shared, local_addr, thread: Some(thread) })
}

impl LoadHandle {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// `ws://127.0.0.1:port` and the venue's default path.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}{}", self.local_addr, self.shared.dialect.facts().ws_path)
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.local_addr)
    }

    /// Frames per second **of each session** from now on; 0 pauses.
    pub fn set_rate(&self, rate_hz: f64) {
        self.shared.rate_hz.send_replace(if rate_hz > 0.0 { rate_hz } else { 0.0 });
    }

    /// When each update was sent. Exact only if no two sessions subscribe to the same instrument.
    #[must_use]
    pub fn stamps(&self) -> Arc<SendStamps> {
        self.shared.stamps.clone()
    }

    /// The book of an instrument after the last update sent of it, with its numbers. Like the
    /// stamps, it takes one session per instrument.
    #[must_use]
    pub fn book(&self, instrument: usize) -> Option<(ModelBook, Ids)> {
        let place = self.shared.places.get(instrument)?.load(Relaxed);
        let moment = self.shared.lap.before(place, instrument);
        Some((moment.book, moment.ids))
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> LoadCounters {
        let c = &self.shared.counters;
        LoadCounters {
            sessions: c.sessions.load(Relaxed),
            frames_sent: c.frames_sent.load(Relaxed),
            bytes_sent: c.bytes_sent.load(Relaxed),
            frames_behind: c.frames_behind.load(Relaxed),
            rings: c.rings.load(Relaxed),
            rings_refused: c.rings_refused.load(Relaxed),
        }
    }

    /// Ends all connections and waits for the thread.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.rate_hz.send_replace(-1.0);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by its hook and must not spread.
            let _ = thread.join();
        }
    }
}

impl Drop for LoadHandle {
    fn drop(&mut self) {
        self.end();
    }
}

async fn accept_all(shared: &Arc<Shared>, listener: &TcpListener) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Without it a small batch could wait for an acknowledgement.
        let _ = socket.set_nodelay(true);
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&shared, request);
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            // What a client breaks is its own affair.
            let _ = connection.with_upgrades().await;
        });
    }
}

fn answer(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Answer {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let Some(accept) = http::accept_value(request.headers()) else {
        let moments = shared.places.iter().map(|_| OnceCell::new()).collect();
        let answer = shared.dialect.rest(path, query, &View { shared, moments });
        return http::response(answer.unwrap_or_else(|| refusal(404, None)));
    };
    let number = shared.counters.sessions.fetch_add(1, Relaxed);
    let mut session = Session::with_sequence(number, FIRST_NUMBER);
    let mut effects = Vec::new();
    let listings = &shared.lap.listings;
    if !shared.dialect.open(path, query, listings, &mut session, &mut effects) {
        return http::response(refusal(404, None));
    }
    if shared.open.fetch_add(1, Relaxed) >= MAX_SESSIONS {
        shared.open.fetch_sub(1, Relaxed);
        return http::response(refusal(503, None));
    }
    let (upgraded, shared) = (hyper::upgrade::on(&mut request), shared.clone());
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let socket = http::socket(upgraded).await;
            let sender = Sender {
                shared: &shared,
                socket,
                session,
                topics: Vec::new(),
                ring: None,
                place: 0,
                batch: Vec::new(),
            };
            // A broken socket ends the session like a closed one.
            let _ = sender.run(effects).await;
        }
        shared.open.fetch_sub(1, Relaxed);
    });
    http::switching(accept)
}

/// The market for REST: books as of the last update sent.
struct View<'a> {
    shared: &'a Shared,
    moments: Vec<OnceCell<Moment>>,
}

impl RestView for View<'_> {
    fn listings(&self) -> &[Listing] {
        &self.shared.lap.listings
    }

    fn book(&self, instrument: usize) -> (&ModelBook, Ids, i64) {
        let place = self.shared.places[instrument].load(Relaxed);
        let moment =
            self.moments[instrument].get_or_init(|| self.shared.lap.before(place, instrument));
        (&moment.book, moment.ids, moment.venue_ns)
    }
}

/// One session.
struct Sender<'a> {
    shared: &'a Shared,
    socket: Socket,
    session: Session,
    topics: Vec<Topic>,
    /// What is sent; `None` until there is something and after a request.
    ring: Option<Ring>,
    /// Place in the round of the next frame.
    place: u64,
    batch: Vec<u8>,
}

impl Sender<'_> {
    async fn run(mut self, opening: Vec<Effect>) -> Result<(), Error> {
        self.carry_out(opening).await?;
        let mut rates = self.shared.rate_hz.subscribe();
        let (mut origin, mut done) = (Instant::now(), 0);
        loop {
            let rate_hz = *rates.borrow_and_update();
            if rate_hz < 0.0 {
                return Ok(());
            }
            let is_sending = rate_hz > 0.0 && !self.topics.is_empty();
            tokio::select! {
                biased;
                _ = rates.changed() => (origin, done) = (Instant::now(), 0),
                message = self.socket.next() => match message {
                    None => return Ok(()),
                    Some(message) => {
                        self.hear(message?).await?;
                        (origin, done) = (Instant::now(), 0);
                    }
                },
                () = pause(self.shared.batch_every), if is_sending => {
                    let due = (origin.elapsed().as_secs_f64() * rate_hz) as u64 - done;
                    let frames = due.min(MAX_BATCH_FRAMES);
                    done += due;
                    add(&self.shared.counters.frames_behind, due - frames);
                    self.send(frames).await?;
                }
            }
        }
    }

    async fn hear(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Text(text) => {
                let mut effects = Vec::new();
                if let Some(ring) = self.ring.take() {
                    self.session.skip(ring.written());
                }
                let listings = &self.shared.lap.listings;
                self.shared.dialect.handle(&text, listings, &mut self.session, &mut effects);
                self.carry_out(effects).await
            }
            // The pong and the closing frame are queued by the library; this sends them.
            _ => self.socket.flush().await,
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), Error> {
        for effect in effects {
            match effect {
                Effect::Reply(text) => self.socket.send(Message::text(text)).await?,
                Effect::Unsubscribe(topic) => self.topics.retain(|held| *held != topic),
                Effect::Subscribe(topic) if topic.channel == Channel::Book => {
                    if !self.topics.contains(&topic) {
                        self.topics.push(topic);
                    }
                    self.snapshot(topic).await?;
                }
                // Load is made of book updates only.
                _ => {}
            }
        }
        Ok(())
    }

    async fn snapshot(&mut self, topic: Topic) -> Result<(), Error> {
        if self.shared.dialect.facts().snapshot != SnapshotSource::Stream {
            return Ok(());
        }
        let instrument = usize::from(topic.instrument);
        let Some(listing) = self.shared.lap.listings.get(instrument) else { return Ok(()) };
        let Moment { book, ids, venue_ns } = self.shared.lap.before(self.place, instrument);
        let frame = BookFrame {
            listing,
            topic,
            book: &book,
            changes: &[],
            ids,
            venue_ns,
            checksum: Checksum::True,
            is_restart: false,
        };
        let mut text = Vec::new();
        self.shared.dialect.write_snapshot(&mut self.session, &frame, &mut text);
        self.socket.send(Message::text(String::from_utf8_lossy(&text).into_owned())).await
    }

    /// Writes that many frames at once.
    async fn send(&mut self, frames: u64) -> Result<(), Error> {
        let Shared { dialect, lap, stamps, counters, places, .. } = self.shared;
        if self.ring.is_none() {
            let ring = Ring::new(dialect.as_ref(), lap, self.place, &self.topics, &self.session);
            let Ok(ring) = ring else {
                count(&counters.rings_refused);
                self.topics.clear();
                return Ok(());
            };
            self.ring = Some(ring);
            count(&counters.rings);
        }
        let Some(ring) = &mut self.ring else { return Ok(()) };
        // A pong the library has half written must not end up inside a frame of ours.
        self.socket.flush().await?;
        self.batch.clear();
        let sent_ns = stamps.now_ns();
        let mut written = 0;
        for _ in 0..frames {
            let Some(place) = ring.write_next(&mut self.batch, frame_header) else { break };
            written += 1;
            let instrument = lap.at(place).instrument;
            stamps.stamp(instrument, dialect.update_number(&lap.ids_at(place)), sent_ns);
            self.place = place + 1;
            places[instrument].store(self.place, Relaxed);
        }
        let stream = self.socket.get_mut();
        stream.write_all(&self.batch).await?;
        stream.flush().await?;
        add(&counters.frames_sent, written);
        add(&counters.bytes_sent, self.batch.len() as u64);
        Ok(())
    }
}

/// Waits for the next batch; the timer of the runtime has a grain of 1 ms, so less is spun.
async fn pause(time: Duration) {
    if time >= Duration::from_millis(1) {
        return tokio::time::sleep(time).await;
    }
    let start = Instant::now();
    while start.elapsed() < time {
        tokio::task::yield_now().await;
    }
}
