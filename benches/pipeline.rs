//! What the daemon's parts behind the feeds cost: rings, engine, model, signals.
//!
//! Engines and forecasters are warmed up first (feature windows filled, normaliser past its warm-up),
//! so that what is timed is the steady state. Figures are time **per item**: hop, message, event,
//! cycle, signal.

mod common;

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Material, loaded, per_item};
use criterion::{Criterion, criterion_group, criterion_main};
use purkinje::clock::Clock;
use purkinje::config::Loaded;
use purkinje::pipeline::batch::{CycleBatch, Status};
use purkinje::pipeline::byte_ring::byte_ring;
use purkinje::pipeline::engine::Engine;
use purkinje::pipeline::input::Input;
use purkinje::pipeline::sink::Output;
use purkinje::pipeline::waker::Waker;
use purkinje::run::spine::{engine_config, forecaster};
use purkinje::signals::Signal;
use purkinje::signals::encode::{Encoder, MAX_LINE_BYTES};
use purkinje_feeds::{InstrumentTable, Side};
use purkinje_kernels::cerebellum::{Cerebellum, CerebellumConfig};
use purkinje_strategies::features::{FeatureConfig, FeatureState, N as FEATURES, SCALES};
use purkinje_strategies::normalise::{Normaliser, NormaliserConfig, NormaliserKind};
use rtrb::RingBuffer;
use sha2::{Digest, Sha256};

const PERIOD_NS: i64 = 100_000_000;

/// Cycles after which windows and normaliser are warm: 5 s and 128 cycles more.
const WARM_CYCLES: u64 = 190;

/// Market time simulated for a warm engine: some cycles more than the warm-up.
const SIM_SECONDS: i64 = 23;

/// Longest a thread of a hop waits unless woken; a lost wake would show as this.
const NAP: Duration = Duration::from_millis(50);

const INSTRUMENTS: [usize; 3] = [1, 16, 64];

/// One hop of an item from thread to thread: a round trip is two.
fn hops(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring hop");
    for (name, spins) in [("spinning", true), ("parked, with Waker", false)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|hops| round_trips(hops.div_ceil(2), spins));
        });
    }
    group.bench_function("streaming, per item", |bencher| bencher.iter_custom(stream));
    group.finish();
}

/// Gets the next item, spinning (but yielding now and then, where cores are few) or asleep.
fn take(ring: &mut rtrb::Consumer<u64>, waker: &Waker, spins: bool) -> u64 {
    let mut looks = 0_u32;
    loop {
        if let Ok(item) = ring.pop() {
            return item;
        }
        if spins {
            looks += 1;
            if looks.is_multiple_of(10_000) {
                thread::yield_now();
            }
            spin_loop();
        } else {
            waker.sleep(NAP, || !ring.is_empty());
        }
    }
}

/// The time of so many round trips, each of two hops.
fn round_trips(trips: u64, spins: bool) -> Duration {
    let (mut there, mut there_end) = RingBuffer::<u64>::new(64);
    let (mut back, mut back_end) = RingBuffer::<u64>::new(64);
    let (here_waker, echo_waker) = (Waker::default(), Waker::default());
    thread::scope(|scope| {
        let (mine, theirs) = (echo_waker.clone(), here_waker.clone());
        scope.spawn(move || {
            for _ in 0..trips {
                let item = take(&mut there_end, &mine, spins);
                // One item is under way at a time, so there is always room.
                let _ = back.push(item);
                theirs.wake();
            }
        });
        let started = Instant::now();
        for trip in 0..trips {
            let _ = there.push(trip);
            echo_waker.wake();
            black_box(take(&mut back_end, &here_waker, spins));
        }
        started.elapsed()
    })
}

/// The time to move so many engine inputs through a ring of the default size, both ends busy.
fn stream(items: u64) -> Duration {
    let (mut tx, mut rx) = RingBuffer::<Input>::new(16_384);
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopped = &stopped;
        scope.spawn(move || {
            let item = Input::FrameEnd { recv_mono_ns: 1, decoded_mono_ns: 2 };
            let mut sent = 0;
            while sent < items && !stopped.load(Ordering::Relaxed) {
                match tx.push(item) {
                    Ok(()) => sent += 1,
                    Err(_) => thread::yield_now(),
                }
            }
        });
        let started = Instant::now();
        let mut taken = 0;
        while taken < items {
            match rx.pop() {
                Ok(item) => {
                    black_box(item);
                    taken += 1;
                }
                Err(_) => thread::yield_now(),
            }
        }
        stopped.store(true, Ordering::Relaxed);
        started.elapsed()
    })
}

