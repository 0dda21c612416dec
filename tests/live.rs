//! Live runs against the simulated exchange, recorded, and their recordings replayed: whatever happens
//! during a run (several connections, conflation, missed cycles, a halt, faults of the venue), the
//! replay makes the same signals.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use purkinje::{
    config::Loaded,
    control,
    pipeline::engine::EngineCounts,
    run::{
        live::{LiveError, LiveOptions, live},
        report::Report,
        stop::HangUp,
    },
};
use purkinje_feeds::{
    Instrument,
    sim::{MarketConfig, SimConfig, SimHandle, spawn_thread},
};
use serde_json::Value;
use support::{
    assert_contiguous, comparable, is_signal, is_state, journal, loaded_from, number, outlets,
    reasons, replayed, wait_for_status,
};

/// A cycle short enough that the windows of the features fill within a test's patience.
const FAST: [(&str, &str); 2] =
    [("cycle.period_ms", "20"), ("strategy.cerebellum.granule_cells", "200")];

/// A recorded live run in the making.
struct Recorded {
    dir: tempfile::TempDir,
    loaded: Loaded,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Report, LiveError>>>,
}

impl Recorded {
    fn start(sets: &[(&str, &str)]) -> Self {
        Self::start_from(None, sets)
    }

    fn start_from(file: Option<PathBuf>, sets: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let recording = dir.path().join("recording");
        let sets = [sets, &[("record.dir", recording.to_str().unwrap())]].concat();
        let (loaded, stop) = (loaded_from(file, &sets), Arc::new(AtomicBool::new(false)));
        let options = LiveOptions {
            outlets: outlets(Some(&dir.path().join("live"))),
            stop: stop.clone(),
            hang_up: HangUp::never(),
            control: dir.path().join("control"),
            http: None,
        };
        let config = loaded.clone();
        let thread = Some(std::thread::spawn(move || live(&config, options)));
        Self { dir, loaded, stop, thread }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let ended = || self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        wait_for_status(&self.path("control"), what, |status| {
            assert!(!ended(), "the run ended before {what}");
            wanted(status)
        })
    }

    /// Waits until so many more cycles have been cut.
    fn wait_cycles(&self, more: u64) {
        let now = number(&self.wait("a status", |_| true), "cycles");
        self.wait("more cycles", |s| number(s, "cycles") >= now + more);
    }

    /// Ends the run, replays its recording and asserts that both are the same to the byte; returns
    /// the live run's report and journal.
    fn finish(mut self) -> (Report, Vec<Value>) {
        self.stop.store(true, Ordering::Relaxed);
        let live = self.thread.take().unwrap().join().unwrap().unwrap();
        assert_eq!(live.feeds.warnings, [] as [String; 0]);
        assert!(live.feeds.notes.iter().any(|n| n.ends_with(" 0 lost")), "{:?}", live.feeds.notes);
        let replay = replayed(&self.loaded, &[self.path("recording")], Some(&self.path("replay")));
        // A snapshot is stamped by the thread that asked for it and may be taken after frames that were
        // stamped later, and the exchange may be ahead of the reader by less than a clock's grain:
        // neither changes a signal.
        let known = ["clocks is wrong", "receive times run backwards"];
        let is_known = |w: &&String| known.iter().any(|k| w.contains(k));
        let unexpected: Vec<_> = replay.feeds.warnings.iter().filter(|w| !is_known(w)).collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
        let first = self.first_difference();
        assert_eq!(first, None, "live and replay differ");
        assert_eq!(live.signals_sha256(), replay.signals_sha256());
        let (a, b) = (&live.spine.engine.counts, &replay.spine.engine.counts);
        // Cycles missed after the last cut are told live; with no cut to tell them to, a recording
        // does not hold them.
        assert!(a.missed_cycles >= b.missed_cycles);
        let told = EngineCounts { missed_cycles: b.missed_cycles, ..*a };
        assert_eq!(told, *b, "the engines counted the same");
        assert_eq!(live.feeds.conflated, replay.feeds.conflated);
        assert_eq!(live.spine.model.forecaster.counts(), replay.spine.model.forecaster.counts());
        let lines = journal(&self.path("live"));
        let signals = assert_contiguous(&lines);
        assert_eq!(signals, live.spine.sink.0.counts.signals());
        assert_eq!(
            signals,
            a.cycles * live.instruments.len() as u64,
            "one per cycle and instrument"
        );
        println!("{}: {signals} signals, {:?}", live.title, reasons(&lines));
        (live, lines)
    }

