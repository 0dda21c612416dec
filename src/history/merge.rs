//! Several histories as one: instruments joined, events merged by time.
//!
//! A k-way merge of the files by receive time, or by venue time where a file has none. Invariants: a
//! message is never torn apart; at equal times the file named first comes first; within a file the
//! order is the file's own, unless a window was asked for, and then messages are sorted (stably) only
//! as far as the window reaches; every message that came earlier than one before it is counted, and so
//! is every one that still does after sorting; memory is bounded by [`MAX_FILES`] readers and
//! [`MAX_WINDOW_EVENTS`] events per file.

use std::{cmp::Reverse, collections::BinaryHeap, collections::VecDeque, path::PathBuf, sync::Arc};

use purkinje_feeds::{
    EventBody, Instrument, InstrumentError, InstrumentId, InstrumentTable, MarketEvent,
};
use thiserror::Error;

use super::{HistoryError, HistoryReader, ends_message, source::Source, time_ns};

/// Most files merged at a time: all of them are open.
pub const MAX_FILES: usize = 256;

/// Most events of a file that wait in its window.
pub const MAX_WINDOW_EVENTS: usize = 1 << 18;

/// Why histories cannot be merged.
#[derive(Debug, Error)]
pub enum MergeError {
    /// A file cannot be read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// Too many files.
    #[error("{found} files, expected at most {MAX_FILES}")]
    TooManyFiles {
        /// How many there are.
        found: usize,
    },
    /// The instruments together are no table.
    #[error("the files together: {0}")]
    Instruments(#[from] InstrumentError),
    /// An instrument was asked for that no file has.
    #[error("no file has instrument {wanted:?}, there are: {known}")]
    NoInstrument {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: String,
    },
    /// An event that cannot be ordered.
    #[error("{}: an event near row {row} has neither receive nor venue time, expected one", path.display())]
    NoTime {
        /// The file.
        path: PathBuf,
        /// The row read last.
        row: u64,
    },
    /// A number that the common decimals of its instrument cannot hold.
    #[error("{}: near row {row}: {number} does not fit the decimals of {key}", path.display())]
    Decimals {
        /// The file.
        path: PathBuf,
        /// The row read last.
        row: u64,
        /// The mantissa.
        number: i64,
        /// The instrument.
        key: String,
    },
}

/// How to merge.
#[derive(Clone, Debug, Default)]
pub struct MergeConfig {
    /// Instruments to keep (`venue:symbol`, or the symbol alone); all if there are none.
    pub instruments: Vec<String>,
    /// How far back a message may be moved to where its time belongs, ns; 0 sorts nothing.
    pub window_ns: i64,
    /// Whether an event without a receive time gets its venue time in its place.
    pub fill_receive: bool,
}

/// What was found in one file.
#[derive(Clone, Debug, Default)]
pub struct FileSummary {
    /// Its path.
    pub path: PathBuf,
    /// Its format.
    pub format: &'static str,
    /// Rows read.
    pub rows: u64,
    /// Events of the instruments kept.
    pub events: u64,
    /// Batches (messages) earlier than one before them.
    pub out_of_order: u64,
    /// Those that are so still, after the window: never moved.
    pub left_out_of_order: u64,
    /// Events that had no receive time.
    pub without_receive_time: u64,
    /// What the reader has to say.
    pub notes: Vec<String>,
}

/// Histories merged.
pub struct Merge {
    inputs: Vec<Input>,
    table: Arc<InstrumentTable>,
    /// The next batch of every file that has one: time, then number of the file.
    heads: BinaryHeap<Reverse<(i64, usize)>>,
    /// A file whose message goes on in its next batch.
    within: Option<usize>,
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").field("files", &self.inputs.len()).finish_non_exhaustive()
    }
}

/// Where an instrument of a file is in the common table.
#[derive(Clone, Copy)]
struct Place {
    id: InstrumentId,
    price_factor: i64,
    qty_factor: i64,
}

struct Input {
    reader: Box<dyn HistoryReader>,
    /// By the file's ids; none for an instrument that is not kept.
    places: Vec<Option<Place>>,
    /// Batches read and not given yet, by time.
    window: VecDeque<Batch>,
    window_events: usize,
    /// Emptied batches, to be filled again.
    spare: Vec<Vec<MarketEvent>>,
    newest_ns: i64,
    /// Of the batch read last: its time, and whether its message goes on.
    read_ns: i64,
    is_reading_within: bool,
    given_ns: i64,
    /// The message of the batch given last goes on.
    is_within: bool,
    is_at_end: bool,
    summary: FileSummary,
}

