//! A client without any cleverness, and a book that believes everything it is told.

use futures_util::{SinkExt, StreamExt};
use purkinje_feeds::Side;
use purkinje_feeds::fixed;
use purkinje_feeds::venue_sim::{
    Dialect, Handle, Listing, ModelBook, ModelConfig, Script, ServerConfig, Timers, spawn,
};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Far longer than anything here takes; only a defect waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A stepped simulator with two instruments.
pub(crate) fn simulator(dialect: impl Dialect + 'static, script: Script) -> Handle {
    timed_simulator(dialect, script, Timers::default())
}

pub(crate) fn timed_simulator(
    dialect: impl Dialect + 'static,
    script: Script,
    timers: Timers,
) -> Handle {
    let listings = vec![Listing::like_btc("AAAUSDT"), Listing::like_btc("BBBUSDT")];
    let model = ModelConfig { listings, levels: 40, ..ModelConfig::default() };
    let config = ServerConfig { model, script, timers, ..ServerConfig::default() };
    spawn(&config, Arc::new(dialect)).unwrap()
}

pub(crate) async fn connect(sim: &Handle) -> Socket {
    connect_async(sim.ws_url()).await.unwrap().0
}

pub(crate) async fn message(socket: &mut Socket) -> Message {
    tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

pub(crate) async fn text(socket: &mut Socket) -> String {
    loop {
        match message(socket).await {
            Message::Text(text) => return text.as_str().to_owned(),
            Message::Ping(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

pub(crate) async fn json(socket: &mut Socket) -> Value {
    serde_json::from_str(&text(socket).await).unwrap()
}

pub(crate) async fn send(socket: &mut Socket, request: &str) {
    socket.send(Message::text(request)).await.unwrap();
}

/// Sends a request and returns the next text, its answer.
pub(crate) async fn ask(socket: &mut Socket, request: &str) -> Value {
    send(socket, request).await;
    json(socket).await
}

/// The code of the closing frame that comes next.
pub(crate) async fn close_code(socket: &mut Socket) -> u16 {
    match message(socket).await {
        Message::Close(Some(frame)) => frame.code.into(),
        other => panic!("unexpected {other:?}"),
    }
}

/// Whether the connection is over, however it ended.
pub(crate) async fn is_over(socket: &mut Socket) -> bool {
    let end = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(PATIENCE, end).await.is_ok()
}

/// Waits until `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

/// A GET request: status, head and body.
pub(crate) async fn get(sim: &Handle, target: &str) -> (u16, String, String) {
    get_at(sim.local_addr(), target).await
}

pub(crate) async fn get_at(addr: SocketAddr, target: &str) -> (u16, String, String) {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// Applies a JSON list of `["price","quantity"]`.
pub(crate) fn apply(book: &mut ModelBook, side: Side, levels: &Value) {
    for level in levels.as_array().unwrap() {
        let number = |at: usize, decimals| {
            fixed::parse(level[at].as_str().unwrap().as_bytes(), decimals).unwrap()
        };
        book.set(side, number(0, 2), number(1, 3));
    }
}