fn byte_rings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("byte ring");
    let (mut tx, mut rx) = byte_ring(1 << 20, Waker::default());
    let line = [b'x'; 700];
    let mut into = Vec::with_capacity(1024);
    group.bench_function("send + receive a 700-byte line, one thread", |bencher| {
        bencher.iter(|| {
            assert!(tx.try_send(&[black_box(&line)]), "the ring was emptied the last time");
            assert!(rx.try_recv(&mut into), "a line was sent");
            black_box(into.len())
        });
    });
    group.finish();
}

fn engine_of(table: &InstrumentTable) -> Engine {
    Engine::new(table, &engine_config(&loaded(&[]))).expect("default engine settings")
}

fn engines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Engine::apply, per event");
    let material = Material::best_available();
    let inputs = material.inputs(PERIOD_NS);
    per_item(&mut group, &material.name, || {
        let mut engine = engine_of(&material.table);
        let (started, mut events) = (Instant::now(), 0);
        for input in &inputs {
            if let Input::Event(event) = input {
                engine.apply(event);
                events += 1;
            }
        }
        (started.elapsed(), events)
    });
    group.finish();
    let mut group = criterion.benchmark_group("Engine::cut, per cycle");
    for instruments in INSTRUMENTS {
        let material = Material::simulated(instruments, SIM_SECONDS);
        let inputs = material.inputs(PERIOD_NS);
        per_item(&mut group, format!("{instruments} instruments"), || {
            let (mut timed, mut cycles) = (Duration::ZERO, 0);
            batches(&material.table, &inputs, |batch, took| {
                assert!(batch.rows.iter().any(|row| row.status == Status::Ready));
                timed += took;
                cycles += 1;
            });
            (timed, cycles)
        });
    }
    group.finish();
}

/// Runs an engine over the inputs and shows the batch of each cycle after the warm-up, with the time
/// that its cut took.
fn batches(table: &InstrumentTable, inputs: &[Input], mut each: impl FnMut(&CycleBatch, Duration)) {
    let mut engine = engine_of(table);
    let mut batch = CycleBatch::new(table.len());
    for input in inputs {
        match input {
            Input::Event(event) => engine.apply(event),
            Input::Cut(cut) => {
                let started = Instant::now();
                engine.cut(*cut, &mut batch);
                let took = started.elapsed();
                if engine.counts().cycles > WARM_CYCLES {
                    each(&batch, took);
                }
            }
            _ => {}
        }
    }
}

/// A whole cycle of the model thread: outcomes learned, members asked, combined, decided.
fn cycles(criterion: &mut Criterion) {
    let plain = r#"["logistic", "queue-imbalance", "persistence"]"#;
    let configurations = [
        ("default members", loaded(&[])),
        ("no cerebellum", loaded(&[("strategy.members", plain)])),
    ];
    for (name, loaded) in configurations {
        let mut group =
            criterion.benchmark_group(format!("Forecaster think + decide, per cycle, {name}"));
        for instruments in INSTRUMENTS {
            cycle(&mut group, &loaded, instruments);
        }
        group.finish();
    }
}

fn cycle(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    loaded: &Loaded,
    instruments: usize,
) {
    let material = Material::simulated(instruments, SIM_SECONDS);
    let inputs = material.inputs(PERIOD_NS);
    let mut recorded = Vec::new();
    batches(&material.table, &inputs, |batch, _| recorded.push(batch.clone()));
    let mut forecaster =
        forecaster(loaded, instruments, Clock::Event).expect("default model settings");
    // The recorded cycles come again and again, under the numbers and times that follow.
    let mut cut = recorded[0].cut;
    let mut at = 0;
    let mut signals = 0_u64;
    let mut next = move || {
        cut.cycle += 1;
        cut.ts_cycle_ns += PERIOD_NS;
        at = (at + 1) % recorded.len();
        let batch = &mut recorded[at];
        batch.cut = cut;
        for row in &mut batch.rows {
            row.ts_recv_ns = cut.ts_cycle_ns - 1_000_000;
        }
        let started = Instant::now();
        forecaster.think(batch);
        forecaster.decide(batch, &mut |output| {
            signals += u64::from(matches!(output, Output::Signal(_)));
            black_box(output);
        });
        (started.elapsed(), 1)
    };
    // Until outcomes mature in every cycle.
    for _ in 0..16 {
        next();
    }
    per_item(group, format!("{instruments} instruments"), next);
}