struct Batch {
    ts_ns: i64,
    events: Vec<MarketEvent>,
}

impl Merge {
    /// Opens the files and joins their instruments: a price of the common table has the most decimals
    /// that any of the files has for the instrument.
    ///
    /// # Errors
    /// See [`MergeError`].
    pub fn open(sources: &[Source], config: &MergeConfig) -> Result<Self, MergeError> {
        if sources.len() > MAX_FILES {
            return Err(MergeError::TooManyFiles { found: sources.len() });
        }
        let mut readers = Vec::new();
        for source in sources {
            readers.push((source.path().to_owned(), source.open()?));
        }
        Self::of(readers, config)
    }

    /// Merges readers that are open already.
    ///
    /// # Errors
    /// See [`MergeError`].
    pub fn of(
        readers: Vec<(PathBuf, Box<dyn HistoryReader>)>,
        config: &MergeConfig,
    ) -> Result<Self, MergeError> {
        let table = Arc::new(joined(&readers, &config.instruments)?);
        let inputs = readers.into_iter().map(|(path, reader)| Input::new(path, reader, &table));
        let mut merge =
            Self { inputs: inputs.collect(), table, heads: BinaryHeap::new(), within: None };
        for number in 0..merge.inputs.len() {
            merge.refill(number, config)?;
        }
        Ok(merge)
    }

    /// The common instruments.
    #[must_use]
    pub fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    /// Appends the next batch to `out`; `false` at the end of all files.
    ///
    /// # Errors
    /// See [`MergeError`]. What was merged before stays good.
    pub fn next(
        &mut self,
        config: &MergeConfig,
        out: &mut Vec<MarketEvent>,
    ) -> Result<bool, MergeError> {
        let number = match self.within.take() {
            Some(number) => number,
            None => match self.heads.pop() {
                Some(Reverse((_, number))) => number,
                None => return Ok(false),
            },
        };
        let input = &mut self.inputs[number];
        let Some(mut batch) = input.window.pop_front() else { return Ok(true) };
        input.window_events -= batch.events.len();
        let is_late = batch.ts_ns < input.given_ns && !input.is_within;
        input.summary.left_out_of_order += u64::from(is_late);
        input.given_ns = input.given_ns.max(batch.ts_ns);
        input.is_within = batch.goes_on();
        out.append(&mut batch.events);
        input.spare.push(batch.events);
        self.refill(number, config)?;
        Ok(true)
    }

    /// Bytes read of all files.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.inputs.iter().map(|input| input.reader.progress().bytes_read).sum()
    }

    /// What was found in every file, as far as it was read.
    #[must_use]
    pub fn summaries(&self) -> Vec<FileSummary> {
        let summary = |input: &Input| {
            let (rows, notes) = (input.reader.progress().rows, input.reader.notes());
            FileSummary { rows, notes, ..input.summary.clone() }
        };
        self.inputs.iter().map(summary).collect()
    }

    /// Reads on in a file until its window is full, and says when its next batch is due.
    fn refill(&mut self, number: usize, config: &MergeConfig) -> Result<(), MergeError> {
        let input = &mut self.inputs[number];
        while !input.is_full(config.window_ns) {
            input.read(config, &self.table)?;
        }
        if let Some(next) = input.window.front() {
            if input.is_within {
                self.within = Some(number);
            } else {
                // A batch that is too late comes next all the same: nothing else may overtake it.
                self.heads.push(Reverse((next.ts_ns.max(input.given_ns), number)));
            }
        }
        Ok(())
    }
}

impl Input {
    fn new(path: PathBuf, reader: Box<dyn HistoryReader>, table: &InstrumentTable) -> Self {
        let place = |instrument: &Instrument| {
            let id = table.lookup(instrument.venue, instrument.symbol.as_bytes())?;
            let common = table.get(id);
            let factor = |common: u8, own: u8| 10i64.pow(u32::from(common - own));
            Some(Place {
                id,
                price_factor: factor(common.price_decimals, instrument.price_decimals),
                qty_factor: factor(common.qty_decimals, instrument.qty_decimals),
            })
        };
        let places = reader.table().iter().map(|(_, instrument)| place(instrument)).collect();
        let format = reader.format();
        Self {
            reader,
            places,
            window: VecDeque::new(),
            window_events: 0,
            spare: Vec::new(),
            newest_ns: i64::MIN,
            read_ns: i64::MIN,
            is_reading_within: false,
            given_ns: i64::MIN,
            is_within: false,
            is_at_end: false,
            summary: FileSummary { path, format, ..FileSummary::default() },
        }
    }

