//! Recorded frame to verified book, a venue a row: purkinje, `barter-data`, `serde_json` into owned structs.
//!
//! A pass runs through a whole recording with the books kept between frames; only updates are timed (not
//! the snapshots a book begins with), and the best pass counts. Trades have a table of their own.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use purkinje_feeds::Side;
use purkinje_peer_barter::ours::Ours;
use purkinje_peer_barter::owned::Owned;
use purkinje_peer_barter::recordings::{Kind, Line, Recording, SOURCES};
use purkinje_peer_barter::{Reader, barter, trades};

/// Levels a side that must be equal at the end.
const COMPARED: usize = 10;

/// A row of the tables: ns a frame, where there is such a reader.
struct Row {
    name: &'static str,
    frames: u64,
    mean_bytes: f64,
    mean_levels: f64,
    ours: Option<f64>,
    barter: Option<f64>,
    owned: Option<f64>,
}

fn main() -> Result<(), String> {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let (mut books, mut trades) = (Vec::new(), Vec::new());
    // For profilers: neither read nor check the others.
    let only = std::env::var("BOOKS_ONLY").ok();
    for source in SOURCES {
        if only.as_ref().is_some_and(|only| only != source.name) {
            continue;
        }
        let Some(recording) = Recording::open(source)? else { continue };
        let name = source.name;
        check(&recording).map_err(|problem| format!("{name}: {problem}"))?;
        books.push(book_row(&mut criterion, &recording)?);
        trades.extend(trade_row(&mut criterion, &recording)?);
    }
    print_table("updates to verified books", &books);
    print_table("frames with trades", &trades);
    criterion.final_summary();
    Ok(())
}

/// Runs through the lines and times the updates among them.
fn pass(reader: &mut dyn Reader, lines: &[Line]) -> Result<Duration, String> {
    let is_timed = |line: &Line| line.kind == Kind::Update;
    let mut timed = Duration::ZERO;
    for run in lines.chunk_by(|a, b| is_timed(a) == is_timed(b)) {
        let started = Instant::now();
        for line in run {
            reader.line(line)?;
        }
        if is_timed(&run[0]) {
            timed += started.elapsed();
        }
    }
    Ok(timed)
}

/// All readers must end with the same books, after checking as many updates as there are to check.
fn check(recording: &Recording) -> Result<(), String> {
    let lines = recording.book_lines();
    let mut ours = Ours::new(recording, true)?;
    let mut owned = Owned::new(recording);
    pass(&mut ours, &lines).map_err(|problem| format!("purkinje: {problem}"))?;
    pass(&mut owned, &lines).map_err(|problem| format!("serde_json: {problem}"))?;
    let mut others: Vec<(&str, Box<dyn Reader>)> = vec![("serde_json", Box::new(owned))];
    if let Some(mut reader) = barter::reader(recording)? {
        pass(reader.as_mut(), &lines).map_err(|problem| format!("barter-data: {problem}"))?;
        others.push(("barter-data", reader));
    }
    ours.unbroken()?;
    for (name, other) in others {
        for (i, symbol) in recording.symbols.iter().enumerate() {
            for side in [Side::Bid, Side::Ask] {
                let (mine, theirs) = (ours.best(i, side, COMPARED), other.best(i, side, COMPARED));
                if !are_equal(&mine, &theirs) {
                    return Err(format!(
                        "{name} ends with another {side:?} side of {symbol}: {theirs:?}, not {mine:?}"
                    ));
                }
            }
        }
        println!("{} {name}: equal books, {:?} checked", recording.source.name, other.verified());
    }
    Ok(())
}

/// Equal, as far as conversions between number formats go.
fn are_equal(a: &[(f64, f64)], b: &[(f64, f64)]) -> bool {
    let is_near = |x: f64, y: f64| (x - y).abs() <= 1e-12 * x.abs();
    let are_near = |(a, b): (&(f64, f64), &(f64, f64))| is_near(a.0, b.0) && is_near(a.1, b.1);
    a.len() == b.len() && a.iter().zip(b).all(are_near)
}

