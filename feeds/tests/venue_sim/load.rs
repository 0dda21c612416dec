//! The load generator sends a correct stream without end and says when it sent what.

use super::client::{PATIENCE, apply, ask, get_at, json, send, text, until};
use purkinje_feeds::Side;
use purkinje_feeds::venue_sim::dialects::{Binance, Bybit};
use purkinje_feeds::venue_sim::load::{LoadConfig, LoadHandle, spawn_load};
use purkinje_feeds::venue_sim::{Dialect, Listing, ModelBook, ModelConfig};
use serde_json::Value;
use std::sync::Arc;
use tokio_tungstenite::connect_async;

fn load(dialect: impl Dialect + 'static) -> LoadHandle {
    let listings = vec![Listing::like_btc("AAAUSDT"), Listing::like_btc("BBBUSDT")];
    let model = ModelConfig { listings, levels: 40, ..ModelConfig::default() };
    let config = LoadConfig { model, updates: 200, ..LoadConfig::default() };
    spawn_load(&config, Arc::new(dialect)).unwrap()
}

#[tokio::test]
async fn bybit_books_stay_right_over_many_laps_and_a_subscription_under_load() {
    let generator = load(Bybit::LINEAR);
    let mut socket = connect_async(generator.ws_url()).await.unwrap().0;
    let subscribe =
        r#"{"op":"subscribe","args":["orderbook.200.AAAUSDT","orderbook.200.BBBUSDT"]}"#;
    ask(&mut socket, subscribe).await;
    generator.set_rate(20_000.0);
    let stamps = generator.stamps();
    let mut books = [ModelBook::default(), ModelBook::default()];
    let mut last = [0, 0];
    let (mut frames, mut snapshots) = (0, 0);
    while frames < 4_000 {
        let frame: Value = serde_json::from_str(&text(&mut socket).await).unwrap();
        if frame.get("op").is_some() {
            continue;
        }
        frames += 1;
        let data = &frame["data"];
        let i = usize::from(data["s"] == "BBBUSDT");
        let u = data["u"].as_u64().unwrap();
        if frame["type"] == "snapshot" {
            books[i] = ModelBook::default();
            snapshots += 1;
        } else {
            assert_eq!(u, last[i] + 1, "frame {frames}");
            assert!(stamps.sent_ns(i, u).unwrap() <= stamps.now_ns());
        }
        last[i] = u;
        apply(&mut books[i], Side::Bid, &data["b"]);
        apply(&mut books[i], Side::Ask, &data["a"]);
        assert!(!books[i].is_crossed());
        if frames == 2_000 {
            // The client loses its book and asks for it again while the stream goes on.
            send(&mut socket, subscribe).await;
        }
    }
    assert_eq!(snapshots, 4);
    generator.set_rate(0.0);
    assert!(generator.counters().rings == 2 && generator.counters().rings_refused == 0);
    let drained = async {
        while last != [0, 1].map(|i| generator.book(i).unwrap().1.count) {
            let frame = json(&mut socket).await;
            let i = usize::from(frame["data"]["s"] == "BBBUSDT");
            last[i] = frame["data"]["u"].as_u64().unwrap();
            apply(&mut books[i], Side::Bid, &frame["data"]["b"]);
            apply(&mut books[i], Side::Ask, &frame["data"]["a"]);
        }
    };
    tokio::time::timeout(PATIENCE, drained).await.unwrap();
    for (i, book) in books.iter().enumerate() {
        assert_eq!(book, &generator.book(i).unwrap().0);
    }
}

#[tokio::test]
async fn binance_books_can_be_fetched_by_rest_under_load() {
    let generator = load(Binance::USDM);
    let url = format!("ws://{}/public/ws/aaausdt@depth@0ms", generator.local_addr());
    let mut socket = connect_async(url).await.unwrap().0;
    generator.set_rate(5_000.0);
    until(|| generator.counters().frames_sent > 900).await;
    let target = "/fapi/v1/depth?symbol=AAAUSDT&limit=1000";
    let body = get_at(generator.local_addr(), target).await.2;
    let snapshot: Value = serde_json::from_str(&body).unwrap();
    let seen = snapshot["lastUpdateId"].as_u64().unwrap();
    let mut book = ModelBook::default();
    apply(&mut book, Side::Bid, &snapshot["bids"]);
    apply(&mut book, Side::Ask, &snapshot["asks"]);
    let (mut last, mut applied) = (0, 0);
    while applied < 1_000 {
        let data = json(&mut socket).await;
        let id = |key: &str| data[key].as_u64().unwrap();
        assert!(last == 0 || id("pu") == last);
        last = id("u");
        if last > seen {
            assert!(applied > 0 || id("pu") == seen, "the first after the snapshot");
            applied += 1;
            apply(&mut book, Side::Bid, &data["b"]);
            apply(&mut book, Side::Ask, &data["a"]);
            assert!(!book.is_crossed());
        }
    }
}

#[test]
fn a_load_out_of_range_is_refused_by_name() {
    let config = LoadConfig { updates: 0, ..LoadConfig::default() };
    let message = spawn_load(&config, Arc::new(Bybit::SPOT)).unwrap_err().to_string();
    assert!(message.contains("updates is 0, expected 1 to 262144"), "{message}");
}