    /// Whether the oldest batch that waits may be given.
    fn is_full(&self, window_ns: i64) -> bool {
        let reached = |front: &Batch| {
            window_ns == 0 || self.newest_ns.saturating_sub(front.ts_ns) >= window_ns
        };
        self.is_at_end
            || self.window_events >= MAX_WINDOW_EVENTS
            || self.window.front().is_some_and(reached)
    }

    /// Reads one batch into the window.
    fn read(&mut self, config: &MergeConfig, table: &InstrumentTable) -> Result<(), MergeError> {
        let mut events = self.spare.pop().unwrap_or_default();
        if !self.reader.next_batch(&mut events)? {
            self.is_at_end = true;
        }
        let row = self.reader.progress().rows;
        let path = &self.summary.path;
        let mut outcome = Ok(());
        let places = &self.places;
        let mut without_receive_time = 0;
        events.retain_mut(|event| {
            let place = places.get(event.instrument.index()).copied().flatten();
            let (Some(place), Ok(())) = (place, &outcome) else { return false };
            if event.ts_recv_ns == 0 {
                without_receive_time += 1;
                if event.ts_venue_ns == 0 {
                    outcome = Err(MergeError::NoTime { path: path.clone(), row });
                }
                if config.fill_receive {
                    event.ts_recv_ns = event.ts_venue_ns;
                }
            }
            event.instrument = place.id;
            if let Err(number) = place.rescale(&mut event.body) {
                let key = table.get(place.id).key();
                outcome = Err(MergeError::Decimals { path: path.clone(), row, number, key });
            }
            true
        });
        outcome?;
        self.summary.without_receive_time += without_receive_time;
        self.summary.events += events.len() as u64;
        match events.first().map(time_ns) {
            None => self.spare.push(events),
            Some(ts_ns) => self.put(Batch { ts_ns, events }, config.window_ns),
        }
        Ok(())
    }

    /// Puts a batch into the window, behind all that is not later. The rest of a message stays behind
    /// its beginning, and nothing comes between them.
    fn put(&mut self, mut batch: Batch, window_ns: i64) {
        if self.is_reading_within {
            batch.ts_ns = self.read_ns;
        } else {
            self.summary.out_of_order += u64::from(batch.ts_ns < self.newest_ns);
        }
        self.read_ns = batch.ts_ns;
        self.is_reading_within = batch.goes_on();
        self.newest_ns = self.newest_ns.max(batch.ts_ns);
        self.window_events += batch.events.len();
        let at = if window_ns == 0 {
            self.window.len()
        } else {
            let rest = self.window.iter().take_while(|b| b.goes_on()).count() + 1;
            let first = if self.is_within { rest.min(self.window.len()) } else { 0 };
            self.window.partition_point(|b| b.ts_ns <= batch.ts_ns).max(first)
        };
        self.window.insert(at, batch);
    }
}

impl Batch {
    /// Whether its last message goes on in the next batch.
    fn goes_on(&self) -> bool {
        self.events.last().is_some_and(|e| !ends_message(e.body))
    }
}

impl Place {
    /// Brings the numbers of an event to the common decimals; the number that does not fit otherwise.
    fn rescale(self, body: &mut EventBody) -> Result<(), i64> {
        if (self.price_factor, self.qty_factor) == (1, 1) {
            return Ok(());
        }
        let price = |number: &mut i64| scale(number, self.price_factor);
        let qty = |number: &mut i64| scale(number, self.qty_factor);
        match body {
            EventBody::Level { price: p, qty: q, .. }
            | EventBody::Trade { price: p, qty: q, .. } => price(p).and_then(|()| qty(q)),
            EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } => price(bid_price)
                .and_then(|()| qty(bid_qty))
                .and_then(|()| price(ask_price))
                .and_then(|()| qty(ask_qty)),
            EventBody::BookBegin
            | EventBody::BookCommit { .. }
            | EventBody::Desync { .. }
            | EventBody::Oracle { .. } => Ok(()),
        }
    }
}

fn scale(number: &mut i64, factor: i64) -> Result<(), i64> {
    *number = number.checked_mul(factor).ok_or(*number)?;
    Ok(())
}

