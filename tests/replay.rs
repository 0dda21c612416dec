//! Real captures through the whole program: every book verified, the same material always the same
//! signals, and a disturbed capture told from an undisturbed one.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use purkinje::{pipeline::replay_source::capture_table, run::report::Report};
use purkinje_feeds::{
    Book, EventBody, InstrumentId, Side, Venue,
    fixed::Fixed,
    recording::capture::{CaptureKind, CaptureReader},
    session::{Outbox, Session, SessionCounters, SessionSpec, SnapshotReply},
};
use serde_json::Value;
use support::{assert_contiguous, captures, comparable, journal, loaded, reasons, replayed};

/// Every recorded session that begins with a snapshot.
const SESSIONS: [&[&str]; 5] = [
    &["spot/btcusdt_20240808.gz", "spot/btcusdt_20240809.gz"],
    &["spot/ethusdt_20240808.gz", "spot/ethusdt_20240809.gz"],
    &["usdm/btcusdt_20240808.gz"],
    &["usdm/ethusdt_20240808.gz"],
    &["cm/btcusd_perp_20240808.gz", "cm/btcusd_perp_20240809.gz"],
];

/// Fewer granule cells than by default: these tests are about books and determinism, not skill.
const FEW_CELLS: (&str, &str) = ("strategy.cerebellum.granule_cells", "200");

fn sum(report: &Report, of: fn(&SessionCounters) -> u64) -> u64 {
    report.feeds.sessions.iter().map(of).sum()
}

fn broke_off(report: &Report) -> bool {
    report.feeds.warnings.iter().any(|w| w.contains("broke off"))
}

#[test]
fn every_capture_replays_without_a_gap_or_a_crossed_book_and_twice_the_same() {
    let loaded = loaded(&[FEW_CELLS]);
    for files in SESSIONS {
        let Some(paths) = captures(files) else { return };
        let dir = tempfile::tempdir().unwrap();
        let journals = [dir.path().join("first"), dir.path().join("second")];
        let reports = journals.each_ref().map(|j| replayed(&loaded, &paths, Some(j)));
        for report in &reports {
            let engine = &report.spine.engine.counts;
            assert!(!broke_off(report), "{:?}", report.feeds.warnings);
            assert_eq!((sum(report, |s| s.gaps), sum(report, |s| s.bad_input.total())), (0, 0));
            assert_eq!((engine.crossed_published, report.feeds.crossed_books), (0, 0));
            assert_eq!((engine.syncs, engine.desyncs), (1, 0), "synchronised once and for good");
            let applied = sum(report, |s| s.depth) - sum(report, |s| s.stale_dropped);
            assert_eq!(engine.commits, 1 + applied, "every update reached the book");
            let clocks = report.feeds.warnings.iter().filter(|w| w.contains("clocks is wrong"));
            assert_eq!(clocks.count(), 1, "{:?}", report.feeds.warnings);
            let (_, text) = report
                .feeds
                .notes
                .iter()
                .find_map(|n| n.split_once("mean -"))
                .expect("a note on receive minus send time");
            assert!(text.starts_with("1.2"), "about 1.27 s early, said: {text}");
        }
        assert_eq!(reports[0].signals_sha256(), reports[1].signals_sha256());
        let bytes = journals.each_ref().map(|j| std::fs::read(j).unwrap());
        assert!(bytes[0] == bytes[1], "{files:?}: journals differ");
        let lines = journal(&journals[0]);
        assert_eq!(assert_contiguous(&lines), reports[0].spine.sink.0.counts.signals());
        let reasons = reasons(&lines);
        println!("{files:?}: {} events, {reasons:?}", reports[0].spine.engine.counts.events);
        // The capture begins before its snapshot; from then on the book is never lost.
        let first = lines.iter().position(|l| l["reason"] != "unsynchronised").unwrap();
        assert!(lines[first..].iter().all(|l| l["reason"] != "unsynchronised"));
        assert!(reasons["below_threshold"] > 1_000, "{reasons:?}");
    }
}

