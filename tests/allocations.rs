//! Engine, model and sink allocate nothing once they are warm, nor does a record on its way through the
//! spill or to a broker: counted per thread by the allocator that the daemon itself runs on. The broker is
//! librdkafka's mock; what that library allocates, in C, is not counted.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    hint::black_box,
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use mimalloc::MiMalloc;
use purkinje::{
    alloc::{CountingAllocator, thread_allocations},
    clock::{monotonic_ns, wall_ns},
    pipeline::warm::{AllocationWatch, WARM_UP_CYCLES},
    run::{
        live::{LiveOptions, live},
        report::Report,
        simulated_session,
        stop::HangUp,
    },
    service::bind::{Bound, bind},
    signals::kafka::{
        contract::Identity,
        delivery::Delivery as _,
        envelope::Envelope,
        native::{NativeConfig, NativeProducer},
        outcome::{KafkaCounts, Outcome},
        publisher::{Now, Publisher, PublisherConfig},
        spill::{Spill, SpillConfig},
        window::Window,
    },
};
use rdkafka::mocking::MockCluster;
use support::{loaded, loaded_from, number, outlets, replayed, wait_for_status};

#[global_allocator]
static ALLOCATOR: CountingAllocator<MiMalloc> = CountingAllocator(MiMalloc);

