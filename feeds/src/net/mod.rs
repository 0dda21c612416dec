//! Sockets: WebSocket client, REST client, reconnection.
