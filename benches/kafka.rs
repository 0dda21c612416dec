//! Signals through a real Apache Kafka on loopback: from the making of a signal to its acknowledgement and
//! to a consumer, what handing over costs the sink, also while the broker is killed, and what one
//! publisher thread sustains. Prints Markdown.
//!
//! What one publisher sustains comes first: it warms the broker up, whose code is compiled as it runs.
//! Arguments: seconds a run (20), modes of delivery (`epoch`, `fenced`; `epoch` alone if none is named). The
//! sink and the thread `pk-kafka` are the daemon's own, signals come at its pace of ten cycles a second; broker,
//! publisher and consumer share the machine's cores. Skips, saying so, where there is no Java.

#![allow(clippy::unwrap_used, reason = "a bench that fails at an unwrap says where")]

#[path = "../tests/support/kafka.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod broker;

use std::{
    mem::MaybeUninit,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::Receiver,
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use broker::Broker;
use hdrhistogram::Histogram;
use mimalloc::MiMalloc;
use purkinje::{
    alloc::CountingAllocator,
    clock::{monotonic_ns, wall_ns},
    config::{Sources, load},
    pipeline::{
        latency::Stage,
        sink::{KafkaRing, Outlets, Output, Sink, WhenFull},
    },
    signals::{
        Action, MAX_MEMBERS, MemberView, Reason, Signal,
        encode::Encoder,
        kafka::{
            bulk::notes,
            contract::{Topic, header},
            outcome::{KafkaCounts, KafkaOutcome, Outcome},
            run::{KafkaOutlet, RING_OUTPUTS, SignalsResult, SignalsThread},
            status::Note,
            topics::{TopicOptions, create},
        },
    },
};
use purkinje_feeds::{Instrument, InstrumentId, InstrumentTable, Venue};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
};

// The daemon's allocator, so that what allocates costs here what it costs there.
#[global_allocator]
static ALLOCATOR: CountingAllocator<MiMalloc> = CountingAllocator(MiMalloc);

const PERIOD: Duration = Duration::from_millis(100);

/// Connecting and the first producer id are no part of a signal's latency.
const SETTLING: Duration = Duration::from_secs(3);

/// Signals may be this old when the broker has been away.
const TTL_MS: u32 = 60_000;

/// As `purkinje kafka topics --create` makes them where nothing else is asked for.
const PARTITIONS: u16 = 12;

/// After this, what has not arrived will not.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a killed broker stays away.
const AWAY: Duration = Duration::from_secs(10);

/// Signals under way at most while a thread does what it can: half its window, so that nothing is spilled.
const MOST_UNDER_WAY: u64 = 2048;

/// One run.
#[derive(Clone, Copy, Debug)]
struct Load<'a> {
    mode: &'a str,
    encoding: &'a str,
    instruments: usize,
    partitions: u16,
}

/// The daemon's way to Kafka, from the sink's ring on.
struct Line {
    outlet: KafkaOutlet,
    encoder: Encoder,
    counts: Arc<KafkaCounts>,
    ring: Option<KafkaRing>,
    thread: JoinHandle<SignalsResult>,
    _notes: Receiver<Note>,
    _state: tempfile::TempDir,
}

