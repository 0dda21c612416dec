//! What the feeds' side costs: a frame by kind, a number, a book edit, an offer to the conflator.
//!
//! Frames are those of a real capture where the data set is present. Every figure is time **per
//! item**: frame, number, edit or event.

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use common::{Kind, Line, Material, per_item, receive};
use criterion::{Criterion, criterion_group, criterion_main};
use purkinje::pipeline::conflate::Conflator;
use purkinje::pipeline::input::Input;
use purkinje_feeds::binance::decode::decode;
use purkinje_feeds::{Book, EventBody, MarketEvent, Side, fixed};

const PERIOD_NS: i64 = 100_000_000;

const KINDS: [(&str, Kind); 3] =
    [("depth", Kind::Depth), ("bookTicker", Kind::Top), ("trade", Kind::Trade)];

fn lines_of(material: &Material, kind: Kind) -> Vec<Line<'_>> {
    material.lines().filter(|line| line.kind == kind).collect()
}

fn frames(criterion: &mut Criterion) {
    let material = Material::best_available();
    let mut group = criterion.benchmark_group("frame");
    for (name, kind) in KINDS {
        let lines = lines_of(&material, kind);
        let bytes = lines.iter().map(|line| line.bytes.len()).sum::<usize>();
        println!("{name}: {} frames, {} bytes on average", lines.len(), bytes / lines.len().max(1));
        per_item(&mut group, format!("decode/{name}"), || {
            let started = Instant::now();
            for line in &lines {
                let _ = black_box(decode(material.venue, line.bytes));
            }
            (started.elapsed(), lines.len() as u64)
        });
        let (mut sessions, mut out) = material.sessions();
        per_item(&mut group, format!("session/{name}"), || {
            if kind != Kind::Depth {
                let started = Instant::now();
                for line in &lines {
                    receive(&mut sessions[line.connection], line, &mut out);
                    black_box(&out.events);
                    out.clear();
                }
                return (started.elapsed(), lines.len() as u64);
            }
            // Depth frames depend on what came before them, so the whole recording runs through a
            // new session and the clock is read around each.
            (sessions, out) = material.sessions();
            let (mut timed, mut frames) = (Duration::ZERO, 0);
            for line in material.lines() {
                let started = Instant::now();
                receive(&mut sessions[line.connection], &line, &mut out);
                if line.kind == kind {
                    timed += started.elapsed();
                    frames += 1;
                }
                black_box(&out.events);
                out.clear();
            }
            (timed, frames)
        });
    }
    group.finish();
}

fn numbers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fixed::parse");
    for text in ["0.000", "61800.20", "61837.63000000", "12345678.123456789"] {
        group.bench_function(text, |bencher| {
            bencher.iter(|| fixed::parse(black_box(text.as_bytes()), black_box(9)));
        });
    }
    group.finish();
}

fn books(criterion: &mut Criterion) {
    const LEVELS: i64 = 1_000;
    let mut group = criterion.benchmark_group("Book::set");
    let full = || {
        let mut book = Book::with_depth(LEVELS as usize);
        for step in 0..LEVELS {
            book.set(Side::Bid, 1_000_000 - 10 * step, 5);
        }
        book
    };
    for distance in [0, 1, 5, 20, 100, 900] {
        let at = 1_000_000 - 10 * distance;
        let mut book = full();
        group.bench_function(format!("update at {distance}"), |bencher| {
            let mut qty = 1;
            bencher.iter(|| {
                qty = qty % 7 + 1;
                black_box(book.set(Side::Bid, black_box(at), qty))
            });
        });
        let mut book = full();
        group.bench_function(format!("delete + insert at {distance}"), |bencher| {
            bencher.iter(|| {
                book.set(Side::Bid, black_box(at), 0);
                black_box(book.set(Side::Bid, black_box(at), 5))
            });
        });
    }
    let material = Material::best_available();
    let events = events_of(&material);
    per_item(&mut group, "edits of the recording, in order", || {
        let mut books = vec![Book::with_depth(LEVELS as usize); material.table.len()];
        let started = Instant::now();
        let mut edits = 0;
        for event in &events {
            match event.body {
                EventBody::BookBegin => books[event.instrument.index()].clear(),
                EventBody::Level { side, price, qty } => {
                    black_box(books[event.instrument.index()].set(side, price, qty));
                    edits += 1;
                }
                _ => {}
            }
        }
        (started.elapsed(), edits)
    });
    group.finish();
}

fn events_of(material: &Material) -> Vec<MarketEvent> {
    let event = |input: Input| match input {
        Input::Event(event) => Some(event),
        _ => None,
    };
    material.inputs(PERIOD_NS).into_iter().filter_map(event).collect()
}

fn conflation(criterion: &mut Criterion) {
    let material = Material::best_available();
    let events = events_of(&material);
    let messages: Vec<&[MarketEvent]> = events
        .chunk_by(|_, next| {
            matches!(next.body, EventBody::Level { .. } | EventBody::BookCommit { .. })
        })
        .collect();
    let mut group = criterion.benchmark_group("Conflator::offer, per event");
    for (name, free) in [("ring with room", usize::MAX), ("ring full", 0)] {
        per_item(&mut group, name, || {
            let mut conflator =
                Conflator::new(&material.table.iter().map(|(id, _)| id).collect::<Vec<_>>(), 1_000);
            let started = Instant::now();
            for message in &messages {
                conflator.offer(message, free, &mut |event| {
                    black_box(event);
                });
            }
            (started.elapsed(), events.len() as u64)
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::quick();
    targets = frames, numbers, books, conflation
}
criterion_main!(benches);
