//! What keeps a connection going over real loopback sockets: its replacement at a planned age, keep-alive
//! texts, and the limits that several connections share.
//!
//! No test asserts an upper bound on time; a hang ends in a panic after 30 s.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod net_support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use net_support::{Client, Event, accept_ws, answer, listen, response, scenario, spec, within};
use purkinje_feeds::net::{
    ConnectionEnd, ConnectionSpec, DisconnectCause, Keepalive, NetAction, SharedLimit,
};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

type Server = WebSocketStream<TcpStream>;

/// Longer than any test may take.
const NEVER: Duration = Duration::from_hours(1);

/// Old after 20 ms, with a successor that may take as long as it likes.
fn short_lived(address: &str) -> ConnectionSpec {
    ConnectionSpec {
        max_lifetime: Duration::from_millis(20),
        rotation_timeout: NEVER,
        ..spec(&format!("ws://{address}/"))
    }
}

async fn received(server: &mut Server) -> Message {
    within(server.next()).await.unwrap().unwrap()
}

#[test]
fn an_old_link_goes_on_until_its_successor_is_ready_and_then_leaves() {
    scenario(async {
        let (listener, address) = listen().await;
        let mut client = Client::rotating(short_lived(&address), vec!["SUBSCRIBE".into()]);
        let mut old = accept_ws(&listener).await;
        client.connected().await;
        assert_eq!(received(&mut old).await, Message::text("SUBSCRIBE"));

        let mut new = accept_ws(&listener).await;
        assert!(matches!(client.standby().await, Event::Connected { .. }));
        assert_eq!(received(&mut new).await, Message::text("SUBSCRIBE"), "subscribed on its own");
        // Both are read, and the old one is still the one.
        old.send(Message::text("data of the old")).await.unwrap();
        assert_eq!(client.frame().await.1, b"data of the old");
        new.send(Message::text("data of the new")).await.unwrap();
        assert!(matches!(client.standby().await, Event::Frame { .. }));
        client.ask([NetAction::Send("to the old".into())]);
        assert_eq!(received(&mut old).await, Message::text("to the old"));
        assert_eq!(client.counters.rotations.get(), 0);

        new.send(Message::text("data: ready")).await.unwrap();
        assert!(matches!(client.standby().await, Event::Frame { .. }));
        assert_eq!(client.next().await, Event::Promoted, "and no disconnect before or after");
        assert!(matches!(received(&mut old).await, Message::Close(_)));
        new.send(Message::text("data")).await.unwrap();
        assert_eq!(client.frame().await.1, b"data", "the successor is the active link");
        client.ask([NetAction::Send("to the new".into())]);
        assert_eq!(received(&mut new).await, Message::text("to the new"));

        let counters = &client.counters;
        assert_eq!((counters.rotations.get(), counters.connects.get()), (1, 2));
        assert_eq!(counters.disconnects(DisconnectCause::Lifetime), 1);
        assert_eq!(counters.backoff_ms_total.get(), 0, "nothing was waited for");

        // The successor grows old in its turn.
        let mut third = accept_ws(&listener).await;
        assert!(matches!(client.standby().await, Event::Connected { .. }));
        third.send(Message::text("data: ready")).await.unwrap();
        assert!(matches!(client.standby().await, Event::Frame { .. }));
        assert_eq!(client.next().await, Event::Promoted);
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);
    });
}

#[test]
fn a_successor_that_is_never_ready_costs_a_plain_reconnect() {
    scenario(async {
        let (listener, address) = listen().await;
        let spec =
            ConnectionSpec { rotation_timeout: Duration::from_millis(60), ..short_lived(&address) };
        let mut client = Client::rotating(spec, Vec::new());
        let _old = accept_ws(&listener).await;
        client.connected().await;
        let _new = accept_ws(&listener).await;
        assert!(matches!(client.standby().await, Event::Connected { .. }));
        assert!(matches!(client.next().await, Event::Disconnected { .. }));
        match client.standby().await {
            Event::Disconnected { reason } => {
                assert!(reason.ends_with("no successor ready after 60ms"), "{reason}");
            }
            other => panic!("expected its end, got {other:?}"),
        }
        let _again = accept_ws(&listener).await;
        client.connected().await;
        let counters = &client.counters;
        assert_eq!((counters.rotations.get(), counters.rotations_failed.get()), (0, 1));
        client.stop().await;
    });
}