#[test]
fn a_capture_without_a_snapshot_stays_unsynchronised_and_only_holds() {
    let loaded = loaded(&[FEW_CELLS]);
    for file in
        ["spot/btcusdt_20240809.gz", "spot/ethusdt_20240809.gz", "cm/btcusd_perp_20240809.gz"]
    {
        let Some(paths) = captures(&[file]) else { return };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let report = replayed(&loaded, &paths, Some(&path));
        assert_eq!((report.spine.engine.counts.syncs, report.spine.engine.counts.commits), (0, 0));
        let lines = journal(&path);
        assert!(lines.len() > 2_900, "five minutes of cycles, not {}", lines.len());
        for line in &lines {
            assert_eq!(
                (&line["action"], &line["reason"]),
                (&"HOLD".into(), &"unsynchronised".into())
            );
        }
        let text = report.text();
        assert!(text.contains("synchronised         0 times"), "{text}");
        assert!(text.contains(&format!("{} unsynchronised", lines.len())), "{text}");
    }
}

#[test]
fn another_configuration_gives_another_stream_and_order_of_arguments_does_not() {
    let Some(paths) = captures(SESSIONS[0]) else { return };
    let Some(other) = captures(SESSIONS[1]) else { return };
    let [first, second] = [&paths, &other].map(|p| p[0].clone());
    let sha = |sets: &[(&str, &str)], paths: &[PathBuf]| {
        let sets = [&[FEW_CELLS], sets].concat();
        replayed(&loaded(&sets), paths, None).signals_sha256()
    };
    let base = sha(&[], std::slice::from_ref(&first));
    for set in [
        ("strategy.cerebellum.seed", "2"),
        ("strategy.thresholds.confidence", "0.65"),
        ("strategy.horizon_ms", "2000"),
        ("pipeline.book_levels", "50"),
    ] {
        assert_ne!(sha(&[set], std::slice::from_ref(&first)), base, "{set:?}");
    }
    assert_eq!(sha(&[("pipeline.ring_items", "4096")], std::slice::from_ref(&first)), base);
    let both = [first, second];
    let turned = [both[1].clone(), both[0].clone()];
    assert_eq!(sha(&[], &both), sha(&[], &turned));
}

/// One line of a capture.
struct Line {
    ts_recv_ns: i64,
    kind: CaptureKind,
    bytes: Vec<u8>,
}

fn read_lines(path: &Path) -> Vec<Line> {
    let mut reader = CaptureReader::open(path).unwrap();
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        let bytes = line.bytes.to_vec();
        lines.push(Line { ts_recv_ns: line.ts_recv_ns, kind: line.kind, bytes });
    }
    lines
}

fn write_lines<'a>(path: &Path, lines: impl IntoIterator<Item = &'a Line>) {
    let mut out = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::fast());
    for line in lines {
        write!(out, "{} ", line.ts_recv_ns).unwrap();
        out.write_all(&line.bytes).unwrap();
        out.write_all(b"\n").unwrap();
    }
    out.finish().unwrap();
}

fn is_depth(line: &Line) -> bool {
    line.bytes.windows(13).take(80).any(|window| window == b"\"depthUpdate\"")
}

/// An undisturbed session and its book, to know what the venue would have answered.
struct Reference {
    session: Session,
    out: Outbox,
    book: Book,
    last_commit: u64,
}

impl Reference {
    fn new(venue: Venue, symbol: &str) -> Self {
        let table = Arc::new(capture_table(&[(venue, symbol.to_owned())]).unwrap());
        let mut session =
            Session::new(SessionSpec::new(0, venue, vec![InstrumentId(0)]), table).unwrap();
        let mut out = session.outbox();
        session.on_connected(0, &mut out);
        Self { session, out, book: Book::with_depth(1_000), last_commit: 0 }
    }