fn watches(report: &Report) -> [(&'static str, AllocationWatch); 3] {
    let spine = &report.spine;
    [
        ("engine", spine.engine.allocations),
        ("model", spine.model.allocations),
        ("sink", spine.sink.1),
    ]
}

#[test]
fn the_counter_sees_every_allocation_of_its_own_thread_and_none_of_another() {
    let before = thread_allocations();
    let other = std::thread::spawn(|| {
        let before = thread_allocations();
        for size in 1..=100 {
            black_box(Vec::<u8>::with_capacity(size));
        }
        let made = thread_allocations() - before;
        let mut grown = Vec::with_capacity(1);
        grown.extend_from_slice(black_box(&[0u8; 1_000]));
        (made, thread_allocations() - before - made)
    });
    let of_spawning = thread_allocations() - before;
    let (made, growing) = other.join().unwrap();
    assert_eq!((made, growing), (100, 2), "an allocation and a reallocation");
    assert!(of_spawning > 0 && of_spawning < 50, "its own are of the spawning alone");

    // The watch that the threads use: what is allocated before the warm-up ends does not count.
    let mut watch = AllocationWatch::default();
    for cycle in 0..WARM_UP_CYCLES + 10 {
        if cycle < 50 || cycle == WARM_UP_CYCLES + 5 {
            drop(black_box(vec![0u8; 32]));
        }
        watch.cycle();
    }
    assert_eq!((watch.watched_cycles(), watch.allocations()), (10, 1));
}

#[test]
fn engine_model_and_sink_allocate_nothing_in_ten_thousand_cycles() {
    let loaded = loaded(&[
        ("cycle.period_ms", "10"),
        ("simulator.instruments", "2"),
        ("strategy.cerebellum.granule_cells", "64"),
        ("strategy.cerebellum.steps_per_cycle", "40"),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let market_time_s = 105;
    simulated_session::write(&loaded, dir.path(), market_time_s).unwrap();
    let journal = dir.path().join("journal");
    let report = replayed(&loaded, &[dir.path().to_owned()], Some(&journal));
    let learning = report.spine.model.forecaster.counts();
    assert!(learning.moved > 1_000, "forecasts were made, matured and learned from: {learning:?}");
    for (thread, watch) in watches(&report) {
        assert!(watch.watched_cycles() >= 10_000, "{thread}: {watch:?}");
        assert_eq!(watch.allocations(), 0, "{thread}: {watch:?}");
    }
}

#[test]
fn a_recorded_live_run_that_is_watched_allocates_nothing_on_its_hot_threads_either() {
    let dir = tempfile::tempdir().unwrap();
    let (control, recording) = (dir.path().join("control"), dir.path().join("recording"));
    let config = dir.path().join("purkinje.toml");
    std::fs::write(&config, "").unwrap();
    let sets = [
        ("cycle.period_ms", "10"),
        ("strategy.cerebellum.granule_cells", "200"),
        ("record.dir", recording.to_str().unwrap()),
        ("http.address", "127.0.0.1:0"),
    ];
    let loaded = loaded_from(Some(config.clone()), &sets);
    let Bound::At(endpoint) = bind(&loaded).unwrap() else { panic!("no endpoint") };
    let url = endpoint.url();
    let stop = Arc::new(AtomicBool::new(false));
    let options = LiveOptions {
        outlets: outlets(Some(&dir.path().join("journal"))),
        stop: stop.clone(),
        hang_up: HangUp::never(),
        control: control.clone(),
        http: Some(endpoint),
    };
    let run = std::thread::spawn(move || live(&loaded, options));
    let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let dashboard = std::thread::spawn({
        let host = host.clone();
        move || received(&host, "/api/v1/frames")
    });
    let scraped = Arc::new(AtomicBool::new(false));
    let metrics = std::thread::spawn({
        let scraped = scraped.clone();
        move || {
            let mut scrapes = 0;
            while !scraped.load(Ordering::Relaxed) {
                assert!(received(&host, "/metrics").contains("purkinje_cycles_total"));
                scrapes += 1;
            }
            scrapes
        }
    });
    // The first halt and the first reload are part of the run: they must not cost an allocation either.
    wait_for_status(&control, "every instrument ready", |s| number(s, "ready") == 6);
    purkinje::control::send(&control, "halt").unwrap();
    wait_for_status(&control, "the halt", |s| s["halted"] == true);
    purkinje::control::send(&control, "resume").unwrap();
    let resumed = wait_for_status(&control, "the end of the halt", |s| s["halted"] == false);
    std::fs::write(&config, "[strategy]\nmax_signals_per_s = 1000\n").unwrap();
    purkinje::control::send(&control, "reload").unwrap();
    let enough = number(&resumed, "cycles") + 100;
    wait_for_status(&control, "more cycles", |s| number(s, "cycles") >= enough);
    scraped.store(true, Ordering::Relaxed);
    let scrapes = metrics.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    let report = run.join().unwrap().unwrap();
    let frames = dashboard.join().unwrap().matches("event: frame").count();
    assert!(scrapes > 0 && frames > 10, "{scrapes} scrapes, {frames} frames");
    for (thread, watch) in watches(&report) {
        assert!(watch.watched_cycles() >= 100, "{thread}: {watch:?}");
        assert_eq!(watch.allocations(), 0, "{thread}: {watch:?}");
    }
}

/// What a daemon's HTTP server sends until it closes the connection.
fn received(host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    // The end of the run may cut a stream off.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_record_through_the_spill_allocates_nothing_but_a_segment_does() {
    let dir = tempfile::tempdir().unwrap();
    let config = SpillConfig { max_bytes: 4 << 20, segment_bytes: 1 << 20 };
    let mut spill = Spill::open(dir.path(), config).unwrap().0;
    let round = |spill: &mut Spill| {
        for _ in 0..100 {
            spill.append(&[b"head", &[7; 500]]).unwrap();
        }
        for _ in 0..100 {
            assert_eq!(spill.front().unwrap().len(), 504);
            assert!(spill.pop());
        }
    };
    // It keeps the segment in use.
    spill.append(&[&[7; 504]]).unwrap();
    let before = thread_allocations();
    for _ in 0..18 {
        round(&mut spill);
    }
    assert_eq!(thread_allocations() - before, 0);
    // Long enough to need new segments.
    for _ in 0..20 {
        round(&mut spill);
    }
    assert!((1..50).contains(&(thread_allocations() - before)));
}

#[test]
fn a_signal_on_its_way_to_a_broker_allocates_nothing() {
    let cluster = MockCluster::new(1).unwrap();
    let topics = ["signals", "latest"];
    for topic in topics {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let settings = [
        ("bootstrap.servers", cluster.bootstrap_servers()),
        ("enable.idempotence", "true".to_owned()),
        ("linger.ms", "0".to_owned()),
    ];
    let config = NativeConfig {
        settings: settings.to_vec(),
        signals: topics[0].to_owned(),
        latest: Some(topics[1].to_owned()),
        source: "purkinje://test".to_owned(),
    };
    let producer = NativeProducer::new(config, Window::new(64)).unwrap();
    let counts = Arc::new(KafkaCounts::default());
    let dir = tempfile::tempdir().unwrap();
    let spill = SpillConfig { max_bytes: 4 << 20, segment_bytes: 1 << 20 };
    let spill = Spill::open(dir.path(), spill).unwrap().0;
    let config = PublisherConfig { broker_loss_ns: 60_000_000_000, latest: true };
    let mut publisher = Publisher::new(config, producer, Some(spill), counts.clone());
    let now = || Now { wall_ns: wall_ns(), mono_ns: monotonic_ns() };
    let mut seq = 0;
    let mut round = |signals: u64| {
        for _ in 0..signals {
            seq += 1;
            let mut envelope = Envelope::EMPTY;
            envelope.identity = Identity { epoch: 1, seq };
            envelope.ts_signal_ns = wall_ns();
            envelope.expires_ns = envelope.ts_signal_ns + 60_000_000_000;
            assert!(envelope.set_key(b"venue:SYMBOL"));
            publisher.offer(
                &envelope,
                monotonic_ns(),
                &mut |value| {
                    value[..600].fill(b'x');
                    Some(600)
                },
                now(),
            );
            publisher.pump(now());
        }
        while !publisher.is_idle() {
            publisher.pump(now());
            std::thread::yield_now();
        }
    };
    // The first producer id, the histogram.
    round(20);
    let before = thread_allocations();
    (0..200).for_each(|_| round(50));
    assert_eq!(thread_allocations() - before, 0);
    let outcome = counts.outcome();
    assert!(outcome.adds_up() && outcome.of(Outcome::Delivered) == 10_020, "{outcome:?}");
    assert_eq!((outcome.spilled, outcome.latest_failed), (0, 0));
}
