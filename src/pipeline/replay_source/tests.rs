//! What a replay makes of recordings that are not whole, and of times that are not in order.

use purkinje_feeds::{
    Instrument, InstrumentId, Venue,
    recording::{RecordingWriter, WriterConfig},
    session::SessionSpec,
};
use rtrb::RingBuffer;

use super::*;
use crate::pipeline::feed_core::FeedCore;

const PERIOD_NS: i64 = 100_000_000;

fn write(dir: &std::path::Path, session: &str, records: &[Record<'_>]) {
    let mut writer = RecordingWriter::create(dir, session, WriterConfig::default()).unwrap();
    writer.append(&Record::SessionStart { json: "{}" }).unwrap();
    for record in records {
        writer.append(record).unwrap();
    }
    writer.finish().unwrap();
}

/// Writes the records and replays them.
fn replay(records: &[Record<'_>], scripted: bool) -> (Vec<Input>, SourceNotes) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "s", records);
    replay_directory(dir.path(), scripted)
}

/// What the engine would get but the frames' ends, and the notes.
fn replay_directory(dir: &std::path::Path, scripted: bool) -> (Vec<Input>, SourceNotes) {
    let mut reader = RecordingReader::open(dir).unwrap();
    assert!(matches!(reader.next().unwrap(), Some(Record::SessionStart { .. })));
    let table = InstrumentTable::new(vec![Instrument {
        venue: Venue::BinanceUsdm,
        symbol: "SIMA".into(),
        price_decimals: 2,
        qty_decimals: 2,
    }])
    .unwrap();
    let spec = SessionSpec::new(0, Venue::BinanceUsdm, vec![InstrumentId(0)]);
    let core = FeedCore::new(spec, Arc::new(table), 10).unwrap();
    let (tx, mut rx) = RingBuffer::new(1_000);
    let source = ReplaySource::new(
        vec![Feed::Frames(Box::new(core))],
        (tx, Waker::default()),
        Speed::Max,
        Arc::default(),
    );
    let material = Material::Recording { reader: Box::new(reader), scripted };
    let (notes, _) = source.run(material, PERIOD_NS);
    let inputs = std::iter::from_fn(|| rx.pop().ok())
        .filter(|input| !matches!(input, Input::FrameEnd { .. }))
        .collect();
    (inputs, notes)
}

fn frame(ts_recv_ns: i64) -> Record<'static> {
    Record::Frame { connection: 0, ts_recv_ns, bytes: b"{}" }
}

fn cut(cycle: u64, periods: i64) -> Cut {
    Cut { cycle, ts_cycle_ns: periods * PERIOD_NS, missed: 0 }
}

fn noted(cut: Cut) -> Record<'static> {
    let Cut { cycle, ts_cycle_ns, missed } = cut;
    Record::Cut { cycle, ts_cycle_ns, missed }
}

const HALT: Record<'static> = Record::Control { ts_ns: 0, command: Command::Halt };

#[test]
fn after_a_hole_the_clock_goes_on_from_the_last_cut_and_a_halt_is_kept() {
    let (inputs, notes) = replay(
        &[
            noted(cut(7, 10)),
            // Its frames are in the hole, so the engine's steps would wait for ever.
            Record::Consumed { connection: 0, items: 5 },
            noted(cut(8, 11)),
            HALT,
            Record::Hole { connection: 0, records: 3, bytes: 99 },
            frame(13 * PERIOD_NS + 1),
        ],
        true,
    );
    let cuts = [cut(7, 10), cut(8, 11), cut(9, 12), cut(10, 13)].map(Input::Cut);
    let expected = [cuts[0], Input::Halt(true), cuts[1], cuts[2], cuts[3], Input::End];
    assert_eq!(inputs, expected);
    assert_eq!(notes.holes, 1);
    assert!(notes.warnings.iter().any(|w| w.contains("records are missing")), "{notes:?}");
    assert_eq!(notes.error, None);
}

#[test]
fn a_halt_in_a_recording_holds_when_its_cycles_are_cut_anew() {
    let (inputs, _) = replay(&[frame(1), HALT, frame(PERIOD_NS)], false);
    assert_eq!(inputs, [Input::Halt(true), Input::Cut(cut(1, 1)), Input::End]);
}

#[test]
fn a_snapshot_handed_over_late_is_no_clock_running_backwards_but_a_frame_is() {
    let snapshot = Record::Snapshot {
        connection: 0,
        generation: 1,
        instrument: 0,
        ts_recv_ns: 5,
        status: 200,
        bytes: b"{}",
    };
    let (_, notes) = replay(&[frame(10), snapshot, frame(11)], false);
    assert_eq!(notes.time_backwards, 0);
    let (_, notes) = replay(&[frame(10), frame(9)], false);
    assert_eq!(notes.time_backwards, 1);
}

#[test]
fn a_second_session_is_refused_rather_than_joined_to_the_first() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "s-1", &[frame(1)]);
    write(dir.path(), "s-2", &[frame(2)]);
    let (_, notes) = replay_directory(dir.path(), false);
    assert!(notes.error.is_some_and(|e| e.contains("another session")));
    assert_eq!(notes.frames, 1);
}
