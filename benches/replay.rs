//! Replay throughput of one real recording, stage by stage: where purkinje stands in rows a second.
//!
//! A row is one level change, one trade or one top of book. Stages (a) to (c) run on one thread over
//! frames already in memory, each the one before and more; (d) and (e) are `purkinje replay` itself,
//! all its threads, gunzip and model set-up included. Best and median of [`RUNS`].
//!
//! `replay decode-once` decodes and sequences the recording once in [`decode_pass`], for instruction
//! counts with callgrind (`--toggle-collect='*decode_pass*'`).

mod common;

use std::sync::{Arc, atomic::AtomicBool};
use std::time::{Duration, Instant};

use common::{Material, capture_path, loaded, receive};
use purkinje::config::Loaded;
use purkinje::pipeline::{
    batch::CycleBatch, engine::Engine, event_clock::EventClock, replay_source::Speed,
};
use purkinje::run::{
    replay::replay,
    spine::{OutletConfig, engine_config},
};
use purkinje::signals::terminal::Mode;
use purkinje_feeds::recording::capture::CaptureReader;
use purkinje_feeds::{Book, EventBody};
use serde::Deserialize;

/// Runs of each stage.
const RUNS: usize = 5;

/// Rows that hftbacktest's converter makes of the capture: level changes and trades of all frames, those
/// before the first snapshot too, but no tops of book, of which we decode 66,089 more. All rates are in
/// these rows, so that they compare.
const CONVERTER_ROWS: u64 = 491_973;

/// Cycle period, ns.
const PERIOD_NS: i64 = 100_000_000;

/// What a pass saw, so that nothing can be optimised away and every stage is seen to do its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    rows: u64,
    frames: u64,
    /// Commits, cycles or forecasts: whatever the stage adds.
    made: u64,
}

fn rows_of(body: &EventBody) -> u64 {
    u64::from(matches!(
        body,
        EventBody::Level { .. } | EventBody::Trade { .. } | EventBody::Top { .. }
    ))
}

/// (a) bytes → events, every sequence rule checked.
#[inline(never)]
fn decode_pass(material: &Material) -> Seen {
    let (mut sessions, mut out) = material.sessions();
    let mut seen = Seen::default();
    for line in material.lines() {
        receive(&mut sessions[line.connection], &line, &mut out);
        seen.rows += out.events.iter().map(|event| rows_of(&event.body)).sum::<u64>();
        seen.frames += 1;
        seen.made += out.events.len() as u64;
        out.clear();
    }
    seen
}

/// (b) and books kept.
fn book_pass(material: &Material, levels: usize) -> Seen {
    let (mut sessions, mut out) = material.sessions();
    let mut books = vec![Book::with_depth(levels); material.table.len()];
    let mut seen = Seen::default();
    for line in material.lines() {
        receive(&mut sessions[line.connection], &line, &mut out);
        for event in &out.events {
            let book = &mut books[event.instrument.index()];
            seen.rows += rows_of(&event.body);
            match event.body {
                EventBody::BookBegin => book.clear(),
                EventBody::Level { side, price, qty } => {
                    book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => {
                    seen.made += u64::from(std::hint::black_box(book.shape()) as u8 > 0);
                }
                _ => {}
            }
        }
        seen.frames += 1;
        out.clear();
    }
    seen
}

/// (c) and the engine: books, features, normalisation, a batch cut every 100 ms.
fn engine_pass(material: &Material, loaded: &Loaded) -> Seen {
    let (mut sessions, mut out) = material.sessions();
    let mut engine =
        Engine::new(&material.table, &engine_config(loaded)).expect("default engine settings");
    let mut batch = CycleBatch::new(material.table.len());
    let mut clock = EventClock::new(PERIOD_NS);
    let mut seen = Seen::default();
    for line in material.lines() {
        receive(&mut sessions[line.connection], &line, &mut out);
        while let Some(cut) = clock.due(line.ts_recv_ns) {
            engine.cut(cut, &mut batch);
            std::hint::black_box(&batch);
        }
        for event in &out.events {
            seen.rows += rows_of(&event.body);
            engine.apply(event);
        }
        seen.frames += 1;
        out.clear();
    }
    seen.made = engine.counts().cycles;
    seen
}

/// (d), (e): the daemon's own replay.
fn daemon_pass(loaded: &Loaded) -> Seen {
    let outlets =
        OutletConfig { journal: None, kafka: None, terminal: Mode::Off, title: "bench".to_owned() };
    let stop = Arc::new(AtomicBool::new(false));
    let report = replay(loaded, &[capture_path()], Speed::Max, &outlets, &stop)
        .expect("a capture that replays");
    let frames = report.feeds.sessions.iter().map(|s| s.frames).sum();
    // Rows are those of the in-memory stages: the recording is the same.
    Seen { rows: 0, frames, made: report.spine.sink.0.counts.signals() }
}

/// Gunzip and splitting into lines, for comparison.
fn gunzip_pass() -> Seen {
    let mut reader = CaptureReader::open(&capture_path()).expect("a readable capture");
    let mut seen = Seen::default();
    while let Some(line) = reader.next_line().expect("a whole capture") {
        seen.frames += 1;
        seen.made += line.bytes.len() as u64;
    }
    seen
}

// What a typed decoder built on a general JSON library would read: the fields we use, numbers borrowed
// as text and then parsed as `f64`, because that is what such decoders do.

#[derive(Deserialize)]
struct DepthFrame<'a> {
    #[serde(rename = "U")]
    first_id: u64,
    #[serde(rename = "u")]
    final_id: u64,
    #[serde(borrow)]
    b: Vec<[&'a str; 2]>,
    #[serde(borrow)]
    a: Vec<[&'a str; 2]>,
}

#[derive(Deserialize)]
struct TopFrame<'a> {
    #[serde(rename = "u")]
    update_id: u64,
    b: &'a str,
    #[serde(rename = "B")]
    bid_qty: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_qty: &'a str,
}

#[derive(Deserialize)]
struct TradeFrame<'a> {
    #[serde(rename = "t")]
    id: u64,
    p: &'a str,
    q: &'a str,
    m: bool,
}