    fn first_difference(&self) -> Option<(String, String)> {
        let [live, replay] = ["live", "replay"].map(|name| comparable(&self.path(name)));
        let end = || "(the end)".to_owned();
        (0..live.len().max(replay.len())).map(|i| (live.get(i), replay.get(i))).find_map(
            |(a, b)| {
                (a != b).then(|| (a.cloned().unwrap_or_else(end), b.cloned().unwrap_or_else(end)))
            },
        )
    }
}

/// How often an instrument and a reason come together.
fn count(lines: &[Value], instrument: &str, reason: &str) -> usize {
    lines.iter().filter(|l| l["instrument"] == instrument && l["reason"] == reason).count()
}

#[test]
fn a_run_without_any_configuration_is_replayed_to_the_byte() {
    let run = Recorded::start(&[]);
    run.wait("every instrument ready", |s| number(s, "ready") == 6);
    run.wait_cycles(25);
    let (live, lines) = run.finish();
    assert!(reasons(&lines)["below_threshold"] >= 100, "forecasts were made");
    assert_eq!(
        (live.instruments.len(), live.spine.engine.counts.desyncs),
        (6, 6),
        "the goodbye's alone"
    );
}

#[test]
fn a_run_on_three_connections_is_replayed_to_the_byte() {
    let run = Recorded::start(
        &[&FAST[..], &[("feed.connections", "3"), ("simulator.activity", "3")]].concat(),
    );
    run.wait("every instrument ready", |s| number(s, "ready") == 6);
    run.wait_cycles(50);
    let (live, _) = run.finish();
    assert_eq!(live.feeds.sessions.len(), 3);
    assert!(live.feeds.sessions.iter().all(|s| s.snapshots_applied == 2), "two books each");
    assert!(live.spine.model.forecaster.counts().moved > 0, "and something was learned");
}

#[test]
fn a_run_that_misses_cycles_is_replayed_to_the_byte() {
    // More cells than any processor can advance in 10 ms.
    let run = Recorded::start(&[
        ("cycle.period_ms", "10"),
        ("strategy.cerebellum.granule_cells", "80000"),
        ("simulator.instruments", "4"),
    ]);
    run.wait("missed cycles and ready books", |s| {
        number(s, "missed_cycles") >= 110 && number(s, "ready") == 4
    });
    let (live, lines) = run.finish();
    let engine = &live.spine.engine.counts;
    println!(
        "{} cut, {} missed, {} overruns",
        engine.cycles, engine.missed_cycles, live.spine.model.overruns
    );
    assert!(engine.missed_cycles >= 100 && live.spine.model.overruns > 0);
    // Missed cycles are missing numbers, each counted once; those after the last cut are in no line.
    let cycles: BTreeSet<u64> = lines.iter().filter_map(|l| l["cycle"].as_u64()).collect();
    let (cut, last) = (cycles.len() as u64, *cycles.last().unwrap());
    assert_eq!(cut, engine.cycles, "every cut has its signals");
    assert!((100..=engine.missed_cycles).contains(&(last - cut)), "{last} {cut} {engine:?}");
    assert!(live.text().contains(&format!("{} missed", engine.missed_cycles)));
}

#[test]
fn a_reload_holds_from_one_cycle_on_and_is_recorded_and_replayed() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("purkinje.toml");
    let write = |thresholds: &str| {
        let text =
            format!("[strategy]\nmax_signals_per_s = 1000\n[strategy.thresholds]\n{thresholds}");
        std::fs::write(&file, text).unwrap();
    };
    // No confidence is over 1, and nearly every forecast is over or under one half.
    write("confidence = 1.0\n");
    let run = Recorded::start_from(Some(file.clone()), &FAST);
    run.wait("every instrument ready", |s| number(s, "ready") == 6);
    run.wait_cycles(25);
    write("confidence = 0.5\nbuy_value = 0.500001\nsell_value = 0.5\n");
    let answer = control::send(&run.path("control"), "reload").unwrap();
    assert!(answer.contains("\"strategy.thresholds.sell_value\":\"0.5\""), "{answer}");
    run.wait_cycles(25);
    write("confidence = \"high\"\n");
    let refusal = control::send(&run.path("control"), "reload").unwrap_err().to_string();
    assert!(refusal.contains("confidence"), "{refusal}");
    let status = run.wait("more cycles", |_| true);
    assert_eq!([number(&status, "reloads_applied"), number(&status, "reloads_refused")], [1, 1]);
    run.wait_cycles(25);
    let (live, lines) = run.finish();
    assert!(live.text().contains("1 applied, 1 refused; the last refused: "), "{}", live.text());

    let [settings] = &lines.iter().filter(|l| l["record"] == "settings").collect::<Vec<_>>()[..]
    else {
        panic!("not one change of settings")
    };
    assert_eq!(settings["settings"]["strategy.thresholds.confidence"], 0.5);
    let from = settings["cycle"].as_u64().unwrap();
    let (after, before): (Vec<&Value>, Vec<&Value>) = lines
        .iter()
        .filter(|line| is_signal(line) && line["action"] != "HOLD")
        .partition(|line| line["cycle"].as_u64().unwrap() >= from);
    assert!(before.is_empty(), "{before:?}");
    assert!(after.len() > 50, "{}", after.len());
    assert!(after.iter().any(|line| line["cycle"].as_u64() == Some(from)), "from that very cycle");
}

