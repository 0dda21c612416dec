//! A handler that reports what it is told, a connection under test, and small servers to talk to.

#![allow(dead_code, reason = "no test program uses all of it")]
#![allow(clippy::unwrap_used, reason = "part of a test, where clippy sees no test function")]

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use purkinje_feeds::net::{
    BackoffConfig, ConnectionEnd, ConnectionSpec, DisconnectCause, Handler, Link, NetAction,
    NetCounters, RestConfig, RestError, RestReply, RestService, run,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// Far beyond what any step takes, so that a hang fails a test instead of blocking it.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Connected { ts_ns: i64 },
    Frame { ts_ns: i64, bytes: Vec<u8> },
    Snapshot { instrument: u16, generation: u32, path: String, body: Result<Vec<u8>, RestError> },
    Disconnected { reason: String },
    Standby(Box<Event>),
    Promoted,
}

/// Frames that start with `data` make it flow; others (acknowledgements, say) do not. `data: ready` makes
/// the standby link ready.
struct Probe {
    events: mpsc::UnboundedSender<Event>,
    greetings: Vec<String>,
    actions: Arc<Mutex<VecDeque<NetAction>>>,
    /// Of the active and the standby link.
    is_flowing: [bool; 2],
    is_ready: bool,
    rotates: bool,
}

impl Handler for Probe {
    fn on_connected(&mut self, link: Link, ts_ns: i64, send: &mut Vec<String>) {
        assert!(send.is_empty());
        send.extend_from_slice(&self.greetings);
        self.tell(link, Event::Connected { ts_ns });
    }

    fn on_frame(&mut self, link: Link, ts_ns: i64, bytes: &[u8]) {
        self.is_flowing[link as usize] |= bytes.starts_with(b"data");
        self.is_ready |= link == Link::Standby && bytes == b"data: ready";
        self.tell(link, Event::Frame { ts_ns, bytes: bytes.to_vec() });
    }

    fn on_snapshot(&mut self, link: Link, reply: RestReply<'_>) {
        assert!(reply.ts_recv_ns > 0);
        let event = Event::Snapshot {
            instrument: reply.instrument,
            generation: reply.generation,
            path: reply.path_and_query.to_owned(),
            body: reply.result.map(<[u8]>::to_vec).map_err(Clone::clone),
        };
        self.tell(link, event);
    }

    fn on_disconnected(&mut self, link: Link, ts_ns: i64, _: DisconnectCause, reason: &str) {
        assert!(ts_ns > 0);
        self.is_flowing[link as usize] = false;
        self.is_ready &= link == Link::Active;
        self.tell(link, Event::Disconnected { reason: reason.to_owned() });
    }

    fn on_tick(&mut self, now_ns: i64) {
        assert!(now_ns > 0);
    }

    fn next_action(&mut self, link: Link) -> Option<NetAction> {
        let mut actions = self.actions.lock().unwrap();
        if link == Link::Active { actions.pop_front() } else { None }
    }

    fn is_flowing(&self, link: Link) -> bool {
        self.is_flowing[link as usize]
    }

    fn can_rotate(&self) -> bool {
        self.rotates
    }

    fn is_standby_ready(&self) -> bool {
        self.is_ready
    }

    fn on_promoted(&mut self, now_ns: i64) {
        assert!(now_ns > 0);
        self.is_ready = false;
        self.is_flowing[0] = std::mem::take(&mut self.is_flowing[1]);
        let _ = self.events.send(Event::Promoted);
    }
}

impl Probe {
    fn tell(&self, link: Link, event: Event) {
        let event = match link {
            Link::Active => event,
            Link::Standby => Event::Standby(Box::new(event)),
        };
        let _ = self.events.send(event);
    }
}

/// A connection under test, running in its own task.
pub(crate) struct Client {
    pub(crate) counters: Arc<NetCounters>,
    pub(crate) rest: RestService,
    events: mpsc::UnboundedReceiver<Event>,
    actions: Arc<Mutex<VecDeque<NetAction>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<ConnectionEnd>,
}

impl Client {
    pub(crate) fn start(spec: ConnectionSpec) -> Self {
        Self::start_with(spec, Vec::new(), rest_config("http://127.0.0.1:9"))
    }

    pub(crate) fn start_with(
        spec: ConnectionSpec,
        greetings: Vec<String>,
        rest: RestConfig,
    ) -> Self {
        Self::launch(spec, greetings, rest, false)
    }

    /// A connection that is replaced by a standby link when it is old.
    pub(crate) fn rotating(spec: ConnectionSpec, greetings: Vec<String>) -> Self {
        Self::launch(spec, greetings, rest_config("http://127.0.0.1:9"), true)
    }

    fn launch(
        spec: ConnectionSpec,
        greetings: Vec<String>,
        rest: RestConfig,
        rotates: bool,
    ) -> Self {
        let counters = Arc::new(NetCounters::default());
        let rest = RestService::start(rest, Arc::clone(&counters)).unwrap();
        let (events_in, events) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let actions = Arc::new(Mutex::new(VecDeque::new()));
        let mut probe = Probe {
            events: events_in,
            greetings,
            actions: Arc::clone(&actions),
            is_flowing: [false; 2],
            is_ready: false,
            rotates,
        };
        let (client, task_counters) = (rest.client(), Arc::clone(&counters));
        let task =
            tokio::spawn(
                async move { run(&spec, &mut probe, &client, &task_counters, stopped).await },
            );
        Self { counters, rest, events, actions, stop, task }
    }