fn signals(criterion: &mut Criterion) {
    let loaded = loaded(&[]);
    let material = Material::simulated(1, SIM_SECONDS);
    let mut forecaster = forecaster(&loaded, 1, Clock::Event).expect("default model settings");
    let mut signal: Option<Signal> = None;
    batches(&material.table, &material.inputs(PERIOD_NS), |batch, _| {
        forecaster.think(batch);
        forecaster.decide(batch, &mut |output| {
            if let Output::Signal(made) = output {
                signal = Some(made);
            }
        });
    });
    let signal = signal.expect("every cycle makes a signal");
    let encoder =
        Encoder::new(&material.table, &forecaster.member_names(), 1_000, 5_000, "0123456789abcdef");
    let mut buffer = [0; MAX_LINE_BYTES];
    let mut group = criterion.benchmark_group("signal");
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encoder.line(black_box(&signal), &mut buffer).map(|line| line.bytes.len()));
    });
    let line = encoder.line(&signal, &mut buffer).expect("a line fits").bytes.to_vec();
    println!("a signal is {} bytes", line.len());
    let mut hash = Sha256::new();
    group.bench_function("SHA-256 of its line", |bencher| {
        bencher.iter(|| hash.update(black_box(&line)));
    });
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parts, per instrument and cycle");
    // A plain congruential generator: any numbers of a steady spread will do.
    let mut state = 1_u64;
    let mut noise = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5) * 3.4
    };
    let rows: Vec<[f32; FEATURES]> = (0..512).map(|_| std::array::from_fn(|_| noise())).collect();

    let mut cerebellum =
        Cerebellum::new(CerebellumConfig { features: FEATURES, ..CerebellumConfig::default() })
            .expect("default settings");
    let mut number = 0;
    group.bench_function("Cerebellum::advance", |bencher| {
        bencher.iter(|| {
            number += 1;
            let mut value = [0.0];
            cerebellum.advance(number, &rows[number as usize % 512], &[true], &mut value);
            black_box(value)
        });
    });
    group.bench_function("Cerebellum::learn", |bencher| {
        bencher.iter(|| black_box(cerebellum.learn(0, number, 0.25)));
    });

    for (name, kind) in [("robust z", NormaliserKind::RobustZ), ("min-max", NormaliserKind::MinMax)]
    {
        let config = NormaliserConfig::default();
        let mut normaliser =
            Normaliser::with_scales(kind, &SCALES, &config).expect("default settings");
        let mut out = [0.0; FEATURES];
        for row in &rows {
            normaliser.apply(row, &mut out);
        }
        let mut at = 0;
        group.bench_function(format!("Normaliser::apply, {name}"), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % rows.len();
                normaliser.apply(&rows[at], &mut out);
                black_box(out[0])
            });
        });
    }

    let mut features = FeatureState::new(&FeatureConfig::default()).expect("default cycle");
    let side = |from: f64, step: f64| -> [(f64, f64); 20] {
        std::array::from_fn(|level| (step.mul_add(level as f64, from), 1.0 + level as f64))
    };
    let (bids, asks) = (side(100.0, -0.1), side(100.1, 0.1));
    let (mut ts_ns, mut out) = (0, [0.0; FEATURES]);
    group.bench_function("FeatureState::on_top", |bencher| {
        let mut qty = 1.0;
        bencher.iter(|| {
            qty = if qty > 5.0 { 1.0 } else { qty + 0.5 };
            features.on_top(black_box(ts_ns), 100.0, qty, 100.1, 2.0);
        });
    });
    group.bench_function("FeatureState::on_trade", |bencher| {
        bencher.iter(|| features.on_trade(black_box(ts_ns), Side::Bid, 100.1, 0.5, 1));
    });
    group.bench_function("FeatureState::on_book, 20 levels", |bencher| {
        bencher.iter(|| features.on_book(black_box(ts_ns), &bids, &asks));
    });
    group.bench_function("FeatureState::cut", |bencher| {
        bencher.iter(|| {
            ts_ns += PERIOD_NS;
            features.cut(ts_ns, &mut out);
            black_box(out[0])
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::quick();
    targets = hops, byte_rings, engines, cycles, signals, parts
}
criterion_main!(benches);