impl Line {
    /// Topics of its own, and the thread.
    fn new(bootstrap: &str, run: Load<'_>) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let state = tempfile::tempdir().unwrap();
        let prefix = format!("bench.{}", RUNS.fetch_add(1, Relaxed));
        let sets = [
            ("kafka.brokers", bootstrap),
            ("kafka.topic_prefix", &prefix),
            ("kafka.mode", run.mode),
            ("kafka.transactional_id", if run.mode == "fenced" { "bench" } else { "" }),
            ("kafka.encoding", run.encoding),
            ("kafka.state_dir", state.path().to_str().unwrap()),
        ];
        let sets = sets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let sources = Sources { config_path: None, env: Vec::new(), sets, search: Vec::new() };
        let config = load(&sources).unwrap_or_else(|problems| panic!("{problems}")).config;
        let outlet = KafkaOutlet::new(&config.kafka, TTL_MS.into()).unwrap();
        let options = TopicOptions {
            partitions: Some(run.partitions),
            replication_factor: None,
            timeout: Duration::from_secs(30),
        };
        create(&outlet.client, &prefix, &options).unwrap();
        let items = (0..run.instruments).map(|i| Instrument {
            venue: Venue::BinanceUsdm,
            symbol: format!("SIM{i:02}USDT"),
            price_decimals: 8,
            qty_decimals: 8,
        });
        let table = InstrumentTable::new(items.collect()).unwrap();
        let members = ["cerebellum", "logistic", "momentum", "imbalance"];
        let encoder = Encoder::new(&table, &members, 1_000, TTL_MS, "0123456789abcdef");
        let counts = Arc::new(KafkaCounts::default());
        let (sender, notes, _) = notes();
        let run = encoder.run_constants().clone();
        let thread =
            SignalsThread::new(&outlet, run, encoder.clone(), counts.clone(), sender).unwrap();
        let (ring, taken) = KafkaRing::new(RING_OUTPUTS);
        let woken = ring.waker.clone();
        let thread = std::thread::Builder::new()
            .name("pk-kafka".to_owned())
            .spawn(move || thread.run(taken, &woken, &AtomicBool::new(false)))
            .unwrap();
        sleep(SETTLING);
        Self { outlet, encoder, counts, ring: Some(ring), thread, _notes: notes, _state: state }
    }

    fn sink(&mut self) -> Sink {
        let outlets = Outlets { kafka: self.ring.take(), ..Outlets::default() };
        Sink::new(self.encoder.clone(), outlets, WhenFull::Count)
    }

    fn settled(&self) -> u64 {
        let outcome = self.counts.outcome();
        Outcome::ALL.iter().map(|one| outcome.of(*one)).sum()
    }

    fn wait_until_settled(&self, signals: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.settled() < signals && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
    }

    fn end(self) -> (KafkaOutcome, SignalsResult) {
        let result = self.thread.join().unwrap();
        (self.counts.outcome(), result)
    }
}

fn signal(seq: u64, cycle: u64, instrument: usize) -> Signal {
    let mut members = [MemberView { value: f32::NAN, weight: 0.0 }; MAX_MEMBERS];
    for (i, member) in members.iter_mut().enumerate().take(4) {
        *member = MemberView { value: 0.51 + 0.037 * i as f32, weight: 0.25 };
    }
    let ts_signal_ns = wall_ns();
    let made_mono_ns = monotonic_ns();
    Signal {
        seq,
        cycle,
        instrument: InstrumentId(instrument as u16),
        action: Action::Buy,
        reason: Reason::ThresholdMet,
        value: 0.618_034,
        confidence: 0.571_428,
        mid_x2: 2 * 6_180_000_000_000 + seq as i64,
        agreement: 0.75,
        decided_by: None,
        challenger_evidence_log10: f32::NAN,
        conformal_set: None,
        anomaly: f32::NAN,
        ts_venue_ns: ts_signal_ns - 41_000_000,
        ts_recv_ns: ts_signal_ns - 1_000_000,
        ts_cycle_ns: ts_signal_ns - 200_000,
        ts_signal_ns,
        recv_mono_ns: made_mono_ns - 1_000_000,
        made_mono_ns,
        members,
        member_count: 4,
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, 3).unwrap()
}

/// A consumer of a topic from its beginning.
fn consumer(bootstrap: &str, topic: &str, partitions: u16) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition.into(), Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    consumer
}

/// Reads the topic of signals until told to end; from the making of each signal to here, µs, and how
/// many there were. In the mode `epoch` a record may come twice: the first counts.
fn consume(
    bootstrap: &str,
    (topic, partitions): (&str, u16),
    made: &[AtomicU64],
    stop: &AtomicBool,
    seen: &AtomicU64,
) -> Histogram<u64> {
    let consumer = consumer(bootstrap, topic, partitions);
    let mut latency_us = histogram();
    while !stop.load(Relaxed) {
        // A broker that was killed is found again by itself.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let now = monotonic_ns();
        let headers = message.headers().unwrap();
        let name = header::SEQ.to_str().unwrap();
        let seq = headers.iter().find(|one| one.key == name).and_then(|one| one.value).unwrap();
        let seq: usize = std::str::from_utf8(seq).unwrap().parse().unwrap();
        let made_ns = made[seq].swap(0, Relaxed);
        if made_ns != 0 {
            latency_us.saturating_record((now - made_ns) / 1_000);
            seen.fetch_add(1, Relaxed);
        }
    }
    latency_us
}