    /// Has the handler ask for these, in order.
    pub(crate) fn ask(&self, actions: impl IntoIterator<Item = NetAction>) {
        self.actions.lock().unwrap().extend(actions);
    }

    pub(crate) async fn next(&mut self) -> Event {
        within(self.events.recv()).await.expect("the connection ended")
    }

    /// The next event, which is the standby link's.
    pub(crate) async fn standby(&mut self) -> Event {
        match self.next().await {
            Event::Standby(event) => *event,
            other => panic!("expected an event of the standby link, got {other:?}"),
        }
    }

    pub(crate) async fn connected(&mut self) -> i64 {
        match self.next().await {
            Event::Connected { ts_ns } => ts_ns,
            other => panic!("expected a connection, got {other:?}"),
        }
    }

    pub(crate) async fn frame(&mut self) -> (i64, Vec<u8>) {
        match self.next().await {
            Event::Frame { ts_ns, bytes } => (ts_ns, bytes),
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    pub(crate) async fn snapshot(&mut self) -> (u16, Result<Vec<u8>, RestError>) {
        match self.next().await {
            Event::Snapshot { instrument, body, .. } => (instrument, body),
            other => panic!("expected a snapshot, got {other:?}"),
        }
    }

    pub(crate) async fn disconnected(&mut self) -> String {
        match self.next().await {
            Event::Disconnected { reason } => reason,
            other => panic!("expected a disconnect, got {other:?}"),
        }
    }

    /// Waits until the counters say so: for what no event tells.
    pub(crate) async fn counted(&self, what: &str, is_reached: impl Fn(&NetCounters) -> bool) {
        let reached = async {
            while !is_reached(&self.counters) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, reached).await;
        assert!(waited.is_ok(), "never counted: {what}; {:?}", self.counters);
    }

    /// Tells the connection to stop and waits until it has.
    pub(crate) async fn stop(self) -> ConnectionEnd {
        self.stop.send(true).unwrap();
        within(self.task).await.unwrap()
    }

    /// Waits until the connection gives up by itself.
    pub(crate) async fn end(self) -> ConnectionEnd {
        within(self.task).await.unwrap()
    }
}

/// Settings under which tests are quick; what a test is about it sets itself.
pub(crate) fn spec(url: &str) -> ConnectionSpec {
    ConnectionSpec {
        tick_ms: 5,
        max_sends_per_s: 1_000,
        backoff: quick_backoff(),
        ..ConnectionSpec::new("test", url)
    }
}

pub(crate) fn quick_backoff() -> BackoffConfig {
    BackoffConfig { base: Duration::from_millis(4), cap: Duration::from_millis(64), seed: 1 }
}

pub(crate) fn rest_config(base_url: &str) -> RestConfig {
    RestConfig { base_url: base_url.into(), backoff: quick_backoff(), ..RestConfig::default() }
}

pub(crate) fn snapshot(instrument: u16, generation: u32) -> NetAction {
    NetAction::Snapshot {
        instrument,
        generation,
        path_and_query: format!("/depth?i={instrument}"),
        weight: 10,
    }
}

/// Runs a test on a current-thread runtime, as the daemon's feed threads do.
pub(crate) fn scenario<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let output = runtime.block_on(test);
    runtime.shutdown_background();
    output
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("nothing happened for 30 s")
}

pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    within(listener.accept()).await.unwrap().0
}

pub(crate) async fn accept_ws(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    within(accept_async(accept(listener).await)).await.unwrap()
}

/// Reads the head of an HTTP request and returns its first line.
pub(crate) async fn read_request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
}

/// Accepts one HTTP request, answers with `response` verbatim and closes; returns its first line.
pub(crate) async fn answer(listener: &TcpListener, response: &str) -> String {
    let mut stream = accept(listener).await;
    let request = read_request(&mut stream).await;
    stream.write_all(response.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    request
}

/// A complete HTTP response; `headers` lines end in CRLF.
pub(crate) fn response(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Any\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Serves one WebSocket over TLS from a thread of its own: sends what `frames` holds, then waits for the
/// peer to leave. The certificate is for 127.0.0.1, signs itself and serves no other purpose.
pub(crate) fn serve_tls(
    frames: Vec<Message>,
) -> (std::net::SocketAddr, std::thread::JoinHandle<()>) {
    purkinje_feeds::net::install_crypto_provider();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("loopback_key.pem"));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![loopback_certificate()], key.unwrap())
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        // The first client does not trust the certificate, and hangs up.
        for stream in listener.incoming().take(2) {
            let tls = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
            let stream = rustls::StreamOwned::new(tls, stream.unwrap());
            let Ok(mut socket) = tokio_tungstenite::tungstenite::accept(stream) else {
                continue;
            };
            for frame in &frames {
                socket.send(frame.clone()).unwrap();
            }
            while socket.read().is_ok() {}
        }
    });
    (address, server)
}

pub(crate) fn loopback_certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("loopback_cert.pem")).unwrap()
}