/// The instruments of all files that are wanted, in the order in which they are met first.
fn joined(
    readers: &[(PathBuf, Box<dyn HistoryReader>)],
    wanted: &[String],
) -> Result<InstrumentTable, MergeError> {
    let mut all: Vec<Instrument> = Vec::new();
    for (_, reader) in readers {
        for (_, new) in reader.table().iter() {
            let is_same = |i: &&mut Instrument| (i.venue, &i.symbol) == (new.venue, &new.symbol);
            match all.iter_mut().find(is_same) {
                Some(known) => {
                    known.price_decimals = known.price_decimals.max(new.price_decimals);
                    known.qty_decimals = known.qty_decimals.max(new.qty_decimals);
                }
                None => all.push(new.clone()),
            }
        }
    }
    let is_wanted = |i: &Instrument, name: &String| *name == i.key() || *name == i.symbol;
    for name in wanted {
        if !all.iter().any(|i| is_wanted(i, name)) {
            let mut known: Vec<String> = all.iter().take(16).map(Instrument::key).collect();
            if all.len() > known.len() {
                known.push(format!("… ({} in all)", all.len()));
            }
            let known = known.join(", ");
            return Err(MergeError::NoInstrument { wanted: name.clone(), known });
        }
    }
    all.retain(|i| wanted.is_empty() || wanted.iter().any(|name| is_wanted(i, name)));
    Ok(InstrumentTable::new(all)?)
}

#[cfg(test)]
mod tests {
    use purkinje_feeds::{Side, Venue};

    use super::*;
    use crate::history::Progress;

    /// A history from memory: one batch a row.
    struct Listed {
        table: Arc<InstrumentTable>,
        batches: VecDeque<Vec<MarketEvent>>,
        rows: u64,
    }