/// What a run at the daemon's pace measured.
struct Paced {
    outcome: KafkaOutcome,
    signals: u64,
    acked_us: Histogram<u64>,
    seen_us: Histogram<u64>,
    hand_over: Stage,
    wake: Stage,
}

/// Signals at the daemon's pace; `meanwhile` runs beside them.
fn paced(bootstrap: &str, run: Load<'_>, seconds: u64, meanwhile: impl FnOnce() + Send) -> Paced {
    let mut line = Line::new(bootstrap, run);
    let cycles = seconds * 10;
    let signals = cycles * run.instruments as u64;
    let made: Vec<_> = (0..=signals).map(|_| AtomicU64::new(0)).collect();
    let (stop, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    let topic = line.outlet.topic(Topic::Signals);
    let mut sink = line.sink();
    let mut wake = Stage::new("wake");
    let (seen_us, sink) = std::thread::scope(|scope| {
        let consumer =
            scope.spawn(|| consume(bootstrap, (&topic, run.partitions), &made, &stop, &seen));
        // It has found its partitions by then.
        sleep(Duration::from_secs(1));
        scope.spawn(meanwhile);
        let begun = Instant::now();
        let mut seq = 0;
        for cycle in 1..=cycles {
            for instrument in 0..run.instruments {
                seq += 1;
                let signal = signal(seq, cycle, instrument);
                made[seq as usize].store(signal.made_mono_ns, Relaxed);
                sink.take(&Output::Signal(signal));
            }
            let before = monotonic_ns();
            sink.idle();
            wake.record(monotonic_ns() - before);
            sleep((begun + PERIOD * cycle as u32).saturating_duration_since(Instant::now()));
        }
        line.wait_until_settled(signals);
        let outcome = line.counts.outcome();
        let there = outcome.of(Outcome::Delivered) + outcome.of(Outcome::SpilledDelivered);
        let deadline = Instant::now() + PATIENCE;
        while seen.load(Relaxed) < there && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        stop.store(true, Relaxed);
        (consumer.join().unwrap(), sink.finish())
    });
    let (outcome, result) = line.end();
    Paced {
        outcome,
        signals,
        acked_us: result.made_to_acked_us.unwrap_or_else(histogram),
        seen_us,
        hand_over: sink.to_kafka,
        wake,
    }
}

/// Processor time of the process or of the calling thread, user and system.
fn processor_time(who: libc::c_int) -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to live local memory; all zero is a valid `rusage`.
    let usage = unsafe {
        libc::getrusage(who, usage.as_mut_ptr());
        usage.assume_init()
    };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1_000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// As many signals as one publisher thread gets acknowledged; signals a second and processor time of each,
/// publisher and client library together.
fn sustained(bootstrap: &str, run: Load<'_>, seconds: u64) -> (KafkaOutcome, f64, Duration) {
    let mut line = Line::new(bootstrap, run);
    let mut ring = line.ring.take().unwrap();
    let (mut seq, mut cycle) = (0, 0);
    let usage =
        || processor_time(libc::RUSAGE_SELF).saturating_sub(processor_time(libc::RUSAGE_THREAD));
    let (begun, used) = (Instant::now(), usage());
    while begun.elapsed() < Duration::from_secs(seconds) {
        if seq + run.instruments as u64 - line.settled() > MOST_UNDER_WAY {
            sleep(Duration::from_micros(200));
            continue;
        }
        cycle += 1;
        for instrument in 0..run.instruments {
            seq += 1;
            ring.ring.push(Output::Signal(signal(seq, cycle, instrument))).unwrap();
        }
        ring.waker.wake();
    }
    line.wait_until_settled(seq);
    let (took, used) = (begun.elapsed(), usage().saturating_sub(used));
    drop(ring);
    let outcome = line.end().0;
    (outcome, seq as f64 / took.as_secs_f64(), used / seq.max(1) as u32)
}

fn ms(histogram: &Histogram<u64>) -> String {
    let at = |q| histogram.value_at_quantile(q) as f64 / 1_000.0;
    let max = histogram.max() as f64 / 1_000.0;
    format!("{:.2} | {:.2} | {:.2} | {max:.2}", at(0.5), at(0.99), at(0.999))
}

fn ns(stage: &Stage) -> String {
    let at = |q| stage.quantile_ns(q);
    format!("{} | {} | {} | {}", at(0.5), at(0.99), at(0.999), stage.max_ns())
}

fn told(outcome: &KafkaOutcome) -> String {
    let parts: Vec<_> = Outcome::ALL
        .into_iter()
        .filter(|one| outcome.of(*one) > 0)
        .map(|one| format!("{} {}", outcome.of(one), one.name()))
        .collect();
    let sum = if outcome.adds_up() { "" } else { "; DOES NOT ADD UP" };
    format!("{}{sum}", parts.join(", "))
}

/// What the report of a whole daemon says of handing over and of acknowledgements: `purkinje run` with the simulated
/// exchange and this broker, for so many seconds.
fn daemon(
    bootstrap: &str,
    instruments: usize,
    seconds: u64,
    meanwhile: impl FnOnce() + Send,
) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let sets = [
        ("kafka.brokers", bootstrap.to_owned()),
        ("kafka.topic_prefix", format!("bench.daemon.{seconds}.{instruments}")),
        ("kafka.state_dir", path("state")),
        ("control.socket", path("control")),
        ("simulator.instruments", instruments.to_string()),
        ("strategy.ttl_ms", TTL_MS.to_string()),
        ("terminal", "off".to_owned()),
    ];
    let command = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_purkinje"));
        command.args(words).current_dir(dir.path()).stdin(Stdio::null());
        for (key, value) in &sets {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
    };
    let created = command(&["kafka", "topics", "--create"]).output().unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let output = std::thread::scope(|scope| {
        scope.spawn(meanwhile);
        command(&["run", "--duration", &seconds.to_string()]).output().unwrap()
    });
    let report = String::from_utf8(output.stdout).unwrap();
    let line = |name: &str| {
        let found = report.lines().find_map(|line| line.trim_start().strip_prefix(name));
        found.unwrap_or_else(|| panic!("no {name} in {report}")).trim().to_owned()
    };
    let hand_over: Vec<_> = line("sink→kafka").split_whitespace().map(str::to_owned).collect();
    (hand_over.join(" | "), line("made to acknowledged"))
}