    fn take(&mut self, line: &Line) {
        match line.kind {
            CaptureKind::Frame => {
                self.session.on_frame(line.ts_recv_ns, &line.bytes, &mut self.out);
            }
            CaptureKind::Snapshot => {
                let reply = SnapshotReply {
                    instrument: InstrumentId(0),
                    generation: self.session.generation(),
                    ts_recv_ns: line.ts_recv_ns,
                    body: &line.bytes,
                };
                self.session.on_snapshot(reply, &mut self.out);
            }
            other => panic!("{other:?} in an hftbacktest capture"),
        }
        for event in self.out.events.drain(..) {
            match event.body {
                EventBody::BookBegin => self.book.clear(),
                EventBody::Level { side, price, qty } => {
                    self.book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => self.last_commit = event.update_id,
                _ => {}
            }
        }
        self.out.actions.clear();
        self.out.topics.clear();
    }

    fn snapshot_body(&self) -> Vec<u8> {
        let fixed = |mantissa| Fixed { mantissa, decimals: 8 }.to_string();
        let side = |side| {
            let level = |l: purkinje_feeds::book::Level| [fixed(l.price), fixed(l.qty)];
            self.book.levels(side).map(level).map(|l| l.to_vec()).collect::<Value>()
        };
        // Written out, because a capture's snapshot is known by its first key.
        format!(
            "{{\"lastUpdateId\":{},\"bids\":{},\"asks\":{}}}",
            self.last_commit,
            side(Side::Bid),
            side(Side::Ask)
        )
        .into_bytes()
    }
}

/// `(cycle, mid, reason)` of every line.
fn view(path: &Path) -> Vec<(u64, String, String)> {
    let text = |v: &Value| v.to_string();
    journal(path)
        .iter()
        .map(|l| (l["cycle"].as_u64().unwrap(), text(&l["mid"]), text(&l["reason"])))
        .collect()
}

#[test]
fn a_deleted_depth_frame_is_a_gap_until_the_next_snapshot_and_repaired_by_it() {
    let cases = [
        (SESSIONS[0][0], Venue::BinanceSpot, "BTCUSDT"),
        (SESSIONS[2][0], Venue::BinanceUsdm, "BTCUSDT"),
        (SESSIONS[4][0], Venue::BinanceCoinm, "BTCUSD_PERP"),
    ];
    let loaded = loaded(&[FEW_CELLS]);
    for (file, venue, symbol) in cases {
        let Some(paths) = captures(&[file]) else { return };
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let lines = read_lines(&paths[0]);
        let depth: Vec<usize> = (0..lines.len()).filter(|&i| is_depth(&lines[i])).collect();
        let deleted = depth[depth.len() / 3];
        let detected_ns = lines[depth[depth.len() / 3 + 1]].ts_recv_ns;
        // The venue's answer comes late: 20 s of depth frames have to wait for it.
        let late_ns = detected_ns + 20_000_000_000;
        let answered = depth.iter().copied().find(|&i| lines[i].ts_recv_ns >= late_ns).unwrap();
        let mut reference = Reference::new(venue, symbol);
        lines[..=answered].iter().for_each(|line| reference.take(line));
        assert_eq!(reference.session.counters().gaps, 0);
        let snapshot = Line {
            ts_recv_ns: lines[answered].ts_recv_ns,
            kind: CaptureKind::Snapshot,
            bytes: reference.snapshot_body(),
        };
        let kept = |range: std::ops::Range<usize>| {
            lines[range.clone()].iter().zip(range).filter(|(_, i)| *i != deleted).map(|(l, _)| l)
        };
        write_lines(&at("gap.gz"), kept(0..lines.len()));
        let repaired =
            kept(0..answered + 1).chain([&snapshot]).chain(kept(answered + 1..lines.len()));
        write_lines(&at("repaired.gz"), repaired);

        let undisturbed = replayed(&loaded, &paths, Some(&at("undisturbed")));
        let gap = replayed(&loaded, &[at("gap.gz")], Some(&at("gap")));
        let mended = replayed(&loaded, &[at("repaired.gz")], Some(&at("repaired")));
        assert_eq!(sum(&undisturbed, |s| s.gaps), 0);
        for report in [&gap, &mended] {
            assert_eq!((sum(report, |s| s.gaps), report.spine.engine.counts.desyncs), (1, 1));
            assert!(report.text().contains("sequence             1 gaps"), "{}", report.text());
            assert_eq!(report.spine.engine.counts.crossed_published, 0);
        }
        assert_eq!((sum(&gap, |s| s.repairs_done), gap.spine.engine.counts.syncs), (0, 1));
        assert_eq!((sum(&mended, |s| s.repairs_done), mended.spine.engine.counts.syncs), (1, 2));

        let [undisturbed, gap, mended] = ["undisturbed", "gap", "repaired"].map(|n| view(&at(n)));
        assert_eq!((gap.len(), mended.len()), (undisturbed.len(), undisturbed.len()));
        let is_lost = |line: &&(u64, String, String)| line.2.contains("unsynchronised");
        let before = undisturbed.iter().take_while(is_lost).count();
        let lost = before + gap[before..].iter().take_while(|l| !is_lost(l)).count();
        assert_eq!(gap[..lost], undisturbed[..lost], "nothing changes before the gap");
        assert!(gap[lost..].iter().all(|l| is_lost(&l)), "without a snapshot it stays lost");
        let outage = mended[lost..].iter().take_while(is_lost).count();
        assert!((200..=202).contains(&outage), "20 s of HOLD, not {outage} cycles");
        let back = lost + outage;
        assert_eq!(mended[..back], gap[..back]);
        assert!(mended[back..].iter().all(|l| !is_lost(&l)), "repaired for good");
        // Right again: the same mid price as without the disturbance, at every cycle.
        for (mended, undisturbed) in mended[back..].iter().zip(&undisturbed[back..]) {
            assert_eq!((mended.0, &mended.1), (undisturbed.0, &undisturbed.1));
        }
        let ready = mended[back..].iter().filter(|l| l.2.contains("below_threshold")).count();
        println!("{file}: lost at cycle {lost}, back at {back}, {ready} forecasts after");
        assert!(ready > 500, "forecasts are made again after the repair: {ready}");
    }
}

#[test]
fn a_doubled_depth_frame_changes_nothing_but_the_count_of_duplicates() {
    let loaded = loaded(&[FEW_CELLS]);
    for file in [SESSIONS[0][0], SESSIONS[2][0], SESSIONS[4][0]] {
        let Some(paths) = captures(&[file]) else { return };
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let lines = read_lines(&paths[0]);
        let depth: Vec<usize> = (0..lines.len()).filter(|&i| is_depth(&lines[i])).collect();
        let twice = depth[depth.len() / 2];
        let doubled = lines[..=twice].iter().chain([&lines[twice]]).chain(&lines[twice + 1..]);
        write_lines(&at("doubled.gz"), doubled);
        let undisturbed = replayed(&loaded, &paths, Some(&at("undisturbed")));
        let doubled = replayed(&loaded, &[at("doubled.gz")], Some(&at("doubled")));
        assert_eq!((sum(&undisturbed, |s| s.duplicates), sum(&undisturbed, |s| s.gaps)), (0, 0));
        assert_eq!((sum(&doubled, |s| s.duplicates), sum(&doubled, |s| s.gaps)), (1, 0));
        assert_eq!(doubled.spine.engine.counts.desyncs, 0);
        assert_eq!(sum(&doubled, |s| s.frames), sum(&undisturbed, |s| s.frames) + 1);
        assert!(comparable(&at("doubled")) == comparable(&at("undisturbed")));
        assert_eq!(doubled.signals_sha256(), undisturbed.signals_sha256());
    }
}

#[test]
fn the_program_replays_what_the_library_replays() {
    let Some(paths) = captures(&SESSIONS[2][..1]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let [by_program, by_library] = ["program", "library"].map(|name| dir.path().join(name));
    let output = support::purkinje(dir.path())
        .arg("replay")
        .arg(&paths[0])
        .arg("--journal")
        .arg(&by_program)
        .args(["--set", &format!("{}={}", FEW_CELLS.0, FEW_CELLS.1)])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report = replayed(&loaded(&[FEW_CELLS]), &paths, Some(&by_library));
    let sha = format!("signals sha256         {}", report.signals_sha256());
    assert!(text.trim_end().ends_with(&sha), "{text}");
    assert!(std::fs::read(&by_program).unwrap() == std::fs::read(&by_library).unwrap());
    for part in
        ["0 gaps", "0 published", "latency, µs", "skill after", "one of the two clocks is wrong"]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}