    impl HistoryReader for Listed {
        fn format(&self) -> &'static str {
            "listed"
        }
        fn table(&self) -> &Arc<InstrumentTable> {
            &self.table
        }
        fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
            self.rows += 1;
            let batch = self.batches.pop_front();
            out.extend(batch.iter().flatten());
            Ok(batch.is_some())
        }
        fn progress(&self) -> Progress {
            Progress { rows: self.rows, ..Progress::default() }
        }
    }

    fn instrument(symbol: &str, price_decimals: u8) -> Instrument {
        let symbol = symbol.to_owned();
        Instrument { venue: Venue::Oanda, symbol, price_decimals, qty_decimals: 0 }
    }

    fn trade(ts_recv_ns: i64, update_id: u64) -> MarketEvent {
        MarketEvent {
            ts_venue_ns: 0,
            ts_sent_ns: 0,
            ts_recv_ns,
            update_id,
            instrument: InstrumentId(0),
            body: EventBody::Trade { side: Side::Bid, price: 15, qty: 1, count: 1 },
        }
    }

    fn reader(
        instrument: Instrument,
        batches: Vec<Vec<MarketEvent>>,
    ) -> (PathBuf, Box<dyn HistoryReader>) {
        let table = Arc::new(InstrumentTable::new(vec![instrument]).unwrap());
        (PathBuf::from("f"), Box::new(Listed { table, batches: batches.into(), rows: 0 }))
    }

    fn trades(symbol: &str, times: &[i64]) -> (PathBuf, Box<dyn HistoryReader>) {
        let batches = times.iter().enumerate().map(|(i, &ts)| vec![trade(ts, i as u64)]).collect();
        reader(instrument(symbol, 1), batches)
    }

    fn merged(
        readers: Vec<(PathBuf, Box<dyn HistoryReader>)>,
        config: &MergeConfig,
    ) -> (Vec<MarketEvent>, Vec<FileSummary>) {
        let mut merge = Merge::of(readers, config).unwrap();
        let mut out = Vec::new();
        while merge.next(config, &mut out).unwrap() {}
        (out, merge.summaries())
    }

    fn order(events: &[MarketEvent]) -> Vec<(u16, i64)> {
        events.iter().map(|e| (e.instrument.0, e.ts_recv_ns)).collect()
    }

    #[test]
    fn files_are_merged_by_time_and_the_first_named_is_first_at_equal_times() {
        let files = vec![trades("A", &[1, 3, 5]), trades("B", &[2, 3, 9])];
        let (events, _) = merged(files, &MergeConfig::default());
        assert_eq!(order(&events), [(0, 1), (1, 2), (0, 3), (1, 3), (0, 5), (1, 9)]);
    }

    #[test]
    fn without_a_window_the_order_of_a_file_is_kept_and_counted() {
        let files = vec![trades("A", &[1, 5, 2, 6]), trades("B", &[3, 4])];
        let (events, summaries) = merged(files, &MergeConfig::default());
        assert_eq!(order(&events), [(0, 1), (1, 3), (1, 4), (0, 5), (0, 2), (0, 6)]);
        assert_eq!((summaries[0].out_of_order, summaries[0].left_out_of_order), (1, 1));
        assert_eq!((summaries[1].out_of_order, summaries[1].events), (0, 2));
    }

    #[test]
    fn a_window_sorts_as_far_as_it_reaches_and_counts_what_it_leaves() {
        let config = MergeConfig { window_ns: 3, ..MergeConfig::default() };
        let (events, summaries) = merged(vec![trades("A", &[10, 12, 11, 20, 13, 21])], &config);
        let times: Vec<i64> = events.iter().map(|e| e.ts_recv_ns).collect();
        assert_eq!(times, [10, 11, 12, 13, 20, 21], "13 was read before 20 had to be given");
        assert_eq!((summaries[0].out_of_order, summaries[0].left_out_of_order), (2, 0));
        let (events, summaries) = merged(vec![trades("A", &[10, 20, 30, 11, 31])], &config);
        let times: Vec<i64> = events.iter().map(|e| e.ts_recv_ns).collect();
        assert_eq!(times, [10, 20, 11, 30, 31], "never moved beyond what was given");
        assert_eq!((summaries[0].out_of_order, summaries[0].left_out_of_order), (1, 1));
    }

    #[test]
    fn a_message_in_several_batches_is_not_torn_apart() {
        let with = |ts, body| MarketEvent { body, ..trade(ts, 0) };
        let book = || {
            let level = EventBody::Level { side: Side::Bid, price: 1, qty: 1 };
            let commit = EventBody::BookCommit { conflated: false };
            let rows = [EventBody::BookBegin, level, commit];
            reader(instrument("A", 1), rows.map(|body| vec![with(5, body)]).to_vec())
        };
        for window_ns in [0, 2] {
            let config = MergeConfig { window_ns, ..MergeConfig::default() };
            let (events, _) = merged(vec![book(), trades("B", &[1, 5, 5])], &config);
            assert_eq!(order(&events), [(1, 1), (0, 5), (0, 5), (0, 5), (1, 5), (1, 5)]);
        }
    }

    #[test]
    fn decimals_are_brought_to_the_larger_and_what_does_not_fit_is_an_error() {
        let coarse = trades("A", &[1]);
        let fine = reader(instrument("A", 3), vec![vec![trade(2, 0)]]);
        let (events, _) = merged(vec![coarse, fine], &MergeConfig::default());
        let price = |e: &MarketEvent| match e.body {
            EventBody::Trade { price, .. } => price,
            _ => panic!("{e:?}"),
        };
        assert_eq!(events.iter().map(price).collect::<Vec<_>>(), [1500, 15]);
        let mut huge = trade(1, 0);
        huge.body = EventBody::Trade { side: Side::Bid, price: i64::MAX / 2, qty: 1, count: 1 };
        let files =
            vec![reader(instrument("A", 1), vec![vec![huge]]), reader(instrument("A", 3), vec![])];
        let outcome = Merge::of(files, &MergeConfig::default());
        assert!(matches!(outcome, Err(MergeError::Decimals { row: 1, .. })), "{outcome:?}");
    }

    #[test]
    fn a_missing_receive_time_is_the_venue_time_where_that_is_asked_for_and_none_is_an_error() {
        let venue_only = MarketEvent { ts_venue_ns: 7, ..trade(0, 0) };
        let file = || vec![reader(instrument("A", 1), vec![vec![venue_only]])];
        let fill = MergeConfig { fill_receive: true, ..MergeConfig::default() };
        let (events, summaries) = merged(file(), &fill);
        assert_eq!((events[0].ts_recv_ns, summaries[0].without_receive_time), (7, 1));
        let (events, _) = merged(file(), &MergeConfig::default());
        assert_eq!(events[0].ts_recv_ns, 0);
        let no_time = vec![reader(instrument("A", 1), vec![vec![trade(0, 0)]])];
        assert!(matches!(Merge::of(no_time, &fill), Err(MergeError::NoTime { .. })));
    }

    #[test]
    fn instruments_are_kept_by_key_or_symbol_and_an_unknown_one_is_refused_by_name() {
        for name in ["oanda:B", "B"] {
            let config =
                MergeConfig { instruments: vec![name.to_owned()], ..MergeConfig::default() };
            let (events, summaries) = merged(vec![trades("A", &[1]), trades("B", &[2])], &config);
            assert_eq!(order(&events), [(0, 2)]);
            assert_eq!((summaries[0].events, summaries[1].events), (0, 1));
        }
        let config = MergeConfig { instruments: vec!["C".to_owned()], ..MergeConfig::default() };
        let error = Merge::of(vec![trades("A", &[1])], &config).unwrap_err().to_string();
        assert!(error.contains("\"C\"") && error.contains("oanda:A"), "{error}");
    }
}
