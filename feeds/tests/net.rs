//! The network room over real loopback sockets.
//!
//! No test asserts an upper bound on time; waits that must be long are asserted by their lower bound or
//! by what was planned, and a hang ends in a panic after 30 s.

mod net_support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use net_support::{
    Client, accept, accept_ws, answer, listen, loopback_certificate, quick_backoff, read_request,
    response, rest_config, scenario, serve_tls, snapshot, spec, within,
};
use purkinje_feeds::net::connection::SEND_QUEUE_BOUND;
use purkinje_feeds::net::{
    Backoff, BackoffConfig, ConnectionEnd, ConnectionSpec, DisconnectCause, NetAction, RestConfig,
    SharedLimit, realtime_ns,
};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Longer than any test may take: what waits for this, waits for an event instead.
const NEVER: Duration = Duration::from_hours(1);

#[test]
fn frames_of_one_read_share_a_stamp_and_later_reads_have_later_ones() {
    scenario(async {
        let (listener, address) = listen().await;
        let before_ns = realtime_ns();
        let mut client = Client::start(spec(&format!("ws://{address}/")));
        let mut server = accept_ws(&listener).await;
        let connected_ns = client.connected().await;
        assert!(connected_ns >= before_ns);

        let mut batch_stamps = Vec::new();
        for batch in 0..3 {
            for index in 0..4 {
                // `feed` gathers, so that one write carries the whole batch.
                server.feed(Message::text(format!("data {batch} {index}"))).await.unwrap();
            }
            server.flush().await.unwrap();
            let mut stamps = Vec::new();
            for index in 0..4 {
                let (ts_ns, bytes) = client.frame().await;
                assert_eq!(bytes, format!("data {batch} {index}").into_bytes());
                stamps.push(ts_ns);
            }
            assert!(stamps.iter().all(|ts_ns| *ts_ns == stamps[0]), "{stamps:?}");
            batch_stamps.push(stamps[0]);
        }
        assert!(connected_ns <= batch_stamps[0] && batch_stamps.is_sorted(), "{batch_stamps:?}");
        assert!(batch_stamps[2] <= realtime_ns());
        assert_eq!(client.counters.frames.get(), 12);
        assert_eq!(client.counters.frame_bytes.get(), 12 * 8);
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);
    });
}

#[test]
fn a_frame_that_spans_reads_carries_the_stamp_of_the_last() {
    scenario(async {
        let (listener, address) = listen().await;
        let mut client = Client::start(spec(&format!("ws://{address}/")));
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        // An empty ping, then the head and half of an eight-byte text, all in one write: once the pong
        // is here, the first half has been read.
        server.get_mut().write_all(b"\x89\x00\x81\x08data").await.unwrap();
        assert!(within(server.next()).await.unwrap().unwrap().is_pong());
        let half_read_ns = realtime_ns();
        server.get_mut().write_all(b"tail").await.unwrap();
        let (ts_ns, bytes) = client.frame().await;
        assert_eq!(bytes, b"datatail");
        assert!(ts_ns >= half_read_ns, "{ts_ns} is before {half_read_ns}");
        client.stop().await;
    });
}

#[test]
fn binary_frames_arrive_like_text_and_texts_are_sent_in_order() {
    scenario(async {
        let (listener, address) = listen().await;
        let greetings: Vec<String> = (0..20).map(|index| format!("SUBSCRIBE {index}")).collect();
        let url = format!("ws://{address}/");
        let rest = rest_config("http://127.0.0.1:9");
        let mut client = Client::start_with(spec(&url), greetings.clone(), rest);
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        for greeting in greetings {
            assert_eq!(within(server.next()).await.unwrap().unwrap(), Message::text(greeting));
        }
        client.ask([NetAction::Send("LIST".into())]);
        assert_eq!(within(server.next()).await.unwrap().unwrap(), Message::text("LIST"));
        server.send(Message::binary(vec![0, 159, 146, 150])).await.unwrap();
        assert_eq!(client.frame().await.1, [0, 159, 146, 150]);
        assert_eq!(client.counters.sends.get(), 21);
        client.stop().await;
    });
}

#[test]
fn a_ping_is_answered_with_its_payload_when_nothing_else_is_sent() {
    scenario(async {
        let (listener, address) = listen().await;
        let mut client = Client::start(spec(&format!("ws://{address}/")));
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        for payload in ["1732117430123", ""] {
            server.send(Message::Ping(payload.into())).await.unwrap();
            let pong = within(server.next()).await.unwrap().unwrap();
            assert_eq!(pong, Message::Pong(payload.into()));
        }
        assert_eq!((client.counters.pings.get(), client.counters.frames.get()), (2, 0));
        client.stop().await;
    });
}

