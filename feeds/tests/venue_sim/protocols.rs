//! What the dialects say is what the model says, read with an independent JSON parser.

use super::client::{apply, ask, connect, get, json, simulator, text, until};
use purkinje_feeds::Side;
use purkinje_feeds::fixed;
use purkinje_feeds::venue_sim::dialects::{Binance, Bybit};
use purkinje_feeds::venue_sim::{ModelBook, Script};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;

#[tokio::test]
async fn bybit_books_are_those_of_the_model_from_snapshot_and_deltas() {
    for (dialect, depth) in [(Bybit::LINEAR, 50), (Bybit::SPOT, 200)] {
        let sim = simulator(dialect, Script::default());
        let mut socket = connect(&sim).await;
        let request = format!(
            r#"{{"req_id":"r1","op":"subscribe","args":["orderbook.{depth}.AAAUSDT","orderbook.1.AAAUSDT","publicTrade.AAAUSDT"]}}"#
        );
        let ack = ask(&mut socket, &request).await;
        assert_eq!((&ack["success"], &ack["req_id"]), (&json!(true), &json!("r1")));
        until(|| sim.counters().subscriptions == 3).await;
        sim.step_instrument(0, 300);
        sim.step_instrument(1, 20);
        let truth = sim.book(0).unwrap();
        let mut book = ModelBook::default();
        let (mut last, mut trades) = (0, 0);
        let final_count = sim.ids()[0].count;
        let mut top = Value::Null;
        while last < final_count {
            let frame = json(&mut socket).await;
            let data = &frame["data"];
            match frame["topic"].as_str().unwrap() {
                "orderbook.1.AAAUSDT" => top = data.clone(),
                "publicTrade.AAAUSDT" => {
                    trades += 1;
                    assert_eq!(data[0]["i"], json!(trades.to_string()));
                }
                _ => {
                    let u = data["u"].as_u64().unwrap();
                    if frame["type"] == "snapshot" {
                        book = ModelBook::default();
                    } else {
                        assert_eq!(u, last + 1);
                    }
                    last = u;
                    apply(&mut book, Side::Bid, &data["b"]);
                    apply(&mut book, Side::Ask, &data["a"]);
                    assert!(!book.is_crossed());
                    assert_eq!(data["s"], "AAAUSDT");
                    assert!(frame["ts"].as_i64().unwrap() > frame["cts"].as_i64().unwrap());
                }
            }
        }
        assert_eq!(book, truth);
        assert!(trades > 10, "{trades} trades");
        // The top of the last update may still follow its book frame.
        let best = truth.top().bid.unwrap();
        for _ in 0..2 {
            if top["b"][0][0]
                != json!(fixed::Fixed { mantissa: best.price, decimals: 2 }.to_string())
            {
                top = json(&mut socket).await["data"].clone();
            }
        }
        assert_eq!(
            top["b"][0][0],
            json!(fixed::Fixed { mantissa: best.price, decimals: 2 }.to_string())
        );
        sim.shutdown();
    }
}

