//! The real program and a real Kafka when things go wrong: the broker killed under load, the daemon killed at any
//! moment with and without a broker, a full disk, a damaged spill, a directory that cannot be written to.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Command,
    time::Duration,
};

use purkinje::signals::{
    journal::{JournalConfig, JournalFile},
    kafka::{
        contract::{Identity, Topic},
        envelope::Envelope,
        outcome::Outcome,
        spill::{Spill, SpillConfig},
    },
};
use serde_json::Value;
use support::{
    assert_contiguous, is_state, journal, kafka, limit_file_size, number,
    publishing::{Outcomes, Site, files, start, stop, told},
    records::{Accepted, Record, Watcher, read_all, read_json, records_on},
    seeded, wait_until,
};

/// Longer than any test.
const LONG_TTL_MS: &str = "600000";

fn signals(site: &Site) -> Vec<Record> {
    read_all(site.brokers(), &site.topic(Topic::Signals))
}

/// What the status topic tells of a kind.
fn told_of(site: &Site, kind: &str) -> Vec<Value> {
    let mut records = read_json(site.brokers(), &site.topic(Topic::Status));
    records.retain(|record| record["record"] == kind);
    records
}

/// Kills the broker while two daemons publish, one whose signals live for long and one for a short time, and holds
/// what arrived against what was made.
fn kill_the_broker(away: Duration, short_ttl_ms: &str, instruments: &str, period_ms: &str) {
    let broker = kafka::Broker::start();
    let sites =
        [("failures.long", LONG_TTL_MS), ("failures.short", short_ttl_ms)].map(|(name, ttl_ms)| {
            let sets = [
                ("strategy.ttl_ms", ttl_ms),
                ("kafka.broker_loss_ms", "300"),
                ("simulator.instruments", instruments),
                ("cycle.period_ms", period_ms),
            ];
            Site::new(broker.bootstrap(), name, &sets).with_topics(3)
        });
    let watchers = sites.each_ref().map(|s| Watcher::start(s.brokers(), &s.topic(Topic::Signals)));
    let daemons = sites.each_ref().map(|site| site.start("journal"));
    for site in &sites {
        site.wait_cycles(100);
    }
    broker.kill_9();
    std::thread::sleep(away);
    broker.restart();
    for site in &sites {
        let cycles = number(&site.wait("a status", |_| true), "cycles");
        wait_until("signals made after the broker's return", || {
            signals(site).iter().any(|record| number(&record.json(), "cycle") > cycles)
        });
        site.wait_more_cycles(25);
    }
    let reports = daemons.map(stop);
    for ((site, report), watcher) in sites.iter().zip(&reports).zip(watchers) {
        let outcomes = Outcomes::of(report);
        let [delivered, spilled, possibly, expired, refused, kept] =
            Outcome::ALL.map(|outcome| outcomes.count(outcome));
        println!(
            "{} signals: {delivered} delivered, {spilled} from the spill, {possibly} possibly, {expired} expired",
            outcomes.offered
        );
        assert!(outcomes.losses > 0 && spilled > 0, "{report}");
        assert_eq!((refused, kept), (0, 0), "{report}");

        let lines = journal(&site.path("journal"));
        assert_eq!(assert_contiguous(&lines), outcomes.offered);
        let made: BTreeMap<u64, &Value> = lines
            .iter()
            .filter(|line| !is_state(line))
            .map(|line| (number(line, "seq"), line))
            .collect();
        let records = signals(site);
        for record in &records {
            assert_eq!(&record.json(), made[&record.identity().seq]);
        }
        let accepted = Accepted::of(&records);
        assert_eq!(accepted.overtaken, [], "order per instrument");
        let arrived = accepted.seqs(outcomes.epoch);
        let missing: BTreeSet<u64> =
            made.keys().filter(|seq| !arrived.contains(seq)).copied().collect();
        let lost = missing.len() as u64;
        assert!((expired..=expired + possibly).contains(&lost), "{lost} lost: {report}");
        let told: u64 = told_of(site, "expired").iter().map(|r| number(r, "count")).sum();
        assert_eq!(told, expired, "the status topic tells what expired: {report}");
        assert_had_expired(&missing, &made, &[watcher.finish(), records].concat());
    }
    let [long, short] = reports.each_ref().map(|report| Outcomes::of(report));
    assert_eq!(
        long.arrived(),
        long.offered,
        "nothing expires that lives longer than the broker is away"
    );
    assert!(short.count(Outcome::Expired) > 0, "something expires that does not");
}