#[test]
fn backoff_grows_with_each_failure_and_starts_afresh_only_after_data_flowed() {
    scenario(async {
        let (listener, address) = listen().await;
        let spec = ConnectionSpec {
            flow_hold: Duration::from_millis(20),
            ..spec(&format!("ws://{address}/"))
        };
        let mut client = Client::start(spec);
        let mut schedule = Backoff::new(quick_backoff());
        let mut planned_ms = 0;
        // Neither a connect nor an acknowledgement is a success.
        for failures in 1..=4 {
            let mut server = accept_ws(&listener).await;
            client.connected().await;
            assert_eq!(client.counters.backoff_ms_total.get(), planned_ms);
            server.send(Message::text("ack")).await.unwrap();
            client.frame().await;
            drop(server);
            client.disconnected().await;
            planned_ms += schedule.delay(failures).as_millis() as u64;
        }
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        assert_eq!(client.counters.backoff_ms_total.get(), planned_ms);
        assert_eq!(client.counters.proven.get(), 0);

        server.send(Message::text("data")).await.unwrap();
        client.frame().await;
        client.counted("proven", |counters| counters.proven.get() == 1).await;
        drop(server);
        client.disconnected().await;
        planned_ms += schedule.delay(1).as_millis() as u64;

        // Back to the first step of the schedule.
        for failures in 1..=2 {
            let server = accept_ws(&listener).await;
            client.connected().await;
            assert_eq!(client.counters.backoff_ms_total.get(), planned_ms);
            drop(server);
            client.disconnected().await;
            planned_ms += schedule.delay(failures).as_millis() as u64;
        }
        assert_eq!(client.counters.disconnects(DisconnectCause::Lost), 7);
        client.stop().await;
    });
}

#[test]
fn a_silent_peer_is_dropped_and_dialled_again() {
    scenario(async {
        let (listener, address) = listen().await;
        let spec = ConnectionSpec {
            idle_timeout: Duration::from_millis(60),
            ..spec(&format!("ws://{address}/"))
        };
        let mut client = Client::start(spec);
        let _silent = accept_ws(&listener).await;
        client.connected().await;
        assert_eq!(client.disconnected().await, "not one byte for 60ms");
        let _again = accept_ws(&listener).await;
        client.connected().await;
        assert_eq!(client.counters.disconnects(DisconnectCause::Idle), 1);
        client.stop().await;
    });
}

#[test]
fn a_close_frame_is_recorded_with_its_reason_and_answered() {
    scenario(async {
        let (listener, address) = listen().await;
        let mut client = Client::start(spec(&format!("ws://{address}/")));
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        let close = CloseFrame { code: CloseCode::Away, reason: "maintenance".into() };
        server.send(Message::Close(Some(close.clone()))).await.unwrap();
        assert_eq!(client.disconnected().await, "closed by the peer: 1001 `maintenance`");
        let answer = within(server.next()).await.unwrap().unwrap();
        assert_eq!(answer, Message::Close(Some(close)));
        let _again = accept_ws(&listener).await;
        client.connected().await;
        assert_eq!(client.counters.disconnects(DisconnectCause::ClosedByPeer), 1);
        client.stop().await;
    });
}

