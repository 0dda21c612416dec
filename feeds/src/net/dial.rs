//! From an address to an open WebSocket, or to a reason why not.
//!
//! Invariants: the whole dial (name, TCP, TLS, upgrade) has one deadline; the stream is stamped below
//! TLS; Nagle's algorithm is off; a venue's request to slow down is told apart from other refusals.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::{IntoClientRequest, uri_mode};
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::stream::Mode;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::backoff::retry_after;
use super::connection::ConnectionSpec;
use super::counters::DisconnectCause;
use super::stamp::{Stamp, Stamped};

/// An open WebSocket over TCP, with or without TLS.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<Stamped<TcpStream>>>;

/// A parsed `ws://` or `wss://` address.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    uri: Uri,
    host: String,
    port: u16,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        let default_port = match uri_mode(&uri).map_err(|error| error.to_string())? {
            Mode::Plain => 80,
            Mode::Tls => 443,
        };
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err("it has no host".into());
        }
        let port = uri.port_u16().unwrap_or(default_port);
        Ok(Self { uri, host, port })
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct DialError {
    pub(crate) cause: DisconnectCause,
    pub(crate) message: String,
    /// How long the venue wants us to stay away.
    pub(crate) retry_after: Option<Duration>,
}

impl DialError {
    fn failed(message: String) -> Self {
        Self { cause: DisconnectCause::DialFailed, message, retry_after: None }
    }
}

/// Dials. `stamp` receives the timestamps of the new stream from its first byte on.
pub(crate) async fn dial(
    target: &Target,
    spec: &ConnectionSpec,
    stamp: Arc<Stamp>,
) -> Result<Socket, DialError> {
    match tokio::time::timeout(spec.connect_timeout, open(target, spec, stamp)).await {
        Ok(opened) => opened,
        Err(_) => Err(DialError {
            cause: DisconnectCause::DialTimeout,
            message: format!("not connected within {:?}", spec.connect_timeout),
            retry_after: None,
        }),
    }
}

async fn open(
    target: &Target,
    spec: &ConnectionSpec,
    stamp: Arc<Stamp>,
) -> Result<Socket, DialError> {
    let stream = TcpStream::connect((target.host.as_str(), target.port))
        .await
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .map_err(|error| DialError::failed(format!("TCP: {error}")))?;
    // Made anew for every dial: it carries the random key of the upgrade.
    let request = target
        .uri
        .clone()
        .into_client_request()
        .map_err(|error| DialError::failed(error.to_string()))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(spec.read_buffer_bytes)
        // Every text is flushed at once, so nothing is gained by gathering writes.
        .write_buffer_size(0)
        .max_write_buffer_size(spec.max_frame_bytes.max(1))
        .max_message_size(Some(spec.max_frame_bytes))
        .max_frame_size(Some(spec.max_frame_bytes));
    let stream = Stamped::new(stream, stamp);
    let tls = spec.tls.clone().map(Connector::Rustls);
    match client_async_tls_with_config(request, stream, Some(config), tls).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => Err(refused(&response, spec.default_retry_after)),
        Err(error) => Err(DialError::failed(format!("upgrade: {error}"))),
    }
}

fn refused(response: &Response, default_retry_after: Duration) -> DialError {
    let status = response.status().as_u16();
    let message = format!("upgrade: HTTP status {status}, expected 101");
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let asked = retry_after(header, SystemTime::now());
    match status {
        418 | 429 => DialError {
            cause: DisconnectCause::RateLimited,
            message,
            retry_after: Some(asked.unwrap_or(default_retry_after)),
        },
        // Without a time the ordinary backoff is polite enough: it is no limit of ours that was hit.
        503 => DialError { cause: DisconnectCause::Unavailable, message, retry_after: asked },
        _ => DialError::failed(message),
    }
}

/// What an error while reading or writing means.
pub(crate) fn cause_of(error: &WsError) -> DisconnectCause {
    match error {
        WsError::Capacity(_) => DisconnectCause::Oversized,
        WsError::WriteBufferFull(_) => DisconnectCause::SendStalled,
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => DisconnectCause::Lost,
        WsError::Protocol(_) | WsError::Utf8(_) | WsError::AttackAttempt => {
            DisconnectCause::Protocol
        }
        _ => DisconnectCause::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_host_and_port() {
        for (url, host, port) in [
            ("wss://stream.binance.com:9443/ws", "stream.binance.com", 9443),
            ("wss://fstream.binance.com/stream?streams=a/b", "fstream.binance.com", 443),
            ("ws://127.0.0.1/", "127.0.0.1", 80),
            ("ws://[::1]:8080/", "::1", 8080),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, port), "{url}");
        }
        for url in ["", "stream.binance.com", "https://a/", "wss://", "wss:///ws", "ws://a b/"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
