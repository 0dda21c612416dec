//! Where the hot threads of a watched run publish, and where slow threads read it.
//!
//! Invariant: a run that nobody watches has no boards and pays nothing for them.

use purkinje_feeds::InstrumentTable;
use rtrb::Producer;

use super::{
    ladders::{LadderWriter, Ladders, ladders},
    model_board::{ModelBoard, ModelBoardReader, model_board},
    seqlock::{SeqlockReader, SeqlockWriter, seqlock},
    sink::SinkCounts,
};
use crate::{learning::forecaster::Forecaster, signals::Signal};

/// The readers' ends.
#[derive(Clone, Debug)]
pub struct Boards {
    /// The model thread's.
    pub model: ModelBoardReader,
    /// The engine thread's.
    pub ladders: Ladders,
    /// The sink thread's.
    pub sink: SinkBoardReader,
}

/// The writers' ends, each for its thread.
#[derive(Debug)]
pub struct BoardWriters {
    /// For the model thread.
    pub model: ModelBoard,
    /// For the engine thread.
    pub ladders: LadderWriter,
    /// For the sink thread.
    pub sink: SinkWatch,
}

/// Boards for a run; `signals` takes every signal that there is room for.
#[must_use]
pub fn boards(
    table: &InstrumentTable,
    forecaster: &Forecaster,
    signals: Producer<Signal>,
) -> (BoardWriters, Boards) {
    let (model, model_reader) = model_board(forecaster);
    let (ladders, ladders_reader) = ladders(table.len());
    let (counts, sink_reader) = seqlock(SinkCounts::WORDS);
    let sink = SinkWatch { signals, counts };
    let readers =
        Boards { model: model_reader, ladders: ladders_reader, sink: SinkBoardReader(sink_reader) };
    (BoardWriters { model, ladders, sink }, readers)
}

/// What the sink thread gives to those who watch.
#[derive(Debug)]
pub struct SinkWatch {
    /// Every signal, while there is room.
    pub signals: Producer<Signal>,
    counts: SeqlockWriter,
}

impl SinkWatch {
    /// Publishes the sink's counters.
    pub fn publish(&mut self, counts: &SinkCounts) {
        self.counts.publish(counts.words());
    }
}

/// The sink's counters.
#[derive(Clone, Debug)]
pub struct SinkBoardReader(SeqlockReader);

impl SinkBoardReader {
    /// As they were published last; zero before.
    #[must_use]
    pub fn counts(&self) -> SinkCounts {
        let mut words = [0; SinkCounts::WORDS];
        if self.0.read(&mut words) { SinkCounts::from_words(words) } else { SinkCounts::default() }
    }
}