#[tokio::test]
async fn a_limited_depth_shows_the_best_levels_only() {
    let listings = vec![purkinje_feeds::venue_sim::Listing::like_btc("AAAUSDT")];
    let model =
        purkinje_feeds::venue_sim::ModelConfig { listings, levels: 120, ..Default::default() };
    let config = purkinje_feeds::venue_sim::ServerConfig { model, ..Default::default() };
    let sim =
        purkinje_feeds::venue_sim::spawn(&config, std::sync::Arc::new(Bybit::LINEAR)).unwrap();
    let mut socket = connect(&sim).await;
    ask(&mut socket, r#"{"op":"subscribe","args":["orderbook.50.AAAUSDT"]}"#).await;
    let mut book = ModelBook::default();
    let mut last = 0;
    for round in 0..500 {
        let frame = json(&mut socket).await;
        apply(&mut book, Side::Bid, &frame["data"]["b"]);
        apply(&mut book, Side::Ask, &frame["data"]["a"]);
        let truth = sim.book(0).unwrap();
        for side in [Side::Bid, Side::Ask] {
            assert_eq!(book.levels(side), truth.top_levels(side, 50), "round {round}");
        }
        let u = frame["data"]["u"].as_u64().unwrap();
        assert!(round == 0 || u == last + 1);
        last = u;
        sim.step(1);
    }
}

#[tokio::test]
async fn binance_books_are_those_of_the_model_from_rest_and_stream_on_one_port() {
    for (dialect, path) in [
        (Binance::USDM, "/fapi/v1/depth?symbol=AAAUSDT&limit=1000"),
        (Binance::COINM, "/dapi/v1/depth?symbol=AAAUSDT&limit=1000"),
        (Binance::SPOT, "/api/v3/depth?symbol=AAAUSDT&limit=5000"),
    ] {
        let is_spot = dialect == Binance::SPOT;
        let sim = simulator(dialect, Script::default());
        let mut socket = connect(&sim).await;
        let request = r#"{"method":"SUBSCRIBE","params":["aaausdt@depth@100ms"],"id":5}"#;
        assert_eq!(ask(&mut socket, request).await, json!({"result": null, "id": 5}));
        sim.step_instrument(0, 10);
        let (status, head, body) = get(&sim, path).await;
        assert_eq!(status, 200);
        assert!(head.contains("x-mbx-used-weight-1m: "), "{head}");
        let snapshot: Value = serde_json::from_str(&body).unwrap();
        let mut book = ModelBook::default();
        apply(&mut book, Side::Bid, &snapshot["bids"]);
        apply(&mut book, Side::Ask, &snapshot["asks"]);
        assert_eq!(book, sim.book(0).unwrap());
        sim.step_instrument(0, 100);
        let seen = snapshot["lastUpdateId"].as_u64().unwrap();
        let mut last: Option<u64> = None;
        for round in 0..110 {
            let frame = json(&mut socket).await;
            assert_eq!(frame["stream"], "aaausdt@depth@100ms");
            let data = &frame["data"];
            let id = |key: &str| data[key].as_u64().unwrap();
            if let Some(last) = last {
                let chained = if is_spot { id("U") == last + 1 } else { id("pu") == last };
                assert!(chained, "round {round}");
            }
            assert!(id("U") <= id("u"));
            last = Some(id("u"));
            assert_eq!(id("u") <= seen, round < 10, "round {round}");
            if id("u") > seen {
                apply(&mut book, Side::Bid, &data["b"]);
                apply(&mut book, Side::Ask, &data["a"]);
            }
        }
        assert_eq!(book, sim.book(0).unwrap());
        assert_eq!(sim.counters().rest_requests, 1);
        sim.shutdown();
    }
}

#[tokio::test]
async fn binance_tops_and_trades_say_what_happened() {
    let sim = simulator(Binance::USDM, Script::default());
    let url =
        format!("ws://{}/public/stream?streams=aaausdt@bookTicker/aaausdt@trade", sim.local_addr());
    let mut socket = connect_async(url).await.unwrap().0;
    let (mut trades, mut tops) = (0, 0);
    for _ in 0..400 {
        let queued = sim.counters().frames_queued;
        sim.step_instrument(0, 1);
        for _ in queued..sim.counters().frames_queued {
            let frame = json(&mut socket).await;
            let data = &frame["data"];
            if data["e"] == "trade" {
                trades += 1;
                assert_eq!(data["t"], json!(trades));
                assert_eq!(data["X"], "MARKET");
            } else {
                tops += 1;
                let top = sim.book(0).unwrap().top();
                let price = |level: purkinje_feeds::book::Level| {
                    json!(fixed::Fixed { mantissa: level.price, decimals: 2 }.to_string())
                };
                assert_eq!(data["b"], price(top.bid.unwrap()));
                assert_eq!(data["a"], price(top.ask.unwrap()));
                assert_eq!(data["u"], json!(sim.ids()[0].link));
            }
        }
    }
    assert!(trades > 20 && tops > 50, "{trades} trades, {tops} tops");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_in_the_words_of_the_venue_and_counted() {
    let sim = simulator(Bybit::LINEAR, Script::default());
    let mut socket = connect(&sim).await;
    for bad in [
        r#"{"op":"subscribe","args":["orderbook.50.NOPE"]}"#,
        r#"{"op":"subscribe","args":["orderbook.7.AAAUSDT"]}"#,
        r#"{"op":"subscribe","args":[]}"#,
        r#"{"op":"dance"}"#,
        "][",
    ] {
        assert_eq!(ask(&mut socket, bad).await["success"], json!(false), "{bad}");
    }
    assert_eq!(ask(&mut socket, r#"{"op":"ping"}"#).await["op"], "pong");
    assert_eq!(sim.counters().bad_requests, 5);
    let url = format!("ws://{}/nowhere", sim.local_addr());
    assert!(connect_async(url).await.is_err());
    assert_eq!(get(&sim, "/nowhere").await.0, 404);
    drop(sim);

    let sim = simulator(Binance::SPOT, Script::default());
    let mut socket = connect(&sim).await;
    assert_eq!(ask(&mut socket, "{}").await["error"]["code"], json!(3));
    assert_eq!(ask(&mut socket, r#"{"method":"X","id":1}"#).await["error"]["code"], json!(2));
    assert_eq!(get(&sim, "/api/v3/depth?symbol=NOPE").await.0, 400);
    assert_eq!(get(&sim, "/api/v3/depth?symbol=AAAUSDT&limit=0").await.0, 400);
}

#[tokio::test]
async fn the_same_seed_and_steps_give_the_same_bytes() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let sim = simulator(Bybit::SPOT, Script::default());
        let mut socket = connect(&sim).await;
        ask(&mut socket, r#"{"op":"subscribe","args":["orderbook.50.AAAUSDT"]}"#).await;
        sim.step(200);
        let frames = sim.ids()[0].count;
        let mut run = Vec::new();
        for _ in 0..frames {
            run.push(text(&mut socket).await);
        }
        runs.push(run);
    }
    assert!(runs[0].len() > 50);
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn at_a_rate_the_market_moves_by_itself_and_pauses_when_told() {
    let sim = simulator(Bybit::SPOT, Script::default());
    sim.set_rate(5_000.0);
    until(|| sim.counters().updates > 200).await;
    sim.pause(true);
    // The turn under way may still end.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let (books, updates) = (sim.books(), sim.counters().updates);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!((sim.books(), sim.counters().updates), (books, updates));
    sim.pause(false);
    until(|| sim.counters().updates > updates).await;
}