/// Asserts that each missing signal had expired when the next one of its instrument arrived: then it was not within
/// its life when the broker could take it.
fn assert_had_expired(missing: &BTreeSet<u64>, made: &BTreeMap<u64, &Value>, received: &[Record]) {
    let mut first_received = BTreeMap::new();
    for record in received {
        first_received.entry(record.identity().seq).or_insert(record.received_ns);
    }
    for seq in missing {
        let signal = made[seq];
        let expires_ns = signal["ts_signal_ns"].as_i64().unwrap()
            + signal["ttl_ms"].as_i64().unwrap() * 1_000_000;
        let (_, next_ns) = first_received
            .range(seq..)
            .find(|(next, _)| made[next]["instrument"] == signal["instrument"])
            .unwrap_or_else(|| panic!("nothing arrived after {signal}"));
        assert!(
            expires_ns <= *next_ns,
            "{signal} was alive when the next one arrived at {next_ns}"
        );
    }
}

#[test]
fn a_broker_killed_under_load_costs_only_what_expired_meanwhile() {
    kill_the_broker(Duration::ZERO, "1500", "8", "20");
}

#[test]
#[ignore = "the broker is away for 30 s"]
fn a_broker_killed_under_more_load_and_away_for_30_s_costs_only_what_expired_meanwhile() {
    kill_the_broker(Duration::from_secs(30), "10000", "32", "20");
}