/// What benches/peers/kafka_acks.py prints: a plain client on the same broker, to the topic of signals alone.
fn plain_client(bootstrap: &str, instruments: usize, seconds: u64) -> String {
    let prefix = format!("bench.peer.{instruments}");
    let sets = [("kafka.brokers".to_owned(), bootstrap.to_owned())].to_vec();
    let sources = Sources { config_path: None, env: Vec::new(), sets, search: Vec::new() };
    let config = load(&sources).unwrap_or_else(|problems| panic!("{problems}")).config;
    let outlet = KafkaOutlet::new(&config.kafka, TTL_MS.into()).unwrap();
    let options = TopicOptions {
        partitions: Some(PARTITIONS),
        replication_factor: None,
        timeout: Duration::from_secs(30),
    };
    create(&outlet.client, &prefix, &options).unwrap();
    let topic = Topic::Signals.name(&prefix);
    let stop = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        // Serving a consumer is work for the broker, here as in the rows above.
        scope.spawn(|| {
            let consumer = consumer(bootstrap, &topic, PARTITIONS);
            while !stop.load(Relaxed) {
                let _ = consumer.poll(Duration::from_millis(50));
            }
        });
        let output = Command::new(broker::python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/kafka_acks.py"))
            .args([bootstrap, &topic, &instruments.to_string(), &seconds.to_string()])
            .stderr(Stdio::inherit())
            .output();
        stop.store(true, Relaxed);
        output.unwrap()
    });
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.split_whitespace().collect::<Vec<_>>().join(" | ")
}