/// Times passes of new readers; the best of all, ns a frame.
fn best(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    frames: u64,
    mut pass: impl FnMut() -> Result<Duration, String>,
) -> Result<Option<f64>, String> {
    let least = Cell::new(Duration::MAX);
    let mut problem = None;
    group.throughput(criterion::Throughput::Elements(frames));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|passes| {
            let mut total = Duration::ZERO;
            for _ in 0..passes {
                match pass() {
                    Ok(timed) => {
                        least.set(least.get().min(timed));
                        total += timed;
                    }
                    Err(why) => problem = Some(why),
                }
            }
            total.max(Duration::from_nanos(1))
        });
    });
    match problem {
        Some(problem) => Err(problem),
        None if least.get() == Duration::MAX => Ok(None),
        None => Ok(Some(least.get().as_nanos() as f64 / frames as f64)),
    }
}

fn book_row(criterion: &mut Criterion, recording: &Recording) -> Result<Row, String> {
    let (name, lines) = (recording.source.name, recording.book_lines());
    let frames = recording.updates();
    let is_timed = |line: &&Line| line.kind == Kind::Update;
    let bytes = lines.iter().filter(is_timed).map(|line| line.bytes.len()).sum::<usize>();
    let mut group = criterion.benchmark_group(format!("book/{name}"));
    let ours = best(&mut group, "purkinje", frames, || {
        let mut reader = Ours::new(recording, true)?;
        pass(&mut reader, &lines)
    })?;
    let barter = match barter::reader(recording)? {
        None => None,
        Some(_) => best(&mut group, "barter-data", frames, || {
            let mut reader = barter::reader(recording)?.ok_or("no reader")?;
            pass(reader.as_mut(), &lines)
        })?,
    };
    let owned =
        best(&mut group, "serde_json", frames, || pass(&mut Owned::new(recording), &lines))?;
    group.finish();
    let (mean_bytes, mean_levels) =
        (bytes as f64 / frames as f64, recording.levels as f64 / frames as f64);
    Ok(Row { name, frames, mean_bytes, mean_levels, ours, barter, owned })
}

fn trade_row(criterion: &mut Criterion, recording: &Recording) -> Result<Option<Row>, String> {
    let (name, lines) = (recording.source.name, recording.trades());
    let Some(mut owned) = trades::owned(recording).filter(|_| !lines.is_empty()) else {
        return Ok(None);
    };
    let frames = lines.len() as u64;
    let bytes = lines.iter().map(|line| line.bytes.len()).sum::<usize>();
    let mut group = criterion.benchmark_group(format!("trade/{name}"));
    let mut reader = Ours::new(recording, false)?;
    let ours = best(&mut group, "purkinje", frames, || {
        reader.trades = 0;
        let started = Instant::now();
        lines.iter().try_for_each(|line| reader.line(line))?;
        black_box(reader.trades);
        Ok(started.elapsed())
    })?;
    let barter = match trades::barter(recording)? {
        None => None,
        Some(mut read) => {
            best(&mut group, "barter-data", frames, || all_trades(&mut read, &lines))?
        }
    };
    let owned = best(&mut group, "serde_json", frames, || all_trades(&mut owned, &lines))?;
    group.finish();
    let mean_bytes = bytes as f64 / frames as f64;
    Ok(Some(Row { name, frames, mean_bytes, mean_levels: 0.0, ours, barter, owned }))
}

fn all_trades(read: &mut trades::ReadTrades, lines: &[Line]) -> Result<Duration, String> {
    let started = Instant::now();
    for line in lines {
        if black_box(read(line)?) == 0 {
            return Err("a frame without trades".into());
        }
    }
    Ok(started.elapsed())
}

fn print_table(title: &str, rows: &[Row]) {
    println!("\n{title}; ns a frame, best of all passes\n");
    println!(
        "| venue | frames | bytes | levels | purkinje | barter-data | serde_json | barter / ours | serde / ours |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for row in rows {
        let ns = |value: Option<f64>| value.map_or("".into(), |ns| format!("{ns:.0}"));
        let ratio = |value: Option<f64>| match (value, row.ours) {
            (Some(theirs), Some(ours)) => format!("{:.1}", theirs / ours),
            _ => String::new(),
        };
        println!(
            "| {} | {} | {:.0} | {:.1} | {} | {} | {} | {} | {} |",
            row.name,
            row.frames,
            row.mean_bytes,
            row.mean_levels,
            ns(row.ours),
            ns(row.barter),
            ns(row.owned),
            ratio(row.barter),
            ratio(row.owned),
        );
    }
}
