//! Historical files through the whole program: verified, imported and replayed, exported and read back.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use flate2::{Compression, write::GzEncoder};
use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    record::Field,
};
use purkinje::{
    history::source::Source,
    pipeline::session_header::{FORMAT, HeaderChannels, HeaderInstrument, SessionHeader},
};
use purkinje_feeds::{
    EventBody, InstrumentId, MarketEvent, Side,
    recording::{EventBatch, Record, RecordingWriter, WriterConfig},
};
use serde_json::Value;
use support::{captures, journal, loaded, purkinje, reasons, replayed};

/// Fewer granule cells than by default: these tests are not about skill.
const FEW_CELLS: (&str, &str) = ("strategy.cerebellum.granule_cells", "200");

/// Receive time of the first line, ns.
const START_NS: i64 = 1_700_000_000_000_000_000;

/// Lines of a made-up USD-M capture: tops, trades and depth updates 10 ms apart, received 2 ms after
/// the venue sent them, and the snapshot as third line.
fn made_up(lines: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut update = 1_000;
    for i in 0..lines {
        let recv_ns = START_NS + i as i64 * 10_000_000;
        let ms = recv_ns / 1_000_000 - 2;
        let price = 30_000 + (i * 7 % 11);
        let times = format!(r#""E":{ms},"T":{ms},"s":"BTCUSDT""#);
        let frame = match i {
            2 => format!(
                r#"{{"lastUpdateId":{update},"E":{ms},"T":{ms},"bids":[["29990.0","5"]],"asks":[["30020.0","5"]]}}"#
            ),
            _ if i % 4 == 0 => format!(
                r#"{{"e":"bookTicker","u":{update},{times},"b":"{price}.0","B":"1.5","a":"{price}.5","A":"2"}}"#
            ),
            _ if i % 4 == 2 => format!(
                r#"{{"e":"trade",{times},"t":{i},"p":"{price}.1","q":"0.25","X":"MARKET","m":{}}}"#,
                i % 8 == 2
            ),
            _ => {
                let previous = update;
                update += 3;
                let first = previous + 1;
                // The level of two lines before: -2 is 9 modulo 11.
                let stale = 30_000 + ((i + 9) * 7 % 11);
                format!(
                    r#"{{"e":"depthUpdate",{times},"U":{first},"u":{update},"pu":{previous},"b":[["{stale}.0","0"],["{price}.0","1.5"]],"a":[["{stale}.5","0"],["{price}.5","2"]]}}"#
                )
            }
        };
        out.push(format!("{recv_ns} {frame}"));
    }
    out
}

fn write_capture(path: &Path, lines: &[String]) {
    let mut out = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
    for line in lines {
        writeln!(out, "{line}").unwrap();
    }
    out.finish().unwrap();
}

fn is_depth(line: &str) -> bool {
    line.contains("depthUpdate")
}

fn run(dir: &Path, args: &[&str]) -> Output {
    purkinje(dir).args(args).output().unwrap()
}

fn told(output: &Output) -> String {
    let [out, err] =
        [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b).into_owned());
    format!("{out}{err}")
}

/// The JSON of a verification, and its exit status.
fn verified(dir: &Path, args: &[&str]) -> (Value, i32) {
    let output = run(dir, &[&["verify", "--json"], args].concat());
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}: {}", told(&output));
    });
    (json, output.status.code().unwrap())
}