/// The kind is read from the stream's name first, so that the library parses each frame once, into
/// the one type it is: its best case.
fn serde_pass(material: &Material) -> Seen {
    #[derive(Deserialize)]
    struct Of<T> {
        data: T,
    }
    fn number(text: &str) -> f64 {
        text.parse().unwrap_or(f64::NAN)
    }
    let mut seen = Seen::default();
    let mut sum = 0.0;
    for line in material.lines() {
        seen.frames += 1;
        match line.kind {
            common::Kind::Depth => {
                let Ok(Of { data }) = serde_json::from_slice::<Of<DepthFrame<'_>>>(line.bytes)
                else {
                    continue;
                };
                for [price, qty] in data.b.iter().chain(&data.a) {
                    sum += number(price) + number(qty);
                }
                seen.made += data.final_id - data.first_id;
                seen.rows += (data.b.len() + data.a.len()) as u64;
            }
            common::Kind::Top => {
                let Ok(Of { data }) = serde_json::from_slice::<Of<TopFrame<'_>>>(line.bytes) else {
                    continue;
                };
                sum += number(data.b) + number(data.bid_qty);
                sum += number(data.a) + number(data.ask_qty);
                seen.made += data.update_id & 1;
                seen.rows += 1;
            }
            common::Kind::Trade => {
                let Ok(Of { data }) = serde_json::from_slice::<Of<TradeFrame<'_>>>(line.bytes)
                else {
                    continue;
                };
                sum += number(data.p) * if data.m { -number(data.q) } else { number(data.q) };
                seen.made += data.id & 1;
                seen.rows += 1;
            }
            _ => {}
        }
    }
    std::hint::black_box(sum);
    seen
}

/// One stage, measured.
struct Timing {
    best: Duration,
    median: Duration,
    seen: Seen,
}

fn measure(mut pass: impl FnMut() -> Seen) -> Timing {
    let mut times = Vec::with_capacity(RUNS);
    let mut seen = Seen::default();
    for _ in 0..RUNS {
        let started = Instant::now();
        seen = std::hint::black_box(pass());
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Timing { best: times[0], median: times[RUNS / 2], seen }
}

fn show(name: &str, timing: &Timing, rows: u64, reference: &Timing) {
    let per_s = |time: Duration| rows as f64 / time.as_secs_f64() / 1e6;
    println!(
        "{name:<44} {:>8.1} {:>8.1} {:>8.3} {:>8.3} {:>9.0} {:>7.2}",
        timing.best.as_secs_f64() * 1e3,
        timing.median.as_secs_f64() * 1e3,
        per_s(timing.best),
        per_s(timing.median),
        timing.median.as_nanos() as f64 / timing.seen.frames.max(1) as f64,
        timing.median.as_secs_f64() / reference.median.as_secs_f64(),
    );
}

fn main() {
    let defaults = loaded(&[]);
    let material = Material::best_available();
    if std::env::args().any(|arg| arg == "decode-once") {
        let seen = decode_pass(&material);
        println!("{}: {} frames, {} rows decoded once", material.name, seen.frames, seen.rows);
        return;
    }
    let levels = defaults.config.pipeline.book_levels;
    let decode = measure(|| decode_pass(&material));
    let seen_rows = decode.seen.rows;
    let rows = if capture_path().exists() { CONVERTER_ROWS } else { seen_rows };
    println!(
        "\nreplay of {}: {} lines, {:.1} MB of JSON, {seen_rows} events of ours; {RUNS} runs, \
         one thread; rates count {rows} rows",
        material.name,
        material.len(),
        material.bytes() as f64 / 1e6
    );
    println!(
        "{:<44} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7}",
        "", "best ms", "med. ms", "Mrow/s", "median", "ns/frame", "x (a)"
    );
    show("(a) decode + sequence", &decode, rows, &decode);
    let books = measure(|| book_pass(&material, levels));
    show(&format!("(b) + books of {levels} levels"), &books, rows, &decode);
    let engine = measure(|| engine_pass(&material, &defaults));
    show("(c) + features, normaliser, cuts", &engine, rows, &decode);
    assert_eq!(
        (books.seen.rows, engine.seen.rows),
        (seen_rows, seen_rows),
        "all stages see the same rows"
    );
    assert!(books.seen.made > 0 && engine.seen.made > 0, "books commit and cycles are cut");
    let general = measure(|| serde_pass(&material));
    show("peer: serde_json, typed, decode only, f64", &general, rows, &decode);

    if !capture_path().exists() {
        println!("skipped: the daemon's replay needs {}", capture_path().display());
        return;
    }
    let gunzip = measure(gunzip_pass);
    println!("\npurkinje replay, all threads, gunzip and model set-up included");
    show("    gunzip + lines alone", &gunzip, rows, &decode);
    let small =
        loaded(&[("strategy.members", r#"["logistic", "queue-imbalance", "persistence"]"#)]);
    let plain = measure(|| daemon_pass(&small));
    show("(d) logistic, queue imbalance, persistence", &plain, rows, &decode);
    let full = measure(|| daemon_pass(&defaults));
    show("(e) + cerebellum (the default)", &full, rows, &decode);
    println!("    signals: {} and {}", plain.seen.made, full.seen.made);
    assert!(plain.seen.made > 0 && full.seen.made > 0, "the daemon's replay makes signals");
}