#[test]
fn a_halt_and_a_resume_are_published_recorded_and_replayed() {
    let run = Recorded::start(&FAST);
    run.wait("every instrument ready", |s| number(s, "ready") == 6);
    run.wait_cycles(5);
    let send = |command| control::send(&run.path("control"), command).unwrap();
    assert!(send("halt").contains("\"halted\":true"));
    run.wait("the halt", |s| s["halted"] == true);
    run.wait_cycles(30);
    assert!(send("resume").contains("\"halted\":false"));
    run.wait("the end of the halt", |s| s["halted"] == false);
    run.wait_cycles(30);
    let (live, lines) = run.finish();
    assert_eq!(live.spine.sink.0.counts.states, 2);
    let at: Vec<usize> = (0..lines.len()).filter(|&i| is_state(&lines[i])).collect();
    let states: Vec<_> = at.iter().map(|&i| lines[i]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["halted", "running"]);
    let halted = &lines[at[0] + 1..at[1]];
    assert!(halted.len() >= 30 * 6, "never silence: {} signals in the halt", halted.len());
    for line in halted {
        assert_eq!((&line["action"], &line["reason"]), (&"HOLD".into(), &"halted".into()));
    }
    let outside = lines[..at[0]].iter().chain(&lines[at[1]..]);
    assert_eq!(outside.filter(|l| l["reason"] == "halted").count(), 0);
    assert!(lines[at[1]..].iter().any(|l| l["reason"] == "below_threshold"), "trading again");
    for (&i, first) in at.iter().zip([&lines[at[0] + 1], &lines[at[1] + 1]]) {
        assert_eq!(lines[i]["cycle"], first["cycle"], "a state record names its first cycle");
    }
}