#[test]
fn a_successor_that_fails_is_dialled_again_within_the_limit_on_connections() {
    scenario(async {
        let (listener, address) = listen().await;
        let limit = SharedLimit::new(4, NEVER);
        let spec = ConnectionSpec { connect_limit: limit, ..short_lived(&address) };
        let mut client = Client::rotating(spec, Vec::new());
        let mut old = accept_ws(&listener).await;
        client.connected().await;
        // Refused once, then cut off once.
        answer(&listener, &response(500, "", "down")).await;
        let cut = accept_ws(&listener).await;
        assert!(matches!(client.standby().await, Event::Connected { .. }));
        drop(cut);
        assert!(matches!(client.standby().await, Event::Disconnected { .. }));
        let mut new = accept_ws(&listener).await;
        assert!(matches!(client.standby().await, Event::Connected { .. }));
        // The limit is reached; the old link never noticed anything.
        old.send(Message::text("data")).await.unwrap();
        assert_eq!(client.frame().await.1, b"data");
        drop(new.close(None).await);
        assert!(matches!(client.standby().await, Event::Disconnected { .. }));
        client.counted("the limit", |c| c.connect_limit_ms_total.get() > 0).await;
        assert_eq!(client.counters.dials.get(), 4);
        old.send(Message::text("data")).await.unwrap();
        assert_eq!(client.frame().await.1, b"data");
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);
    });
}

#[test]
fn a_link_that_dies_while_its_successor_is_open_is_succeeded_at_once() {
    scenario(async {
        let (listener, address) = listen().await;
        let mut client = Client::rotating(short_lived(&address), Vec::new());
        let old = accept_ws(&listener).await;
        client.connected().await;
        let mut new = accept_ws(&listener).await;
        assert!(matches!(client.standby().await, Event::Connected { .. }));
        drop(old);
        client.disconnected().await;
        assert_eq!(client.next().await, Event::Promoted);
        new.send(Message::text("data")).await.unwrap();
        assert_eq!(client.frame().await.1, b"data");
        let counters = &client.counters;
        assert_eq!((counters.failovers.get(), counters.dials.get()), (1, 2));
        client.stop().await;
    });
}

#[test]
fn keep_alives_are_sent_within_the_rate_and_answered_by_anything() {
    scenario(async {
        let (listener, address) = listen().await;
        let keepalive = Keepalive {
            every: Duration::from_millis(10),
            text: "ping".into(),
            answer_timeout: Duration::from_millis(10),
        };
        let spec =
            ConnectionSpec { keepalive: Some(keepalive), ..spec(&format!("ws://{address}/")) };
        let mut client = Client::start(spec);
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        for _ in 0..10 {
            assert_eq!(received(&mut server).await, Message::text("ping"));
            server.send(Message::text("pong")).await.unwrap();
            assert_eq!(client.frame().await.1, b"pong");
        }
        assert!(client.counters.keepalives.get() >= 10);
        assert_eq!(client.counters.disconnects_total(), 0);
        // From here on nothing answers.
        assert_eq!(received(&mut server).await, Message::text("ping"));
        let reason = client.disconnected().await;
        assert!(reason.starts_with("not one byte after "), "{reason}");
        assert!(matches!(received(&mut server).await, Message::Text(_)), "the second of them");
        let _again = accept_ws(&listener).await;
        client.connected().await;
        assert_eq!(client.counters.disconnects(DisconnectCause::Unanswered), 1);
        client.stop().await;
    });
}

#[test]
fn connections_share_a_limit_on_texts_and_a_pause_of_their_venue() {
    scenario(async {
        let (listener, address) = listen().await;
        let spec = ConnectionSpec {
            send_limit: Some(SharedLimit::new(3, NEVER)),
            ..spec(&format!("ws://{address}/"))
        };
        let mut first = Client::start(spec.clone());
        let mut server = accept_ws(&listener).await;
        first.connected().await;
        first.ask(["1", "2"].map(|text| NetAction::Send(text.into())));
        assert_eq!(received(&mut server).await, Message::text("1"));
        assert_eq!(received(&mut server).await, Message::text("2"));

        let mut second = Client::start(spec);
        let mut server = accept_ws(&listener).await;
        second.connected().await;
        second.ask(["3", "4"].map(|text| NetAction::Send(text.into())));
        assert_eq!(received(&mut server).await, Message::text("3"));
        second.counted("a wait", |c| c.send_limit_ms_total.get() > 0).await;
        assert_eq!((first.counters.sends.get(), second.counters.sends.get()), (2, 1));
        first.stop().await;
        second.stop().await;
    });
}

#[test]
fn a_venue_that_sends_one_connection_away_is_left_alone_by_all() {
    scenario(async {
        let (listener, address) = listen().await;
        let limit = SharedLimit::new(100, NEVER);
        let spec = ConnectionSpec { connect_limit: limit, ..spec(&format!("ws://{address}/")) };
        let refused = Client::start(spec.clone());
        answer(&listener, &response(429, "retry-after: 1000\r\n", "slow down")).await;
        refused.counted("the refusal", |c| c.backoff_ms_total.get() == 1_000_000).await;
        let other = Client::start(spec);
        other.counted("the wait", |c| c.connect_limit_ms_total.get() > 900_000).await;
        assert_eq!(other.counters.dials.get(), 0);
        refused.stop().await;
        other.stop().await;
    });
}