#[test]
fn a_clean_capture_is_clean_and_a_removed_frame_is_found_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = made_up(600);
    write_capture(&dir.path().join("clean.gz"), &lines);
    let (report, status) = verified(dir.path(), &["clean.gz"]);
    assert_eq!(status, 0, "{report:#}");
    let file = &report["files"][0];
    assert_eq!((&file["format"], file["rows"].as_u64()), (&"hftbacktest".into(), Some(600)));
    let instrument = &file["instruments"][0];
    assert_eq!(instrument["instrument"], "binance-usdm:BTCUSDT");
    let depth = lines.iter().filter(|l| is_depth(l)).count() as u64;
    assert_eq!(instrument["counts"]["trades"], 149);
    assert_eq!(instrument["counts"]["quotes"], 150);
    assert_eq!(instrument["counts"]["snapshots"], 1);
    assert!(instrument["counts"]["books"].as_u64().unwrap() >= depth - 1);
    assert_eq!(instrument["span_ns"], 5_990_000_000u64);
    assert_eq!(instrument["findings"], Value::Array(Vec::new()));
    let latency = &instrument["latency"];
    assert_eq!((&latency["min_ns"], &latency["negative_count"]), (&2_000_000.into(), &0.into()));

    let removed = (300..600).find(|&i| is_depth(&lines[i])).unwrap();
    lines.remove(removed);
    // The frame after the gap tells it.
    let next = (removed..lines.len()).find(|&i| is_depth(&lines[i])).unwrap();
    let told_ns: i64 = lines[next].split_once(' ').unwrap().0.parse().unwrap();
    write_capture(&dir.path().join("gap.gz"), &lines);
    let (report, status) = verified(dir.path(), &["gap.gz"]);
    assert_eq!(status, 1, "{report:#}");
    let instrument = &report["files"][0]["instruments"][0];
    assert_eq!(instrument["desyncs"]["sequence_gap"], 1);
    let seen = &instrument["first_desyncs"][0];
    assert_eq!(seen["at_ns"], told_ns);
    let row = seen["row"].as_u64().unwrap();
    assert!((next as u64 + 1..=next as u64 + 2).contains(&row), "line {}, told {row}", next + 1);
    assert!(instrument["unsynchronised"]["open_at_end"].as_bool().unwrap());
    let text = told(&run(dir.path(), &["verify", "gap.gz"]));
    let line = format!("book lost at row {row}");
    for part in [line.as_str(), "latency ms min", "10 ms p50/p99/max", "1 with findings"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn clocks_that_are_wrong_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = made_up(100);
    lines.swap(40, 44);
    // Received before it was sent.
    let early = lines[80].split_once(' ').unwrap().1.to_owned();
    let recv_ns = START_NS + 800_000_000 - 5_000_000;
    lines[80] = format!("{recv_ns} {early}");
    write_capture(&dir.path().join("c.gz"), &lines);
    let (report, status) = verified(dir.path(), &["c.gz"]);
    assert_eq!(status, 1);
    let instrument = &report["files"][0]["instruments"][0];
    assert_eq!(instrument["latency"]["negative_count"], 1);
    assert_eq!(instrument["latency"]["min_ns"], -3_000_000);
    assert!(instrument["receive_order"]["backwards"].as_u64().unwrap() >= 1);
    assert_eq!(instrument["receive_order"]["furthest_behind_ns"], 40_000_000);
    let findings = ["receive_time_backwards", "venue_time_backwards", "negative_latency"];
    assert_eq!(instrument["findings"], serde_json::json!(findings));
}

#[test]
fn a_folder_is_walked_in_order_and_what_cannot_be_read_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("b")).unwrap();
    write_capture(&data.join("c.gz"), &made_up(50));
    write_capture(&data.join("a.gz"), &made_up(50));
    fs::write(data.join("b/strange.bin"), b"\x01\x02\x03 no such format").unwrap();
    let torn = fs::read(data.join("a.gz")).unwrap();
    fs::write(data.join("torn.gz"), &torn[..torn.len() - 30]).unwrap();
    let (report, status) = verified(dir.path(), &["data"]);
    assert_eq!(status, 2);
    let files = report["files"].as_array().unwrap();
    let names: Vec<&str> =
        files.iter().map(|f| f["path"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["a.gz", "strange.bin", "c.gz", "torn.gz"]);
    assert!(files[1]["error"].as_str().unwrap().contains("strange.bin"));
    assert!(files[3]["notes"].to_string().contains("torn"), "{:#}", files[3]);
    let summary = &report["summary"];
    assert_eq!((&summary["clean"], &summary["unreadable"]), (&3.into(), &1.into()));
    let output = run(dir.path(), &["verify", "data"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("strange.bin"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("not read: "));
    let absent = run(dir.path(), &["verify", "absent"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(told(&absent).contains("absent"));
}

/// All bytes of a folder, by name.
fn bytes_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&p).unwrap()))
        .collect();
    files.sort();
    files
}