/// An exchange of its own and the preset file of a feed that leads there, through gates if there are
/// any (to REST, to the stream).
fn external(market: MarketConfig, gates: Option<(&Gate, &Gate)>) -> (SimHandle, tempfile::TempDir) {
    let config = SimConfig { market, ..SimConfig::default() };
    let sim = spawn_thread(&config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let addr = sim.local_addr();
    let (rest, stream) =
        gates.map_or((addr, addr), |(rest, stream)| (rest.lead_to(addr), stream.lead_to(addr)));
    let instrument = |i: Instrument| {
        format!(
            "[[instruments]]\nsymbol = \"{}\"\nprice_decimals = {}\nqty_decimals = {}\n",
            i.symbol, i.price_decimals, i.qty_decimals
        )
    };
    let text = format!(
        "venue = \"binance-usdm\"\nws_url = \"ws://{stream}\"\nrest_url = \"http://{rest}\"\n{}\
         [channels]\ndepth = \"0ms\"\noracle = true\n",
        sim.instruments().into_iter().map(instrument).collect::<String>()
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("feed.toml"), text).unwrap();
    (sim, dir)
}

fn preset(dir: &Path) -> String {
    dir.join("feed.toml").to_str().unwrap().to_owned()
}

#[test]
fn faults_of_the_venue_are_noticed_repaired_and_replayed() {
    let (sim, dir) = external(MarketConfig::default(), None);
    let preset = preset(dir.path());
    let run = Recorded::start(&[&FAST[..], &[("feed.preset", &preset)]].concat());
    let all_ready = |s: &Value| number(s, "ready") == 6;
    run.wait("every instrument ready", all_ready);
    // One swallowed frame: one instrument loses its book and gets it back.
    assert!(sim.skip_depth("SIMB"));
    run.wait("the gap", |s| number(s, "desyncs") == 1);
    run.wait("the repair", all_ready);
    // A cut connection: all lose theirs, and all come back.
    sim.drop_connections();
    run.wait("the cut", |s| number(s, "desyncs") == 7);
    run.wait("the new connection", all_ready);
    run.wait_cycles(20);
    let (live, lines) = run.finish();
    let session = &live.feeds.sessions[0];
    assert_eq!((session.gaps, session.bad_input.total()), (1, 0), "the one that was made");
    let engine = &live.spine.engine.counts;
    assert_eq!((engine.syncs, engine.desyncs), (6 + 1 + 6, 1 + 6 + 6));
    assert_eq!(engine.crossed_published, 0);
    assert!(live.feeds.notes.iter().any(|n| n.contains("2 made, ")), "{:?}", live.feeds.notes);
    // Between the gap and the cut only the one instrument is out.
    let ready = |l: &Value| l["reason"] == "below_threshold" || l["reason"] == "threshold_met";
    let begin = lines.iter().rposition(|l| l["instrument"] == "binance-usdm:SIMB" && ready(l));
    assert!(begin.is_some());
    let lost_all = |cycle: u64| {
        lines.iter().filter(|l| l["cycle"] == cycle && l["reason"] == "unsynchronised").count() == 6
    };
    let first_ready = lines.iter().find(|l| ready(l)).unwrap()["cycle"].as_u64().unwrap();
    let last = lines.last().unwrap()["cycle"].as_u64().unwrap();
    let cut = (first_ready..=last).find(|&c| lost_all(c)).expect("a cycle with all books lost");
    let until_cut: Vec<Value> = lines
        .iter()
        .filter(|l| (first_ready..cut).contains(&l["cycle"].as_u64().unwrap()))
        .cloned()
        .collect();
    for symbol in ["SIMA", "SIMC", "SIMD", "SIME", "SIMF"] {
        let key = format!("binance-usdm:{symbol}");
        let warm = until_cut.iter().skip_while(|l| l["instrument"] != key.as_str() || !ready(l));
        let warm: Vec<Value> = warm.cloned().collect();
        for reason in ["unsynchronised", "warming_up"] {
            assert_eq!(count(&warm, &key, reason), 0, "{symbol} was {reason}");
        }
    }
    let key = "binance-usdm:SIMB";
    // A starved machine misses cycles, which then make no signal.
    let warming_up = count(&until_cut, key, "warming_up") as u64 + engine.missed_cycles;
    assert!(warming_up >= 5_000 / 20 - 5, "SIMB had to start anew");
}

/// A way to an exchange that lets no answer through while it is closed.
struct Gate {
    listener: TcpListener,
    open: Arc<AtomicBool>,
}

impl Gate {
    fn new(open: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self { listener, open: Arc::new(AtomicBool::new(open)) }
    }

    fn set(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Starts to relay; the threads end with their connections and the process.
    fn lead_to(&self, addr: SocketAddr) -> SocketAddr {
        let (listener, open) = (self.listener.try_clone().unwrap(), self.open.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(addr).unwrap();
                let back = (far.try_clone().unwrap(), near.try_clone().unwrap(), open.clone());
                let always = Arc::new(AtomicBool::new(true));
                std::thread::spawn(move || relay(near, far, &always));
                std::thread::spawn(move || relay(back.0, back.1, &back.2));
            }
        });
        self.listener.local_addr().unwrap()
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, open: &AtomicBool) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        while !open.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    // Both ways: an end must reach the other side whichever direction learned of it.
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}

#[test]
fn a_run_whose_ring_is_too_small_conflates_and_is_replayed_to_the_byte() {
    let (rest, stream) = (Gate::new(false), Gate::new(true));
    let market = MarketConfig { activity: 10.0, ..MarketConfig::default() };
    let (sim, dir) = external(market, Some((&rest, &stream)));
    let preset = preset(dir.path());
    let tiny = [
        ("feed.preset", preset.as_str()),
        ("pipeline.ring_items", "1024"),
        ("pipeline.book_levels", "20"),
    ];
    let run = Recorded::start(&[&FAST[..], &tiny].concat());
    // While a snapshot is withheld the updates of its book pile up; let through, the book with all of
    // them is one message of more events than the ring has slots.
    run.wait_cycles(200);
    rest.set(true);
    run.wait("every instrument ready", |s| number(s, "ready") == 6);
    // Frames that come in bursts: the feed outruns the engine as often as the host lets it.
    for _ in 0..5 {
        stream.set(false);
        run.wait_cycles(10);
        stream.set(true);
        run.wait_cycles(10);
    }
    sim.drop_connections();
    run.wait("the cut", |s| number(s, "desyncs") >= 6);
    run.wait("the new connection", |s| number(s, "ready") == 6);
    let (live, _) = run.finish();
    let (merged, whole) = live.feeds.conflated;
    let counts = &live.spine.engine.counts;
    println!("{merged} events merged, {whole} passed on whole, {counts:?}");
    assert!(merged > 1_024 && whole > 0, "conflation happened: {:?}", live.feeds.conflated);
    assert!(counts.conflated_books > 0);
    assert_eq!((counts.syncs, counts.desyncs), (12, 12), "a conflated book was never lost");
    assert_eq!((counts.crossed_published, live.feeds.crossed_books), (0, 0));
    assert!(live.text().contains(&format!("{merged} events merged")));
}