/// What lies in the spill of a daemon that is gone; looks at a copy.
fn spilled(site: &Site) -> Vec<(String, Identity)> {
    let copy = tempfile::tempdir().unwrap();
    for file in files(&site.spill()) {
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    let config = SpillConfig { max_bytes: 64 << 20, segment_bytes: 4 << 20 };
    let (mut spill, _) = Spill::open(copy.path(), config).unwrap();
    let mut found = Vec::new();
    while let Some(record) = spill.front() {
        let (envelope, _) = Envelope::from_bytes(record).unwrap();
        let key = String::from_utf8(envelope.key().to_vec()).unwrap();
        found.push((key, envelope.identity));
        spill.pop();
    }
    assert!(spill.next_fault().is_none(), "a kill damages nothing");
    found
}

/// Kills a publishing daemon again and again, every other time while the broker does not answer, and holds what the
/// topic has against what the daemons said was acknowledged and left in the spill.
fn kill_the_daemon(kills: u64) {
    const INSTRUMENTS: u64 = 8;
    let broker = kafka::Broker::start();
    let sets = [
        ("strategy.ttl_ms", LONG_TTL_MS),
        ("kafka.broker_loss_ms", "100"),
        ("kafka.health_every_ms", "50"),
        ("simulator.instruments", "8"),
    ];
    let site = Site::new(broker.bootstrap(), "failures.killed", &sets).with_topics(3);
    let stored = || -> u64 {
        let text = std::fs::read_to_string(site.path("state").join("epoch")).unwrap_or_default();
        text.trim_end().parse().unwrap_or(0)
    };
    let (mut cut_off, mut left, mut last_epoch) = (BTreeSet::new(), Vec::new(), 0);
    for i in 0..kills {
        let name = format!("journal-{i}");
        let mut daemon = site.start(&name);
        // From the very start, when nothing may exist yet, to well into the stream.
        if i > 0 {
            site.wait_cycles(seeded(i) % 60);
        }
        std::thread::sleep(Duration::from_micros(seeded(100 + i) % 100_000));
        let is_broker_away = i % 2 == 1;
        if is_broker_away {
            broker.freeze();
            wait_until("signals in the spill", || {
                files(&site.spill())
                    .iter()
                    .any(|file| file.metadata().is_ok_and(|m| m.len() > 10_000))
            });
            std::thread::sleep(Duration::from_micros(seeded(200 + i) % 300_000));
        }
        daemon.signal(libc::SIGKILL);
        assert!(!daemon.end().success());
        assert!(stored() >= last_epoch, "the epoch is never taken back");
        last_epoch = stored();
        let in_spill = spilled(&site);
        if is_broker_away {
            broker.thaw();
            assert!(!in_spill.is_empty());
        }
        // Killed while the broker was lost, or, on a starved machine, seemed to be.
        if !in_spill.is_empty() {
            cut_off.insert(last_epoch);
        }
        let path = site.path(&name);
        if path.exists() {
            drop(JournalFile::open(&path, JournalConfig::default()).unwrap());
            assert_contiguous(&journal(&path));
        }

        if !in_spill.is_empty() {
            // The next start sends what was left, before its own.
            let daemon = site.start("");
            wait_until("what was left in the spill", || {
                let accepted = Accepted::of(&signals(&site));
                in_spill.iter().all(|(key, identity)| accepted.contains(key, *identity))
            });
            let report = stop(daemon);
            let outcomes = Outcomes::of(&report);
            assert_eq!(outcomes.inherited, in_spill.len() as u64, "{report}");
            assert!(outcomes.epoch > last_epoch);
            last_epoch = outcomes.epoch;
            left.extend(in_spill);
        }
    }
    let daemon = site.start("");
    site.wait_cycles(20);
    let report = stop(daemon);
    let outcomes = Outcomes::of(&report);
    assert_eq!(outcomes.arrived(), outcomes.offered, "{report}");
    assert!(outcomes.epoch > last_epoch);

    let records = signals(&site);
    let accepted = Accepted::of(&records);
    println!(
        "{kills} kills: {} records, {} repeated, {} overtaken, {} left in spills",
        records.len(),
        accepted.repeated,
        accepted.overtaken.len(),
        left.len()
    );
    for (key, identity) in &left {
        assert!(accepted.contains(key, *identity), "{key} {identity} was in the spill");
    }
    // What a frozen broker had in its sockets when its sender was killed, and was never acknowledged.
    for (key, identity) in &accepted.overtaken {
        assert!(cut_off.contains(&identity.epoch), "{key} {identity} came too late");
    }
    for (key, identities) in &accepted.identities {
        for pair in identities.windows(2).filter(|pair| pair[0].epoch == pair[1].epoch) {
            let is_next = pair[1].seq == pair[0].seq + INSTRUMENTS;
            // A hole is what a killed daemon had handed over without an answer.
            assert!(is_next || cut_off.contains(&pair[0].epoch), "{key}: a hole in {pair:?}");
        }
    }
    let mut acknowledged = BTreeMap::<u64, u64>::new();
    for health in read_json(site.brokers(), &site.topic(Topic::Health)) {
        let most = acknowledged.entry(number(&health, "epoch")).or_default();
        *most = (*most).max(number(&health["outcomes"], "delivered"));
    }
    assert!(acknowledged.values().filter(|n| **n > 0).count() >= 2, "{acknowledged:?}");
    for (epoch, delivered) in acknowledged {
        let there = accepted.seqs(epoch).len() as u64;
        assert!(there >= delivered, "epoch {epoch}: {delivered} acknowledged, {there} there");
    }
}

#[test]
fn killed_at_any_moment_the_daemon_loses_and_repeats_nothing_that_was_acknowledged() {
    kill_the_daemon(6);
}

#[test]
#[ignore = "50 kills take minutes"]
fn killed_50_times_the_daemon_loses_and_repeats_nothing_that_was_acknowledged() {
    kill_the_daemon(50);
}

/// Kills the daemon again and again while it sends what an earlier one had spilled and the broker has just stopped to
/// answer: what is neither on the topic nor in the spill then would be lost.
#[test]
fn killed_while_it_sends_what_was_spilled_the_daemon_loses_none_of_it() {
    const KILLS: u64 = 5;
    let broker = kafka::Broker::start();
    let sets = [
        ("strategy.ttl_ms", LONG_TTL_MS),
        ("kafka.window_messages", "256"),
        ("kafka.spill_mb", "8"),
        ("simulator.instruments", "32"),
    ];
    let site = Site::new(broker.bootstrap(), "failures.sending", &sets).with_topics(3);
    let kept = Outcomes::of(&run_without_broker(&site, 200, |_| ()));
    assert_eq!(kept.count(Outcome::Kept), kept.offered);
    let of_that_run = |identities: &mut dyn Iterator<Item = Identity>| -> BTreeSet<u64> {
        identities.filter(|id| id.epoch == kept.epoch).map(|id| id.seq).collect()
    };
    let all = of_that_run(&mut spilled(&site).into_iter().map(|(_, identity)| identity));
    assert_eq!(all.len() as u64, kept.offered);

    let topic = site.topic(Topic::Signals);
    let mut cut_off = 0;
    for i in 0..KILLS {
        let before = records_on(site.brokers(), &topic);
        let more = 1 + seeded(300 + i) % 1_000;
        let mut daemon = site.start("");
        wait_until("signals from the spill", || {
            records_on(site.brokers(), &topic) >= before + more
        });
        broker.freeze();
        std::thread::sleep(Duration::from_millis(20));
        daemon.signal(libc::SIGKILL);
        assert!(!daemon.end().success());
        broker.thaw();
        let left = of_that_run(&mut spilled(&site).into_iter().map(|(_, identity)| identity));
        let there = of_that_run(&mut signals(&site).iter().map(Record::identity));
        cut_off += u64::from(!left.is_empty() && !there.is_empty());
        let lost: Vec<u64> =
            all.iter().filter(|seq| !left.contains(seq) && !there.contains(seq)).copied().collect();
        assert_eq!(lost, [] as [u64; 0], "after kill {i}");
    }
    println!("{KILLS} kills, {cut_off} of them while the spill held a part of {}", all.len());
    assert!(cut_off > 0, "no kill came while it sent");
    let daemon = site.start("");
    wait_until("all that was spilled", || {
        Accepted::of(&signals(&site)).seqs(kept.epoch).len() == all.len()
    });
    let report = stop(daemon);
    let outcomes = Outcomes::of(&report);
    assert_eq!(outcomes.arrived(), outcomes.offered + outcomes.inherited, "{report}");
    assert_eq!(Accepted::of(&signals(&site)).overtaken, [], "order per instrument");
}

/// A port that nobody listens on: it was free a moment ago.
fn nobody() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Runs a daemon that reaches no broker until it has made so many cycles; returns its report.
fn run_without_broker(site: &Site, cycles: u64, change: impl Fn(&mut Command)) -> String {
    let mut command = site.command("", &[("kafka.brokers", &nobody())]);
    change(&mut command);
    let daemon = start(command);
    site.wait_cycles(cycles);
    stop(daemon)
}

#[test]
fn on_a_full_disk_what_cannot_be_spilled_is_refused_and_what_was_arrives_later() {
    const LIMIT_BYTES: u64 = 60_000;
    let sets = [("strategy.ttl_ms", LONG_TTL_MS), ("kafka.window_messages", "64")];
    let site = Site::new(&kafka::bootstrap(), "failures.full", &sets).with_topics(2);
    let report = run_without_broker(&site, 200, |command| {
        limit_file_size(command, LIMIT_BYTES);
    });
    let full = Outcomes::of(&report);
    let kept = full.count(Outcome::Kept);
    assert!(kept > 0 && full.count(Outcome::Refused) > 0, "{report}");
    assert_eq!(kept + full.count(Outcome::Refused), full.offered, "{report}");
    assert!(full.spill_errors > 0, "{report}");
    let trouble = told(&report, "spill trouble");
    assert!(trouble.contains(&site.spill().display().to_string()), "{trouble:?}");
    assert!(trouble.contains("File too large"), "{trouble:?}");

    let daemon = site.start("");
    site.wait_cycles(20);
    let report = stop(daemon);
    let outcomes = Outcomes::of(&report);
    assert_eq!(outcomes.arrived(), outcomes.offered + kept, "{report}");
    let accepted = Accepted::of(&signals(&site));
    assert_eq!(accepted.overtaken, []);
    assert_eq!(accepted.seqs(full.epoch).len() as u64, kept);
    assert_eq!(accepted.seqs(outcomes.epoch).len() as u64, outcomes.offered);
}

#[test]
fn a_damaged_segment_of_the_spill_is_named_and_costs_only_what_was_damaged() {
    let sets = [("strategy.ttl_ms", LONG_TTL_MS)];
    let site = Site::new(&kafka::bootstrap(), "failures.damaged", &sets).with_topics(2);
    let kept = Outcomes::of(&run_without_broker(&site, 150, |_| ()));
    assert_eq!(kept.count(Outcome::Kept), kept.offered);
    assert!(kept.spilled > 100, "{kept:?}");

    let segments = files(&site.spill());
    let longest = segments.iter().max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(longest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4].copy_from_slice(&[0xA5, 0x5A, 0xA5, 0x5A]);
    std::fs::write(longest, bytes).unwrap();
    std::fs::write(site.spill().join("stranger"), "not a segment").unwrap();

    let daemon = site.start("");
    site.wait_cycles(50);
    let report = stop(daemon);
    let outcomes = Outcomes::of(&report);
    let arrived = Accepted::of(&signals(&site)).seqs(kept.epoch);
    let lost = kept.offered - arrived.len() as u64;
    assert!((1..=2).contains(&lost), "{lost} lost: {report}");
    let new = Accepted::of(&signals(&site)).seqs(outcomes.epoch).len() as u64;
    assert_eq!(new, outcomes.offered, "signals go on: {report}");
    assert_eq!(outcomes.arrived(), new + arrived.len() as u64, "{report}");
    assert!(outcomes.spill_errors >= 1, "{report}");
    let name = longest.display().to_string();
    let troubles = told_of(&site, "trouble");
    let is_named = |part: &str| {
        let what = |r: &Value| r["what"].as_str().unwrap().to_owned();
        troubles.iter().map(what).any(|what| what.contains(&name) && what.contains(part))
    };
    assert!(is_named("damaged bytes at offset"), "{troubles:?}");
}

#[test]
fn in_a_directory_that_cannot_be_written_to_signals_go_on_without_a_spill() {
    let site = Site::new(&kafka::bootstrap(), "failures.readonly", &[]).with_topics(2);
    let state = site.path("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = site.command("", &[]);
    // SAFETY: between fork and exec only a system call that touches no memory is made.
    unsafe {
        command.pre_exec(|| {
            /// As linux/capability.h numbers it.
            const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
            // Takes from root, and only root has it, the right to write everywhere; fails for others.
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_DAC_OVERRIDE);
            Ok(())
        });
    }
    let daemon = start(command);
    site.wait_cycles(50);
    let report = stop(daemon);
    let outcomes = Outcomes::of(&report);
    assert_eq!(outcomes.arrived(), outcomes.offered, "{report}");
    assert_eq!(signals(&site).len() as u64, outcomes.offered);
    assert!(outcomes.spill_errors > 0, "{report}");
    for name in ["spill trouble", "kafka trouble"] {
        let trouble = told(&report, name);
        assert!(trouble.contains("Permission denied"), "{name}: {trouble:?} in {report}");
        assert!(trouble.contains(&state.display().to_string()), "{name}: {trouble:?}");
    }
    let troubles = told_of(&site, "trouble");
    assert_eq!(troubles.len(), 2, "the status topic names both: {troubles:?}");
}
