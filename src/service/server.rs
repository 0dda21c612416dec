//! The thread `pk-http`: accepts connections, answers requests, feeds streams.
//!
//! Everything is bounded: connections, bytes of a request's head and body, the time each may take, and how long a
//! client may take nothing; what a bound decides is counted. Invariant: a client can hurt itself and, at the bounds,
//! other clients, never the run.

use std::{
    convert::Infallible,
    error::Error as _,
    io::ErrorKind,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{
        HeaderName, HeaderValue, Request, Response, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    access::Access,
    bind::Endpoint,
    counters::{Counters, Event},
    frames,
    hub::{Hub, Wants, event},
    page,
    routes::{Shared, problem, router},
    stall::Impatient,
    watch::{Watch, WatchInputs},
};
use crate::{
    pipeline::{
        commands::Commands,
        threads::{ThreadError, spawn},
    },
    signals::encode::{Encoder, MAX_LINE_BYTES},
};

/// Streams are fed this often.
pub const TICK: Duration = Duration::from_millis(50);

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 64;

/// Longest head of a request, bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;

/// Longest buffer of a connection, bytes.
const MAX_BUFFER_BYTES: usize = 16 << 10;

/// How long a request's head, or the next request on a connection, may take.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long answering a request may take, its body included.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// How long a client may take nothing.
const STALL_TIME: Duration = Duration::from_secs(10);

/// Streams without events get a comment this often, which finds clients that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Out of descriptors, say: trying again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is said to a connection that is one too many.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Why there is no server.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The system has no thread for it.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The system refuses what the runtime needs.
    #[error("http.address = {address}: {source}")]
    Runtime {
        /// Where it listens.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a run at an endpoint.
    ///
    /// # Errors
    /// The system refuses a thread or what the runtime needs.
    pub fn start(
        endpoint: Endpoint,
        inputs: WatchInputs,
        commands: Arc<Commands>,
    ) -> Result<Self, ServerError> {
        let Endpoint { listener, address, token } = endpoint;
        let refused = |source| ServerError::Runtime { address, source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener).map_err(refused)?
        };
        let shared = Arc::new(Shared {
            title: inputs.title.clone(),
            period_ms: inputs.period_ms,
            watch: Mutex::new(Watch::new(inputs)),
            hub: Mutex::new(Hub::default()),
            counters: Counters::default(),
            access: Access::new(token.as_deref(), address.ip()),
            commands,
        });
        let (stop, stopped) = oneshot::channel();
        let thread = spawn("pk-http", None, move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(&listener, &shared) => {}
                    () = feed_streams(&shared) => {}
                    // Also when the server was dropped.
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // What goes wrong here is not worth a failure of the run.
            let _ = thread.join();
        }
    }
}

/// Drains what has come and tells those who listen.
async fn feed_streams(shared: &Shared) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let encoder = Encoder::from(shared.watch().run().clone());
    let (mut shown_cycle, mut quiet) = (0, Duration::ZERO);
    loop {
        ticks.tick().await;
        let (mut watch, mut hub) = (shared.watch(), shared.hub());
        let mut buffer = [0; MAX_LINE_BYTES];
        watch.take_signals(|signal| {
            let at = signal.instrument.index();
            let wanted = |wants| match wants {
                Wants::Signals { instrument } => instrument.is_none_or(|one| one == at),
                Wants::Frames { .. } => false,
            };
            hub.send(wanted, || {
                let line = encoder.line(signal, &mut buffer)?;
                Some(event("signal", Some(signal.seq), std::str::from_utf8(line.bytes).ok()?))
            });
        });
        let is_frame = |wants| matches!(wants, Wants::Frames { .. });
        let has_column = watch.sample();
        let cycle = watch.stats().snapshot().cycles;
        if cycle != shown_cycle || has_column {
            shown_cycle = cycle;
            hub.send(is_frame, || Some(frames::frame(&watch)));
            for wish in hub.wishes() {
                if let Wants::Frames { book } = wish {
                    hub.send(|wants| wants == wish, || frames::book(&watch, book));
                }
            }
        }
        if has_column {
            hub.send(is_frame, || Some(frames::summary(&watch)));
        }
        quiet += TICK;
        if quiet >= KEEP_ALIVE {
            quiet = Duration::ZERO;
            hub.send(|_| true, || Some(hyper::body::Bytes::from_static(b": still here\n\n")));
        }
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let service = TowerToHyperService::new(router(shared.clone()));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        shared.counters.count(Event::Connection);
        let Ok(place) = places.clone().try_acquire_owned() else {
            shared.counters.count(Event::ConnectionRefused);
            // It fits into the socket's buffer, or nobody is there.
            let _ = stream.try_write(TOO_MANY);
            continue;
        };
        let (shared, service) = (shared.clone(), service.clone());
        tokio::spawn(async move {
            serve(stream, &shared, service).await;
            drop(place);
        });
    }
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, shared: &Arc<Shared>, service: TowerToHyperService<Router>) {
    // Events are small and due at once.
    let _ = stream.set_nodelay(true);
    let answered = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(
            TokioIo::new(Impatient::new(stream, STALL_TIME)),
            service_fn(|request| answer(request, shared, &service)),
        )
        .await;
    if let Err(error) = answered {
        let is_stall = error
            .source()
            .and_then(|source| source.downcast_ref::<std::io::Error>())
            .is_some_and(|source| source.kind() == ErrorKind::TimedOut);
        let what = if error.is_parse_too_large() {
            Event::HeadTooLong
        } else if error.is_timeout() {
            Event::HeadTimeout
        } else if is_stall {
            Event::Stalled
        } else if error.is_parse() {
            Event::Malformed
        } else {
            // The client went away.
            return;
        };
        shared.counters.count(what);
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
    service: &TowerToHyperService<Router>,
) -> Result<Response<Body>, Infallible> {
    let mut response = if shared.access.is_host(request.headers()) {
        match timeout(REQUEST_TIME, service.call(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => {
                shared.counters.count(Event::RequestTimeout);
                let detail = format!("no whole request within {} s", REQUEST_TIME.as_secs());
                problem(StatusCode::REQUEST_TIMEOUT, &detail)
            }
        }
    } else {
        shared.counters.count(Event::WrongHost);
        let detail =
            "this server listens on loopback; expected an address or localhost as the host";
        problem(StatusCode::MISDIRECTED_REQUEST, detail)
    };
    let status = response.status().as_u16();
    shared.counters.count(if status < 400 { Event::Answered } else { Event::Failed });
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 3] = [
        (CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    Ok(response)
}