/// What every signal was made from: its cycle and the mid price, and whether there was a book. (The
/// two ways to the same events scale numbers by different decimals, so that the last bits of a forecast
/// differ.)
fn seen(path: &Path) -> Vec<(u64, String, bool)> {
    let lines = journal(path);
    let signals = lines.iter().filter(|line| !support::is_state(line));
    signals
        .map(|line| {
            let mid = line["mid"].as_f64().or_else(|| line["mid"].as_str()?.parse().ok());
            let mid = mid.map_or_else(String::new, |mid| format!("{mid:.6}"));
            (line["cycle"].as_u64().unwrap(), mid, line["reason"] == "unsynchronised")
        })
        .collect()
}

#[test]
fn an_import_is_the_same_bytes_twice_and_replays_as_its_capture_does() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_capture(&at("x.gz"), &made_up(3_000));
    for out in ["one", "two"] {
        let output = run(dir.path(), &["import", "x.gz", "--out", out]);
        assert!(output.status.success(), "{}", told(&output));
        assert!(told(&output).contains("3000 rows"), "{}", told(&output));
    }
    assert!(bytes_of(&at("one")) == bytes_of(&at("two")), "two imports differ");
    let again = run(dir.path(), &["import", "x.gz", "--out", "one"]);
    assert!(!again.status.success() && told(&again).contains("exists already"));

    let loaded = loaded(&[FEW_CELLS]);
    let direct = replayed(&loaded, &[at("x.gz")], Some(&at("direct")));
    let journals = [at("first"), at("second")];
    let imported = journals.each_ref().map(|j| replayed(&loaded, &[at("one")], Some(j)));
    assert_eq!(imported[0].signals_sha256(), imported[1].signals_sha256());
    assert!(fs::read(&journals[0]).unwrap() == fs::read(&journals[1]).unwrap());
    assert_eq!(seen(&journals[0]), seen(&at("direct")));
    let counts = [&imported[0], &direct].map(|r| r.spine.engine.counts);
    assert_eq!(counts[0], counts[1], "the engine took the same events and cuts");
    assert!(counts[0].commits > 1_000 && counts[0].syncs == 1);
    let text = imported[0].text();
    assert!(text.contains("x.gz: imported as hftbacktest"), "{text}");

    let (capture, _) = verified(dir.path(), &["x.gz"]);
    let (recording, status) = verified(dir.path(), &["one"]);
    assert_eq!(status, 0);
    let counts = |report: &Value| report["files"][0]["instruments"][0]["counts"].clone();
    assert_eq!(counts(&recording), counts(&capture));
    assert_eq!(recording["files"][0]["format"], "purkinje-recording");
}

#[test]
fn files_named_together_are_merged_by_time_and_an_instrument_can_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let lines = made_up(400);
    let other: Vec<String> = lines.iter().map(|l| l.replace("BTCUSDT", "ETHUSDT")).collect();
    write_capture(&dir.path().join("btc.gz"), &lines);
    write_capture(&dir.path().join("eth.gz"), &other);
    let output = run(dir.path(), &["import", "btc.gz", "eth.gz", "--out", "both"]);
    assert!(output.status.success(), "{}", told(&output));
    let (report, status) = verified(dir.path(), &["both"]);
    assert_eq!(status, 0);
    let instruments = report["files"][0]["instruments"].as_array().unwrap();
    let keys: Vec<_> = instruments.iter().map(|i| i["instrument"].as_str().unwrap()).collect();
    assert_eq!(keys, ["binance-usdm:BTCUSDT", "binance-usdm:ETHUSDT"]);
    let mut events = Vec::new();
    let mut reader = source(&dir.path().join("both")).open().unwrap();
    while reader.next_batch(&mut events).unwrap() {}
    assert!(events.windows(2).all(|pair| pair[0].ts_recv_ns <= pair[1].ts_recv_ns));

    let args = ["import", "btc.gz", "eth.gz", "--out", "one", "--instrument", "ETHUSDT"];
    assert!(run(dir.path(), &args).status.success());
    let (report, _) = verified(dir.path(), &["one"]);
    let instruments = report["files"][0]["instruments"].as_array().unwrap();
    assert_eq!(instruments.len(), 1);
    assert_eq!(instruments[0]["counts"]["trades"], 99);
    let args = ["import", "btc.gz", "--out", "none", "--instrument", "XRPUSDT"];
    let refused = run(dir.path(), &args);
    assert!(!refused.status.success());
    assert!(told(&refused).contains("binance-usdm:BTCUSDT"), "{}", told(&refused));
}