#[test]
fn an_oversized_message_drops_the_connection_and_is_counted() {
    scenario(async {
        let (listener, address) = listen().await;
        let spec = ConnectionSpec { max_frame_bytes: 1_024, ..spec(&format!("ws://{address}/")) };
        let mut client = Client::start(spec);
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        server.send(Message::text("x".repeat(1_024))).await.unwrap();
        assert_eq!(client.frame().await.1.len(), 1_024);
        server.send(Message::text("x".repeat(1_025))).await.unwrap();
        let reason = client.disconnected().await;
        assert!(reason.contains("1025 > 1024"), "{reason}");

        // The claim alone suffices: a header that announces 2^63-1 bytes.
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        server.get_mut().write_all(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff").await.unwrap();
        client.disconnected().await;
        let _again = accept_ws(&listener).await;
        client.connected().await;
        assert_eq!(client.counters.disconnects(DisconnectCause::Oversized), 2);
        client.stop().await;
    });
}

#[test]
fn bytes_that_are_no_websocket_drop_the_connection_and_are_counted() {
    scenario(async {
        let (listener, address) = listen().await;
        let mut client = Client::start(spec(&format!("ws://{address}/")));
        // A reserved opcode; a text that is no UTF-8; a masked frame from a server.
        for bad in [&b"\x83\x00"[..], b"\x81\x01\xff", b"\x81\x81\x00\x00\x00\x00a"] {
            let mut server = accept_ws(&listener).await;
            client.connected().await;
            server.get_mut().write_all(bad).await.unwrap();
            client.disconnected().await;
        }
        assert_eq!(client.counters.frames.get(), 0);
        client.counted("protocol", |c| c.disconnects(DisconnectCause::Protocol) == 3).await;
        client.stop().await;
    });
}

#[test]
fn an_upgrade_that_is_refused_or_garbled_ends_in_exhaustion_never_in_silence() {
    scenario(async {
        let refused = response(500, "", "down");
        for bad in ["\x00\x01garbage\r\n\r\n", "", &refused] {
            let (listener, address) = listen().await;
            let spec = ConnectionSpec {
                max_consecutive_failures: Some(3),
                ..spec(&format!("ws://{address}/ws"))
            };
            let client = Client::start(spec);
            for _ in 0..3 {
                assert_eq!(answer(&listener, bad).await, "GET /ws HTTP/1.1");
            }
            client
                .counted("dial_failed", |c| c.disconnects(DisconnectCause::DialFailed) == 3)
                .await;
            match client.end().await {
                ConnectionEnd::Exhausted { attempts: 3, last_error } => {
                    assert!(last_error.starts_with("upgrade: "), "{last_error}");
                }
                other => panic!("expected exhaustion, got {other:?}"),
            }
        }
    });
}

#[test]
fn a_refused_port_and_a_mute_server_are_failures_too() {
    scenario(async {
        let (listener, address) = listen().await;
        let spec = ConnectionSpec {
            max_consecutive_failures: Some(1),
            connect_timeout: Duration::from_millis(50),
            ..spec(&format!("ws://{address}/"))
        };
        let client = Client::start(spec.clone());
        let _mute = accept(&listener).await;
        client.counted("dial_timeout", |c| c.disconnects(DisconnectCause::DialTimeout) == 1).await;
        assert!(matches!(client.end().await, ConnectionEnd::Exhausted { attempts: 1, .. }));

        drop(listener);
        let client = Client::start(ConnectionSpec { connect_timeout: NEVER, ..spec });
        match client.end().await {
            ConnectionEnd::Exhausted { attempts: 1, last_error } => {
                assert!(last_error.starts_with("TCP: "), "{last_error}");
            }
            other => panic!("expected exhaustion, got {other:?}"),
        }
    });
}

#[test]
fn a_bad_address_is_reported_and_not_retried() {
    scenario(async {
        let client = Client::start(spec("https://127.0.0.1/"));
        match client.end().await {
            ConnectionEnd::BadUrl { url, .. } => assert_eq!(url, "https://127.0.0.1/"),
            other => panic!("expected a bad address, got {other:?}"),
        }
    });
}

#[test]
fn a_rate_limited_upgrade_waits_as_long_as_the_venue_says() {
    scenario(async {
        // A date is honoured to the second, from the host's clock.
        let in_an_hour = httpdate::fmt_http_date(SystemTime::now() + Duration::from_hours(1));
        let date = format!("retry-after: {in_an_hour}\r\n");
        for (status, header, planned_ms, cause) in [
            (429, "retry-after: 7\r\n", 7_000..=7_000, DisconnectCause::RateLimited),
            (418, "", 90_000..=90_000, DisconnectCause::RateLimited),
            (503, "retry-after: 20\r\n", 20_000..=20_000, DisconnectCause::Unavailable),
            (503, "", 2..=4, DisconnectCause::Unavailable),
            (429, &date, 3_500_000..=3_600_000, DisconnectCause::RateLimited),
        ] {
            let (listener, address) = listen().await;
            let spec = ConnectionSpec {
                default_retry_after: Duration::from_secs(90),
                ..spec(&format!("ws://{address}/"))
            };
            let client = Client::start(spec);
            answer(&listener, &response(status, header, "slow down")).await;
            client.counted("backoff", |c| c.backoff_ms_total.get() > 0).await;
            let waited_ms = client.counters.backoff_ms_total.get();
            assert!(planned_ms.contains(&waited_ms), "{status} {header}: {waited_ms} ms");
            assert_eq!(client.counters.disconnects(cause), 1);
            assert_eq!(client.stop().await, ConnectionEnd::Shutdown);
        }
    });
}

#[test]
fn a_connection_is_replaced_when_asked_and_when_it_is_old() {
    scenario(async {
        let (listener, address) = listen().await;
        let spec = ConnectionSpec {
            max_lifetime: Duration::from_millis(50),
            ..spec(&format!("ws://{address}/"))
        };
        let mut client = Client::start(spec);
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        let reason = client.disconnected().await;
        assert!(reason.starts_with("planned end after "), "{reason}");
        assert!(matches!(within(server.next()).await, Some(Ok(Message::Close(_)))));

        let _server = accept_ws(&listener).await;
        client.connected().await;
        client.ask([NetAction::Reconnect { reason: "topic mute".into() }]);
        assert_eq!(client.disconnected().await, "topic mute");
        let _again = accept_ws(&listener).await;
        client.connected().await;
        assert_eq!(client.counters.disconnects(DisconnectCause::Lifetime), 1);
        assert_eq!(client.counters.disconnects(DisconnectCause::Requested), 1);
        client.stop().await;
    });
}

#[test]
fn more_texts_than_the_queue_holds_drop_the_connection() {
    scenario(async {
        let (listener, address) = listen().await;
        let texts = vec![String::from("SUBSCRIBE"); SEND_QUEUE_BOUND + 1];
        let rest = rest_config("http://127.0.0.1:9");
        let mut client = Client::start_with(spec(&format!("ws://{address}/")), texts, rest);
        let _server = accept_ws(&listener).await;
        client.connected().await;
        assert_eq!(client.disconnected().await, "more than 256 texts wait to be sent");
        client.counted("stalled", |c| c.disconnects(DisconnectCause::SendStalled) == 1).await;
        client.stop().await;
    });
}

#[test]
fn tls_is_verified_and_its_frames_are_stamped_too() {
    let frames = vec![Message::text("data 1"), Message::Ping("p".into()), Message::text("data 2")];
    let (address, server) = serve_tls(frames);
    scenario(async {
        let url = format!("wss://{address}/");
        let strangers = ConnectionSpec { max_consecutive_failures: Some(1), ..spec(&url) };
        match Client::start(strangers).end().await {
            ConnectionEnd::Exhausted { last_error, .. } => {
                assert!(last_error.contains("invalid peer certificate"), "{last_error}");
            }
            other => panic!("expected a refusal, got {other:?}"),
        }

        let mut roots = rustls::RootCertStore::empty();
        roots.add(loopback_certificate()).unwrap();
        let tls =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let trusting = ConnectionSpec { tls: Some(Arc::new(tls)), ..spec(&url) };
        let before_ns = realtime_ns();
        let mut client = Client::start(trusting);
        let connected_ns = client.connected().await;
        let (first_ns, first) = client.frame().await;
        let (second_ns, second) = client.frame().await;
        assert_eq!((first, second), (b"data 1".to_vec(), b"data 2".to_vec()));
        let stamps = [before_ns, connected_ns, first_ns, second_ns, realtime_ns()];
        assert!(stamps.is_sorted(), "{stamps:?}");
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);
    });
    server.join().unwrap();
}