fn has_java() -> bool {
    let mut java = Command::new("java");
    let java = java.arg("-version").stdout(Stdio::null()).stderr(Stdio::null());
    java.status().is_ok_and(|status| status.success())
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let seconds = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(20);
    let named = |mode: &&str| arguments.iter().any(|word| word == mode);
    let mut modes: Vec<_> = ["epoch", "fenced"].into_iter().filter(named).collect();
    if modes.is_empty() {
        modes.push("epoch");
    }
    if !has_java() {
        println!("skipped: a broker needs Java, which `make test` installs");
        return;
    }
    let broker = Broker::start();
    let bootstrap = broker.bootstrap();

    println!(
        "\nOne publisher thread, at most {MOST_UNDER_WAY} signals under way, both topics, {seconds} s a row\n"
    );
    println!(
        "| mode | encoding | signals/s acknowledged | processor time a signal, µs | outcome |"
    );
    println!("|---|---|---|---|---|");
    for mode in &modes {
        for encoding in ["json", "protobuf"] {
            let run = Load { mode, encoding, instruments: 64, partitions: PARTITIONS };
            let (outcome, rate, each) = sustained(bootstrap, run, seconds);
            let each_us = each.as_nanos() as f64 / 1_000.0;
            println!("| {mode} | {encoding} | {rate:.0} | {each_us:.1} | {} |", told(&outcome));
        }
    }

    println!("\nFrom the making of a signal, ms; 10 cycles/s, {seconds} s a row\n");
    println!(
        "| mode | encoding | instruments | partitions | signals | acked p50 | p99 | p99.9 | max | seen p50 | p99 | p99.9 | max |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut hand_overs = Vec::new();
    for mode in &modes {
        for encoding in ["json", "protobuf"] {
            for (instruments, partitions) in [(6, PARTITIONS), (64, PARTITIONS), (64, 1)] {
                let run = Load { mode, encoding, instruments, partitions };
                let run = paced(bootstrap, run, seconds, || {});
                println!(
                    "| {mode} | {encoding} | {instruments} | {partitions} | {} | {} | {} |",
                    told(&run.outcome),
                    ms(&run.acked_us),
                    ms(&run.seen_us)
                );
                let name = format!(
                    "{mode}, {encoding}, {instruments} instruments, {partitions} partitions"
                );
                hand_overs.push((name, run));
            }
        }
    }
    println!(
        "\nconfluent-kafka (Python, the same client library) to the topic of signals alone, {PARTITIONS} partitions: from produce() to the \
         acknowledgement, ms\n"
    );
    println!("| instruments | records | acked p50 | p99 | p99.9 | max |");
    println!("|---|---|---|---|---|---|");
    for instruments in [6, 64] {
        println!("| {instruments} | {} |", plain_client(bootstrap, instruments, seconds));
    }
    for mode in &modes {
        let run = Load { mode, encoding: "json", instruments: 64, partitions: PARTITIONS };
        let run = paced(bootstrap, run, AWAY.as_secs() + seconds.max(20), || {
            sleep(Duration::from_secs(5));
            broker.kill_9();
            sleep(AWAY);
            broker.restart();
        });
        println!(
            "\n{mode}, json, 64 instruments, broker killed after 5 s and started again 10 s later: of {} \
             signals {}; {} through the spill, {} seen by the consumer\n",
            run.signals,
            told(&run.outcome),
            run.outcome.spilled,
            run.seen_us.len()
        );
        hand_overs.push((format!("{mode}, broker killed and back"), run));
    }

    println!(
        "\nThe sink's part, ns: putting a signal into the ring, and waking the publisher once a cycle\n"
    );
    println!("| run | hand-overs | p50 | p99 | p99.9 | max | wake p50 | p99 | p99.9 | max |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, run) in &hand_overs {
        let Paced { hand_over, wake, .. } = run;
        println!("| {name} | {} | {} | {} |", hand_over.count(), ns(hand_over), ns(wake));
    }

    println!(
        "\nA whole daemon (`purkinje run` on its simulated exchange, mode epoch, JSON), by its own report\n"
    );
    println!(
        "| run | hand-overs | p50 µs | p90 | p99 | p99.9 | max | made to acknowledged, broker warm |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let seconds = seconds.max(20);
    for instruments in [6, 64] {
        let (hand_over, acked) = daemon(bootstrap, instruments, seconds, || {});
        println!("| {instruments} instruments | {hand_over} | {acked} |");
    }
    let (hand_over, acked) = daemon(bootstrap, 64, AWAY.as_secs() + seconds, || {
        sleep(Duration::from_secs(8));
        broker.kill_9();
        sleep(AWAY);
        broker.restart();
    });
    println!("| 64 instruments, broker killed and back | {hand_over} | {acked} |");
}