#[test]
fn order_violations_are_counted_and_sorted_only_within_the_window_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = made_up(400);
    // Two tops change places: 40 ms apart.
    lines.swap(100, 104);
    write_capture(&dir.path().join("x.gz"), &lines);
    let output = run(dir.path(), &["import", "x.gz", "--out", "kept"]);
    assert!(told(&output).contains("0 sorted in, 4 left"), "{}", told(&output));
    let (report, status) = verified(dir.path(), &["kept"]);
    assert_eq!(status, 1, "the recording tells what the file was like");
    let order = &report["files"][0]["instruments"][0]["receive_order"];
    assert_eq!(order["furthest_behind_ns"], 40_000_000);
    let args = ["import", "x.gz", "--out", "sorted", "--sort-window-ms", "50"];
    let output = run(dir.path(), &args);
    assert!(told(&output).contains("4 sorted in, 0 left"), "{}", told(&output));
    assert_eq!(verified(dir.path(), &["sorted"]).1, 0);
}

/// A recording of quotes without quantities, of an instrument that has no book.
fn write_quotes(dir: &Path) {
    let header = SessionHeader {
        format: FORMAT,
        writer: "a test".into(),
        engine: false,
        cycle_ms: 0,
        book_levels: 0,
        config_sha256: String::new(),
        venue: "oanda".into(),
        channels: HeaderChannels {
            depth_interval_ms: 0,
            book_ticker: true,
            trade: true,
            oracle: false,
        },
        snapshot_limit: 1000,
        instruments: vec![HeaderInstrument {
            symbol: "EURUSD".into(),
            price_decimals: 5,
            qty_decimals: 0,
            venue: Some("oanda".into()),
            quotes_only: true,
        }],
        connections: vec![vec![0]],
        event_connections: vec![0],
        learned_sha256: None,
        notes: Vec::new(),
    };
    let mut writer = RecordingWriter::create(dir, "fx", WriterConfig::default()).unwrap();
    let json = serde_json::to_string(&header).unwrap();
    writer.append(&Record::SessionStart { json: &json }).unwrap();
    for i in 0..5_000 {
        let ts = START_NS + i * 20_000_000;
        let bid_price = 110_000 + i * 7 % 11;
        let mut batch = EventBatch::default();
        batch.push(&MarketEvent {
            ts_venue_ns: ts,
            ts_sent_ns: 0,
            ts_recv_ns: ts,
            update_id: 0,
            instrument: InstrumentId(0),
            body: EventBody::Top { bid_price, bid_qty: 0, ask_price: bid_price + 2, ask_qty: 0 },
        });
        let record = Record::Events { connection: 0, ts_recv_ns: ts, bytes: batch.bytes() };
        writer.append(&record).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn quotes_alone_are_forecast_from_as_books_of_one_level() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("fx");
    write_quotes(&recording);
    let path = dir.path().join("journal");
    let report = replayed(&loaded(&[FEW_CELLS]), &[recording], Some(&path));
    assert_eq!((report.spine.engine.counts.syncs, report.spine.engine.counts.commits), (1, 5_000));
    let lines = journal(&path);
    let reasons = reasons(&lines);
    assert!(!reasons.contains_key("unsynchronised"), "{reasons:?}");
    assert!(reasons["below_threshold"] + reasons["threshold_met"] > 500, "{reasons:?}");
    let text = report.text();
    assert!(text.contains("5000 quotes taken as books of one level"), "{text}");
    assert!(text.contains("5000 quotes name no quantity"), "{text}");
}

/// The recording in a folder, or a file, as one source.
fn source(path: &Path) -> Source {
    let mut sources = Source::list(&[path.to_owned()]).unwrap();
    assert_eq!(sources.len(), 1);
    sources.remove(0)
}

/// What a Parquet file should hold, one text a row.
fn expected_rows(path: &Path) -> [Vec<String>; 3] {
    let mut reader = source(path).open().unwrap();
    let table = reader.table().clone();
    let mut events = Vec::new();
    while reader.next_batch(&mut events).unwrap() {}
    let [mut trades, mut quotes, mut depth] = [Vec::new(), Vec::new(), Vec::new()];
    let side = |side| if side == Side::Bid { "bid" } else { "ask" };
    for event in events {
        let key = &table.get(event.instrument).symbol;
        let head = format!("{} {} {key}", event.ts_venue_ns, event.ts_recv_ns);
        match event.body {
            EventBody::Trade { side, price, qty, .. } => {
                let side = if side == Side::Bid { "buy" } else { "sell" };
                trades.push(format!("{head} {side} {price} {qty}"));
            }
            EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } => {
                quotes.push(format!("{head} {bid_price} {bid_qty} {ask_price} {ask_qty}"));
            }
            EventBody::BookBegin => depth.push(format!("{head} clear - 0 0 false")),
            EventBody::Level { side: of, price, qty } => {
                depth.push(format!("{head} level {} {price} {qty} false", side(of)));
            }
            EventBody::Desync { .. } => depth.push(format!("{head} desync - 0 0 true")),
            EventBody::BookCommit { .. } => {
                let last = depth.last_mut().unwrap();
                *last = format!("{} true", last.rsplit_once(' ').unwrap().0);
            }
            EventBody::Oracle { .. } => {}
        }
    }
    [trades, quotes, depth]
}