/// In each phase the thing waited for would take an hour.
#[test]
fn shutdown_is_prompt_in_every_phase() {
    scenario(async {
        let (listener, address) = listen().await;
        let url = format!("ws://{address}/");
        let patient = || ConnectionSpec {
            connect_timeout: NEVER,
            idle_timeout: NEVER,
            backoff: BackoffConfig { base: NEVER, cap: NEVER, seed: 0 },
            ..spec(&url)
        };

        // Connecting: the server takes the connection and never answers the upgrade.
        let client = Client::start(patient());
        let mut mute = accept(&listener).await;
        read_request(&mut mute).await;
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);

        // Backing off.
        let client = Client::start(patient());
        drop(accept(&listener).await);
        client.counted("backoff", |c| c.backoff_ms_total.get() > 0).await;
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);

        // Held back by the connection limit.
        let limit = SharedLimit::new(1, NEVER);
        let spec = ConnectionSpec { connect_limit: limit, backoff: quick_backoff(), ..patient() };
        let client = Client::start(spec);
        drop(accept(&listener).await);
        client.counted("limit", |c| c.connect_limit_ms_total.get() > 0).await;
        assert_eq!(client.counters.dials.get(), 1);
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);

        // Reading, and the goodbye is said.
        let mut client = Client::start(patient());
        let mut server = accept_ws(&listener).await;
        client.connected().await;
        let reader = tokio::spawn(async move { within(server.next()).await });
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);
        assert!(matches!(reader.await.unwrap(), Some(Ok(Message::Close(_)))));

        // A REST body that never ends.
        let (http, address) = listen().await;
        let config =
            RestConfig { request_timeout: NEVER, ..rest_config(&format!("http://{address}")) };
        let mut client = Client::start_with(patient(), Vec::new(), config);
        let _server = accept_ws(&listener).await;
        client.connected().await;
        client.ask([snapshot(1, 1)]);
        let mut endless = accept(&http).await;
        read_request(&mut endless).await;
        endless.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1").await.unwrap();
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);
    });
}