/// How often something happened, by the status of the daemon.
fn happened(status: &Value, kind: &str) -> u64 {
    status["happened"][kind].as_u64().unwrap()
}

#[test]
fn connections_that_grow_old_are_replaced_without_a_loss_and_replayed_to_the_byte() {
    let run = Recorded::start(
        &[&FAST[..], &[("feed.connections", "2"), ("feed.max_lifetime_s", "3")]].concat(),
    );
    run.wait("every instrument ready", |s| number(s, "ready") == 6);
    let before = number(&run.wait("a status", |_| true), "desyncs");
    let status = run.wait("two replacements each", |s| happened(s, "rotated") >= 4);
    assert_eq!((before, number(&status, "desyncs")), (0, 0));
    assert_eq!(status["is_ready"], true);
    run.wait_cycles(20);
    let (live, lines) = run.finish();
    let engine = &live.spine.engine.counts;
    assert_eq!((engine.syncs, engine.desyncs), (6, 6), "synced once, and the goodbye's alone");
    assert!(engine.conflated_books >= 2 * 6, "every book of every successor was passed on whole");
    assert_eq!(engine.crossed_published, 0);
    // Nobody notices: no cycle without a number, no instrument out after it was in.
    let mut was_ready = BTreeSet::new();
    let last = lines.last().unwrap()["cycle"].as_u64().unwrap();
    for line in lines.iter().filter(|line| line["cycle"].as_u64().unwrap() < last) {
        let (key, reason) =
            (line["instrument"].as_str().unwrap(), line["reason"].as_str().unwrap());
        if ["unsynchronised", "warming_up"].contains(&reason) {
            assert!(!was_ready.contains(key), "{line}");
        } else {
            was_ready.insert(key.to_owned());
        }
    }
    assert_eq!(was_ready.len(), 6);
    let cycles: BTreeSet<u64> = lines.iter().filter_map(|l| l["cycle"].as_u64()).collect();
    let missing = cycles.last().unwrap() - cycles.first().unwrap() + 1 - cycles.len() as u64;
    println!("{missing} cycles missing, {:?}", live.feeds.notes);
    assert!(missing <= engine.missed_cycles, "what is missing was missed, and counted");
    let kept = |n: &&String| n.starts_with("replacements") && n.contains(" 0 not ready in time");
    assert!(live.feeds.notes.iter().any(|n| kept(&n)), "{:?}", live.feeds.notes);
}

#[test]
fn a_replacement_while_the_ring_is_too_small_is_replayed_to_the_byte() {
    let stream = Gate::new(true);
    let market = MarketConfig { activity: 10.0, ..MarketConfig::default() };
    let (sim, dir) = external(market, Some((&Gate::new(true), &stream)));
    let preset = preset(dir.path());
    let tiny = [
        ("feed.preset", preset.as_str()),
        ("feed.max_lifetime_s", "3"),
        ("pipeline.ring_items", "1024"),
        ("pipeline.book_levels", "20"),
    ];
    let run = Recorded::start(&[&FAST[..], &tiny].concat());
    run.wait("every instrument ready", |s| number(s, "ready") == 6);
    // Bursts before, during and after the replacement; a cut connection in the end.
    while happened(&run.wait("a status", |_| true), "rotated") < 2 {
        stream.set(false);
        run.wait_cycles(5);
        stream.set(true);
        run.wait_cycles(10);
    }
    sim.drop_connections();
    run.wait("the new connection", |s| happened(s, "book_synced") >= 12 && number(s, "ready") == 6);
    let (live, _) = run.finish();
    println!("{:?}, {:?}", live.feeds.conflated, live.feeds.notes);
    assert!(live.feeds.conflated.0 > 0, "conflation happened");
    assert_eq!((live.spine.engine.counts.crossed_published, live.feeds.crossed_books), (0, 0));
}