/// The columns of a file that a row's text is made of.
const SHEETS: [(&str, &[&str]); 3] = [
    ("trades", &["ts_venue_ns", "ts_recv_ns", "symbol", "side", "price_mantissa", "qty_mantissa"]),
    (
        "quotes",
        &[
            "ts_venue_ns",
            "ts_recv_ns",
            "symbol",
            "bid_price_mantissa",
            "bid_qty_mantissa",
            "ask_price_mantissa",
            "ask_qty_mantissa",
        ],
    ),
    (
        "depth",
        &[
            "ts_venue_ns",
            "ts_recv_ns",
            "symbol",
            "event",
            "side",
            "price_mantissa",
            "qty_mantissa",
            "last",
        ],
    ),
];

/// The rows of a Parquet file in the same form, by the reader of the `parquet` crate.
fn read_rows(path: &Path, columns: &[&str]) -> Vec<String> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let cell = |name: &str, field: &Field| match field {
        Field::Null if name == "side" => "-".to_owned(),
        Field::Null => "0".to_owned(),
        Field::Str(text) => text.clone(),
        Field::Bool(value) => value.to_string(),
        Field::Long(value) | Field::TimestampMicros(value) | Field::TimestampMillis(value) => {
            value.to_string()
        }
        other => other.to_string(),
    };
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let find = |name: &&str| {
            let (_, field) = row.get_column_iter().find(|(n, _)| n.as_str() == *name).unwrap();
            cell(name, field)
        };
        rows.push(columns.iter().map(find).collect::<Vec<_>>().join(" "));
    }
    rows
}

/// A capture with a gap, so that every kind of row is there.
fn write_gap(path: &Path) {
    let mut lines = made_up(1_200);
    let removed = (900..1_200).find(|&i| is_depth(&lines[i])).unwrap();
    lines.remove(removed);
    write_capture(path, &lines);
}

#[test]
fn an_export_reads_back_as_the_events_it_was_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write_gap(&at("x.gz"));
    let output = run(dir.path(), &["export", "x.gz", "--out", "p"]);
    assert!(output.status.success(), "{}", told(&output));
    for ((name, columns), expected) in SHEETS.iter().zip(expected_rows(&at("x.gz"))) {
        let rows = read_rows(&at("p").join(format!("{name}.parquet")), columns);
        assert!(expected.len() > 200, "{name}: {} rows", expected.len());
        assert_eq!(rows, expected, "{name}");
    }
    // By way of a recording the rows are the same, to the byte.
    assert!(run(dir.path(), &["import", "x.gz", "--out", "r"]).status.success());
    assert!(run(dir.path(), &["export", "r", "--out", "q"]).status.success());
    assert!(bytes_of(&at("p")) == bytes_of(&at("q")));
    let again = run(dir.path(), &["export", "r", "--out", "q"]);
    assert!(!again.status.success() && told(&again).contains("exists already"));
}

