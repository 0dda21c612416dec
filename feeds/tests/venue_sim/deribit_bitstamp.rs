//! Deribit and Bitstamp on real sockets, read with an independent JSON parser.

use super::client::{apply, ask, connect, get, json, send, simulator, until};
use purkinje_feeds::Side;
use purkinje_feeds::venue_sim::dialects::{Bitstamp, Deribit};
use purkinje_feeds::venue_sim::{Fault, ModelBook, Script};
use serde_json::{Value, json};

/// Applies a JSON list of `[action, price, amount]` numbers.
fn act(book: &mut ModelBook, side: Side, levels: &Value) {
    for level in levels.as_array().unwrap() {
        let mantissa = |at: usize, scale: f64| (level[at].as_f64().unwrap() * scale).round() as i64;
        let (price, qty) = (mantissa(1, 100.0), mantissa(2, 1000.0));
        let before = book.set(side, price, qty);
        match level[0].as_str().unwrap() {
            "new" => assert!(before == 0 && qty > 0),
            "change" => assert!(before > 0 && qty > 0),
            "delete" => assert!(before > 0 && qty == 0),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn deribit_books_are_a_snapshot_and_a_chain_of_actions() {
    let sim = simulator(Deribit, Script::default());
    let mut socket = connect(&sim).await;
    let request = r#"{"jsonrpc":"2.0","id":3,"method":"public/subscribe","params":{"channels":["book.AAAUSDT.100ms","book.NOPE.100ms"]}}"#;
    let ack = ask(&mut socket, request).await;
    assert_eq!((&ack["id"], &ack["result"]), (&json!(3), &json!(["book.AAAUSDT.100ms"])));
    until(|| sim.counters().subscriptions == 1).await;
    sim.step_instrument(0, 100);
    let (truth, last) = (sim.book(0).unwrap(), sim.ids()[0].link);
    let mut book = ModelBook::default();
    let mut id = Value::Null;
    while id != json!(last) {
        let data = json(&mut socket).await["params"]["data"].clone();
        let expected = if id.is_null() { "snapshot" } else { "change" };
        assert_eq!((&data["type"], &data["prev_change_id"]), (&json!(expected), &id));
        id = data["change_id"].clone();
        act(&mut book, Side::Bid, &data["bids"]);
        act(&mut book, Side::Ask, &data["asks"]);
    }
    assert_eq!(book, truth);
    let raw = request.replace("100ms", "raw");
    assert_eq!(ask(&mut socket, &raw).await["error"]["code"], json!(13778));
    assert_eq!(sim.counters().bad_requests, 2);
}

#[tokio::test]
async fn bitstamp_books_are_a_rest_answer_and_later_updates() {
    let sim = simulator(Bitstamp, Script::default());
    let mut socket = connect(&sim).await;
    let subscribe = |channel: &str| {
        format!(r#"{{"event":"bts:subscribe","data":{{"channel":"{channel}_AAAUSDT"}}}}"#)
    };
    let ack = ask(&mut socket, &subscribe("diff_order_book")).await;
    assert_eq!(ack["event"], "bts:subscription_succeeded");
    send(&mut socket, &subscribe("order_book")).await;
    assert_eq!(json(&mut socket).await["channel"], "order_book_AAAUSDT");
    until(|| sim.counters().subscriptions == 2).await;
    sim.step_instrument(0, 5);
    let (status, _, body) = get(&sim, "/api/v2/order_book/AAAUSDT/?group=1").await;
    assert_eq!(status, 200);
    let snapshot: Value = serde_json::from_str(&body).unwrap();
    let time = |data: &Value| -> u64 { data["microtimestamp"].as_str().unwrap().parse().unwrap() };
    let mut book = ModelBook::default();
    apply(&mut book, Side::Bid, &snapshot["bids"]);
    apply(&mut book, Side::Ask, &snapshot["asks"]);
    assert_eq!(book, sim.book(0).unwrap());
    sim.step_instrument(0, 50);
    let (mut updates, mut whole) = (0, Value::Null);
    for _ in 0..2 * 55 {
        let frame = json(&mut socket).await;
        assert_eq!(frame["event"], "data");
        if frame["channel"] == "order_book_AAAUSDT" {
            whole = frame["data"].clone();
        } else if time(&frame["data"]) > time(&snapshot) {
            updates += 1;
            apply(&mut book, Side::Bid, &frame["data"]["bids"]);
            apply(&mut book, Side::Ask, &frame["data"]["asks"]);
        }
    }
    assert_eq!((updates, &book), (50, &sim.book(0).unwrap()));
    let mut hundred = ModelBook::default();
    apply(&mut hundred, Side::Bid, &whole["bids"]);
    apply(&mut hundred, Side::Ask, &whole["asks"]);
    assert_eq!(hundred, book, "fewer than a hundred levels a side");
    sim.inject(Fault::ReconnectRequest);
    assert_eq!(json(&mut socket).await["event"], "bts:request_reconnect");
    assert_eq!(get(&sim, "/api/v2/order_book/NOPE/").await.0, 404);
}
