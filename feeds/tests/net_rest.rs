//! REST requests over real loopback sockets, as a connection makes them.
//!
//! No test asserts an upper bound on time; a hang ends in a panic after 30 s.

mod net_support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use net_support::{
    Client, accept, accept_ws, answer, listen, read_request, response, rest_config, scenario,
    snapshot, spec,
};
use purkinje_feeds::net::{ConnectionEnd, NetAction, RestConfig, RestError, RestService};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;

/// A connection that is up and makes its requests as `config` says. The server's end of it is returned
/// to be held open.
async fn with_rest(config: RestConfig) -> (Client, WebSocketStream<TcpStream>) {
    let (listener, address) = listen().await;
    let mut client = Client::start_with(spec(&format!("ws://{address}/")), Vec::new(), config);
    let server = accept_ws(&listener).await;
    client.connected().await;
    (client, server)
}

#[test]
fn a_snapshot_comes_back_to_its_asker_and_is_asked_for_once() {
    scenario(async {
        let (http, address) = listen().await;
        let (mut client, _server) = with_rest(rest_config(&format!("http://{address}/"))).await;
        client.ask([snapshot(7, 3), snapshot(7, 3), snapshot(8, 1)]);
        let first = answer(&http, &response(200, "", "{\"lastUpdateId\":1}")).await;
        assert_eq!(first, "GET /depth?i=7 HTTP/1.1");
        let event = client.next().await;
        assert_eq!(
            event,
            net_support::Event::Snapshot {
                instrument: 7,
                generation: 3,
                path: "/depth?i=7".into(),
                body: Ok(b"{\"lastUpdateId\":1}".to_vec()),
            }
        );
        assert_eq!(answer(&http, &response(200, "", "")).await, "GET /depth?i=8 HTTP/1.1");
        assert_eq!(client.snapshot().await, (8, Ok(Vec::new())));
        let counters = &client.counters;
        assert_eq!((counters.rest_requests.get(), counters.rest_ok.get()), (2, 2));
        assert_eq!((counters.rest_duplicates.get(), counters.rest_failures.get()), (1, 0));
        client.stop().await;
    });
}