/// Reads a file with a library of Python and prints its rows in the form of [`expected_rows`], after
/// comparing the doubles with the mantissas.
const PYTHON: &str = r#"
import sys, importlib
path, library, columns = sys.argv[1], sys.argv[2], sys.argv[3:]
if library == "polars":
    import polars
    frame = polars.read_parquet(path)
    times = [c for c in frame.columns if c.startswith("ts_")]
    frame = frame.with_columns([polars.col(c).cast(polars.Int64) for c in times])
    rows = frame.to_dicts()
else:
    import pandas, pyarrow
    frame = pandas.read_parquet(path, dtype_backend="pyarrow")
    for c in [c for c in frame.columns if c.startswith("ts_")]:
        assert "ns" in str(frame[c].dtype), frame[c].dtype
        frame[c] = frame[c].astype("int64[pyarrow]")
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
def text(name, value):
    if value is None:
        return "-" if name == "side" else "0"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
for row in rows:
    for name, value in row.items():
        mantissa = row.get(name + "_mantissa")
        if mantissa is not None:
            decimals = row["price_decimals" if "price" in name else "qty_decimals"]
            assert abs(value - mantissa / 10**decimals) <= 1e-12 * abs(value), row
    print(" ".join(text(c, row[c]) for c in columns))
"#;

#[test]
fn polars_and_pandas_read_an_export() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let python = std::env::var("PURKINJE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = |import: &str| {
        let outcome = Command::new(&python).args(["-c", import]).output();
        outcome.is_ok_and(|output| output.status.success())
    };
    let libraries: Vec<&str> = [("polars", "import polars"), ("pandas", "import pandas, pyarrow")]
        .into_iter()
        .filter(|(_, import)| has(import))
        .map(|(library, _)| library)
        .collect();
    if libraries.is_empty() {
        eprintln!("skipped: {python} has neither polars nor pandas with pyarrow");
        return;
    }
    write_gap(&at("x.gz"));
    assert!(run(dir.path(), &["export", "x.gz", "--out", "p"]).status.success());
    let expected = expected_rows(&at("x.gz"));
    for library in libraries {
        for ((name, columns), expected) in SHEETS.iter().zip(&expected) {
            let path = at("p").join(format!("{name}.parquet"));
            let mut command = Command::new(&python);
            command.args(["-c", PYTHON]).arg(path).arg(library).args(*columns);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", told(&output));
            let rows = String::from_utf8(output.stdout).unwrap();
            let mut text = String::new();
            for row in expected {
                writeln!(text, "{row}").unwrap();
            }
            assert!(rows == text, "{library} reads {name} otherwise");
        }
    }
}

#[test]
fn real_captures_verify_without_a_gap_and_import_to_the_same_signals() {
    let Some(paths) = captures(&["usdm/btcusdt_20240808.gz"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = paths[0].to_str().unwrap();
    let (report, status) = verified(dir.path(), &[path]);
    assert_eq!(status, 1, "the recorder's clock runs behind");
    let file = &report["files"][0];
    assert_eq!(file["rows"], 93_954);
    let instrument = &file["instruments"][0];
    assert_eq!(instrument["findings"], serde_json::json!(["negative_latency"]));
    assert_eq!(instrument["counts"]["quotes"], 66_089);
    assert_eq!(instrument["counts"]["trades"], 21_313);
    let p50_ns = instrument["latency"]["p50_ns"].as_i64().unwrap();
    assert!((-1_300_000_000..-1_240_000_000).contains(&p50_ns), "{p50_ns}");
    let output = run(dir.path(), &["import", path, "--out", "r"]);
    assert!(output.status.success(), "{}", told(&output));
    let loaded = loaded(&[FEW_CELLS]);
    let at = |name: &str| dir.path().join(name);
    let imported = replayed(&loaded, &[at("r")], Some(&at("imported")));
    let direct = replayed(&loaded, &[PathBuf::from(path)], Some(&at("direct")));
    assert_eq!(imported.spine.engine.counts, direct.spine.engine.counts);
    assert_eq!(seen(&at("imported")), seen(&at("direct")));
}