#[test]
fn transient_errors_are_retried_a_stated_number_of_times_and_others_are_not() {
    scenario(async {
        let (http, address) = listen().await;
        let (mut client, _server) = with_rest(rest_config(&format!("http://{address}"))).await;

        client.ask([snapshot(1, 1)]);
        answer(&http, &response(500, "", "oops")).await;
        answer(&http, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort").await;
        answer(&http, &response(200, "", "book")).await;
        assert_eq!(client.snapshot().await, (1, Ok(b"book".to_vec())));
        assert_eq!(client.counters.rest_retries.get(), 2);

        client.ask([snapshot(1, 2)]);
        for _ in 0..5 {
            answer(&http, &response(502, "", "")).await;
        }
        let failed = RestError::Status { status: 502, attempts: 5 };
        assert_eq!(client.snapshot().await, (1, Err(failed)));

        for status in [404, 301] {
            client.ask([snapshot(2, u32::from(status))]);
            answer(&http, &response(status, "location: /elsewhere\r\n", "")).await;
            let failed = RestError::Status { status, attempts: 1 };
            assert_eq!(client.snapshot().await, (2, Err(failed)));
        }
        assert_eq!(client.counters.rest_failures.get(), 3);
        assert_eq!(client.counters.rest_requests.get(), 10);
        client.stop().await;
    });
}

#[test]
fn retry_after_pauses_every_request() {
    scenario(async {
        let (http, address) = listen().await;
        let (mut client, _server) = with_rest(rest_config(&format!("http://{address}"))).await;
        for (asked, status) in (1..).zip([429, 418, 403]) {
            client.ask([snapshot(1, asked), snapshot(2, asked)]);
            let limited_at = Instant::now();
            answer(&http, &response(status, "retry-after: 1\r\n", "")).await;
            let mut next = accept(&http).await;
            assert!(limited_at.elapsed() >= Duration::from_secs(1), "{:?}", limited_at.elapsed());
            read_request(&mut next).await;
            next.write_all(response(200, "", "a").as_bytes()).await.unwrap();
            drop(next);
            answer(&http, &response(200, "", "b")).await;
            let mut instruments = [client.snapshot().await.0, client.snapshot().await.0];
            instruments.sort_unstable();
            assert_eq!(instruments, [1, 2]);
            assert_eq!(client.counters.rest_rate_limited.get(), u64::from(asked));
        }
        client.stop().await;
    });
}

#[test]
fn a_body_that_is_slow_or_too_long_is_given_up() {
    scenario(async {
        let (http, address) = listen().await;
        let config = RestConfig {
            max_attempts: 1,
            max_body_bytes: 8,
            request_timeout: Duration::from_millis(300),
            ..rest_config(&format!("http://{address}"))
        };
        let (mut client, _server) = with_rest(config).await;
        client.ask([snapshot(1, 1)]);
        answer(&http, &response(200, "", "12345678")).await;
        assert_eq!(client.snapshot().await, (1, Ok(b"12345678".to_vec())));
        client.ask([snapshot(1, 2)]);
        answer(&http, &response(200, "", "123456789")).await;
        let (_, too_long) = client.snapshot().await;
        assert_eq!(too_long, Err(RestError::BodyTooLong { limit_bytes: 8 }));

        client.ask([snapshot(1, 3)]);
        let mut slow = accept(&http).await;
        read_request(&mut slow).await;
        slow.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1234").await.unwrap();
        let (_, given_up) = client.snapshot().await;
        assert!(matches!(given_up, Err(RestError::Transport { attempts: 1, .. })), "{given_up:?}");
        client.stop().await;
    });
}

#[test]
fn the_weight_the_venue_counted_holds_requests_back() {
    scenario(async {
        let (http, address) = listen().await;
        let config = RestConfig {
            weight_per_minute: 100,
            used_weight_header: Some("x-mbx-used-weight-1m".into()),
            ..rest_config(&format!("http://{address}"))
        };
        let (mut client, _server) = with_rest(config).await;
        client.ask([snapshot(1, 1)]);
        answer(&http, &response(200, "X-MBX-USED-WEIGHT-1M: 81\r\n", "a")).await;
        assert_eq!(client.snapshot().await, (1, Ok(b"a".to_vec())));
        // 81 of the usable 90 are spent: ten more have to wait for the window to pass.
        client.ask([snapshot(2, 1)]);
        client.counted("budget wait", |c| c.rest_budget_waits.get() == 1).await;
        assert_eq!(client.counters.rest_requests.get(), 1);

        let heavy = NetAction::Snapshot {
            instrument: 3,
            generation: 1,
            path_and_query: "/heavy".into(),
            weight: 91,
        };
        client.ask([snapshot(2, 2), heavy]);
        client.counted("superseded", |c| c.rest_superseded.get() == 1).await;
        client.stop().await;
    });
}

#[test]
fn a_request_that_cannot_be_made_is_answered_with_the_reason() {
    scenario(async {
        let config = RestConfig { weight_per_minute: 100, ..rest_config("http://127.0.0.1:9") };
        let (mut client, _server) = with_rest(config).await;
        for (path, weight, expected) in [
            ("/heavy", 91, "a weight of 91 can never fit a budget of 90 per 60s"),
            ("depth", 1, "the request is not valid: path `depth` does not start with `/`"),
        ] {
            let path_and_query = path.to_owned();
            client.ask([NetAction::Snapshot {
                instrument: 1,
                generation: 1,
                path_and_query,
                weight,
            }]);
            let (_, refused) = client.snapshot().await;
            assert_eq!(refused.unwrap_err().to_string(), expected);
        }
        client.stop().await;
    });
}

#[test]
fn stopping_the_service_answers_what_was_queued() {
    scenario(async {
        let (http, address) = listen().await;
        let (mut client, _server) = with_rest(rest_config(&format!("http://{address}"))).await;
        client.ask([snapshot(1, 1), snapshot(2, 1)]);
        let mut stalled = accept(&http).await;
        read_request(&mut stalled).await;
        let rest = std::mem::replace(&mut client.rest, {
            let counters = Arc::clone(&client.counters);
            RestService::start(rest_config("http://127.0.0.1:9"), counters).unwrap()
        });
        drop(rest);
        let mut stopped = [client.snapshot().await, client.snapshot().await];
        stopped.sort_by_key(|(instrument, _)| *instrument);
        assert_eq!(stopped, [(1, Err(RestError::Stopped)), (2, Err(RestError::Stopped))]);
        client.ask([snapshot(3, 1)]);
        assert_eq!(client.snapshot().await, (3, Err(RestError::Stopped)));
        assert_eq!(client.stop().await, ConnectionEnd::Shutdown);
    });
}
