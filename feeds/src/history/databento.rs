//! Databento DBN files of schemas MBO, MBP-1 (also TBBO) and trades, through the `dbn` crate.
//!
//! The records are described at <https://databento.com/docs/schemas-and-data-formats>. Prices are
//! integers × 10^-9. Rules for MBO, whose book is kept order by order:
//!
//! 1. **A**dd puts an order, **M**odify replaces it (or puts one that was not known), **C**ancel takes
//!    its size away, clea**R** empties the book, and so does the first record flagged SNAPSHOT; **T**rade, **F**ill and **N**one
//!    do not touch the book, the cancel or modify that follows does.
//! 2. Levels are told, and committed, at the record flagged LAST; a batch that grows too long tells
//!    levels early and commits only there.
//! 3. The side of a trade is the aggressor's. Where it is **N**one (implied and auction trades) the
//!    tick rule classifies it, and it is counted.
//! 4. A record flagged MAYBE_BAD_BOOK means a gap in the channel: the book is desynchronised until it
//!    is cleared. So it is when more than [`MAX_LIVE_ORDERS`] are live.
//!
//! The crate takes a file cut short for one that is at its end. It is not: the bytes are counted here.

use std::collections::BTreeMap;
use std::io::{self, Chain, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dbn::decode::{DbnDecoder, DbnMetadata as _, DecodeRecordRef as _};
use dbn::{BidAskPair, FlagSet, MboMsg, Mbp1Msg, Metadata, Record as _, Schema, TradeMsg};

use super::aggressor::TickRule;
use super::input::{Input, read_error};
use super::lines::Place;
use super::orders::{Order, OrderBook};
use super::{HistoryError, HistoryReader, MAX_BATCH_EVENTS, Progress};
use crate::{
    DesyncReason, EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue,
};

/// Bytes before the metadata: magic, version, and the metadata's length as a `u32`.
const PRELUDE_BYTES: usize = 8;

/// Longest metadata taken; a thousand symbols need under 1 MiB.
const MAX_METADATA_BYTES: u32 = 16 * 1024 * 1024;

/// Most live orders of all instruments of a file.
pub(super) const MAX_LIVE_ORDERS: usize = 1 << 20;

/// Prices are integers × 10^-9.
const PRICE_DECIMALS: u8 = 9;

/// The file's bytes, counted, with an early end of compressed data told apart from the file's end.
struct Counted {
    input: Chain<Cursor<[u8; PRELUDE_BYTES]>, Input>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into).map_err(|error| match error.kind() {
            // The decoder would take this kind for the end of the file.
            ErrorKind::UnexpectedEof => {
                io::Error::new(ErrorKind::InvalidData, "the compressed data ends too early")
            }
            _ => error,
        })?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// What is kept for each instrument.
struct State {
    book: OrderBook,
    tick_rule: TickRule,
    /// The book changed since its last commit.
    is_dirty: bool,
    is_desynced: bool,
    /// The last record was of a snapshot.
    in_snapshot: bool,
    /// Top of book last emitted: bid price, bid size, ask price, ask size.
    top: Option<[i64; 4]>,
}

/// Counts of what has no event, or not an exact one.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    other_records: u64,
    unknown_cancels: u64,
    refused_orders: u64,
    most_live_orders: u64,
    unknown_sides: u64,
    maybe_bad_book_records: u64,
    one_sided_tops: u64,
}

/// Reads one DBN file.
pub(super) struct DatabentoReader {
    decoder: DbnDecoder<Counted>,
    path: PathBuf,
    bytes_total: u64,
    schema: Schema,
    taken: Arc<AtomicU64>,
    /// Bytes of the metadata and the records understood so far.
    understood: u64,
    rows: u64,
    table: Arc<InstrumentTable>,
    /// Databento's instrument ids.
    ids: BTreeMap<u32, InstrumentId>,
    states: Vec<State>,
    live_orders: usize,
    counters: Counters,
}

impl DatabentoReader {
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        let mut input = Input::open(path)?;
        let place = Place { path, row: 1 };
        let mut prelude = [0; PRELUDE_BYTES];
        input.read_exact(&mut prelude).map_err(|error| read_error(path, 1, error))?;
        let metadata_bytes = u32::from_le_bytes([prelude[4], prelude[5], prelude[6], prelude[7]]);
        if metadata_bytes > MAX_METADATA_BYTES {
            let problem = format!("metadata of {metadata_bytes} bytes, at most 16 MiB are taken");
            return Err(place.damaged(problem));
        }
        let bytes_total = input.progress(0).bytes_total;
        let taken = Arc::new(AtomicU64::new(0));
        let counted =
            Counted { input: Cursor::new(prelude).chain(input), taken: Arc::clone(&taken) };
        let decoder = DbnDecoder::with_upgrade_policy(counted, dbn::VersionUpgradePolicy::AsIs)
            .map_err(|error| decode_error(path, 1, error))?;
        let metadata = decoder.metadata();
        let schema = match metadata.schema {
            Some(schema @ (Schema::Mbo | Schema::Mbp1 | Schema::Tbbo | Schema::Trades)) => schema,
            other => {
                let what = other.map_or("a mix".to_owned(), |schema| schema.to_string());
                let what = format!("Databento data of schema {what}");
                let why = "only mbo, mbp-1, tbbo and trades are read";
                return Err(HistoryError::Unsupported { path: path.to_owned(), what, why });
            }
        };
        let (table, ids) = find_instruments(path, metadata)?;
        let state = |_| State {
            book: OrderBook::new(MAX_LIVE_ORDERS),
            tick_rule: TickRule::default(),
            is_dirty: false,
            is_desynced: false,
            in_snapshot: false,
            top: None,
        };
        Ok(Self {
            path: path.to_owned(),
            bytes_total,
            schema,
            taken,
            understood: u64::from(metadata_bytes) + PRELUDE_BYTES as u64,
            rows: 0,
            states: (0..table.len()).map(state).collect(),
            table: Arc::new(table),
            ids,
            live_orders: 0,
            counters: Counters::default(),
            decoder,
        })
    }
}

fn decode_error(path: &Path, row: u64, error: dbn::Error) -> HistoryError {
    match error {
        dbn::Error::Io { source, .. } => read_error(path, row, source),
        other => Place { path, row }.damaged(other),
    }
}

fn find_instruments(
    path: &Path,
    metadata: &Metadata,
) -> Result<(InstrumentTable, BTreeMap<u32, InstrumentId>), HistoryError> {
    let unsupported =
        |what: String, why| HistoryError::Unsupported { path: path.to_owned(), what, why };
    let venue = match metadata.dataset.as_str() {
        "GLBX.MDP3" => Venue::CmeGlobex,
        "XNAS.ITCH" => Venue::Nasdaq,
        other => {
            let what = format!("Databento data set {other}");
            return Err(unsupported(what, "its venue is not among those purkinje knows"));
        }
    };
    let (mut instruments, mut ids) = (Vec::new(), BTreeMap::new());
    for mapping in &metadata.mappings {
        let instrument = InstrumentId(u16::try_from(instruments.len()).unwrap_or(u16::MAX));
        let mut is_mapped = false;
        for interval in &mapping.intervals {
            let Ok(id) = interval.symbol.parse::<u32>() else { continue };
            is_mapped = true;
            if ids.insert(id, instrument).is_some_and(|other| other != instrument) {
                let what = format!("a file that gives instrument {id} two symbols");
                return Err(unsupported(what, "records tell the id only"));
            }
        }
        if is_mapped {
            instruments.push(Instrument {
                venue,
                symbol: mapping.raw_symbol.clone(),
                price_decimals: PRICE_DECIMALS,
                qty_decimals: 0,
            });
        }
    }
    if instruments.is_empty() {
        let what = "a Databento file without symbol mappings".to_owned();
        return Err(unsupported(what, "its records cannot be told apart"));
    }
    Ok((super::instruments(path, instruments)?, ids))
}

/// What all records read here have in common.
#[derive(Clone, Copy)]
struct Common {
    ts_venue_ns: i64,
    ts_sent_ns: i64,
    ts_recv_ns: i64,
    sequence: u32,
    instrument: InstrumentId,
}

impl Common {
    /// Times that do not fit are `UNDEF_TIMESTAMP`, that is, unknown.
    fn new(ts_event: u64, ts_recv: u64, ts_in_delta: i32, sequence: u32) -> Self {
        let ts_recv_ns = i64::try_from(ts_recv).unwrap_or(0);
        let sent = ts_recv_ns.saturating_sub(i64::from(ts_in_delta));
        Self {
            ts_venue_ns: i64::try_from(ts_event).unwrap_or(0),
            ts_sent_ns: if ts_recv_ns == 0 { 0 } else { sent },
            ts_recv_ns,
            sequence,
            instrument: InstrumentId(0),
        }
    }

    fn event(&self, body: EventBody) -> MarketEvent {
        MarketEvent {
            ts_venue_ns: self.ts_venue_ns,
            ts_sent_ns: self.ts_sent_ns,
            ts_recv_ns: self.ts_recv_ns,
            update_id: u64::from(self.sequence),
            instrument: self.instrument,
            body,
        }
    }
}

/// The fields of a record that the reading needs, copied out of the decoder's buffer.
enum Row {
    Mbo(MboMsg),
    Mbp1(Mbp1Msg),
    Trade(TradeMsg),
    Other,
}

impl HistoryReader for DatabentoReader {
    fn format(&self) -> &'static str {
        match self.schema {
            Schema::Mbo => "databento-mbo",
            Schema::Trades => "databento-trades",
            Schema::Tbbo => "databento-tbbo",
            _ => "databento-mbp-1",
        }
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        let before = out.len();
        while out.len() < before + MAX_BATCH_EVENTS {
            let Some(row) = self.next_row()? else { return Ok(out.len() > before) };
            let is_last = match row {
                Row::Other => {
                    self.counters.other_records += 1;
                    true
                }
                Row::Trade(trade) => {
                    let common = self.common(
                        trade.hd.instrument_id,
                        Common::new(
                            trade.hd.ts_event,
                            trade.ts_recv,
                            trade.ts_in_delta,
                            trade.sequence,
                        ),
                    )?;
                    self.trade(&common, trade.side, trade.price, trade.size, out)?;
                    true
                }
                Row::Mbp1(record) => {
                    let common = self.common(
                        record.hd.instrument_id,
                        Common::new(
                            record.hd.ts_event,
                            record.ts_recv,
                            record.ts_in_delta,
                            record.sequence,
                        ),
                    )?;
                    if record.action as u8 == b'T' {
                        self.trade(&common, record.side, record.price, record.size, out)?;
                    }
                    let [level] = record.levels;
                    self.top(&common, &level, out);
                    true
                }
                Row::Mbo(record) => {
                    let common = self.common(
                        record.hd.instrument_id,
                        Common::new(
                            record.hd.ts_event,
                            record.ts_recv,
                            record.ts_in_delta,
                            record.sequence,
                        ),
                    )?;
                    self.order(&common, &record, out)?;
                    record.flags.is_last()
                }
            };
            if is_last {
                break;
            }
        }
        Ok(true)
    }

    fn progress(&self) -> Progress {
        let (_, input) = self.decoder.get_ref().input.get_ref();
        Progress { bytes_total: self.bytes_total, ..input.progress(self.rows) }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.counters;
        let mut told = vec![
            ("other_records", counters.other_records),
            ("trades_classified_by_tick_rule", counters.unknown_sides),
        ];
        match self.schema {
            Schema::Mbo => told.extend([
                ("unknown_cancels", counters.unknown_cancels),
                ("refused_orders", counters.refused_orders),
                ("most_live_orders", counters.most_live_orders),
                ("maybe_bad_book_records", counters.maybe_bad_book_records),
                ("level_shortfalls", self.states.iter().map(|s| s.book.shortfalls()).sum()),
            ]),
            Schema::Mbp1 | Schema::Tbbo => told.push(("one_sided_tops", counters.one_sided_tops)),
            _ => {}
        }
        told
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec!["prices have 9 decimals, as in every DBN file".to_owned()];
        let counters = &self.counters;
        for (count, what) in [
            (
                counters.unknown_sides,
                "trades tell no aggressor and were classified by the tick rule",
            ),
            (counters.unknown_cancels, "cancels are of orders that were never seen"),
            (counters.refused_orders, "orders found no room: the book was desynchronised"),
            (counters.maybe_bad_book_records, "records say that the channel had a gap"),
            (counters.one_sided_tops, "tops of book have one side only and make no event"),
            (counters.other_records, "records are of other types and make no event"),
        ] {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        }
        notes
    }
}

impl DatabentoReader {
    fn place(&self) -> Place<'_> {
        Place { path: &self.path, row: self.rows }
    }

    fn next_row(&mut self) -> Result<Option<Row>, HistoryError> {
        let record = self.decoder.decode_record_ref();
        let Some(record) = record.map_err(|e| decode_error(&self.path, self.rows + 1, e))? else {
            let lost = self.taken.load(Ordering::Relaxed).saturating_sub(self.understood);
            self.rows += 1;
            return match lost {
                0 => {
                    self.rows -= 1;
                    Ok(None)
                }
                _ => Err(self.place().damaged(format!("{lost} bytes of a record at the end"))),
            };
        };
        self.rows += 1;
        self.understood += record.record_size() as u64;
        Ok(Some(if let Some(mbo) = record.get::<MboMsg>() {
            Row::Mbo(mbo.clone())
        } else if let Some(mbp) = record.get::<Mbp1Msg>() {
            Row::Mbp1(mbp.clone())
        } else if let Some(trade) = record.get::<TradeMsg>() {
            Row::Trade(trade.clone())
        } else {
            Row::Other
        }))
    }

    fn common(&self, id: u32, common: Common) -> Result<Common, HistoryError> {
        let instrument = self.ids.get(&id).copied().ok_or_else(|| {
            let found = id.to_string();
            self.place().bad("instrument_id", found.as_bytes(), "an id of the file's metadata")
        })?;
        Ok(Common { instrument, ..common })
    }

    fn trade(
        &mut self,
        common: &Common,
        side: std::ffi::c_char,
        price: i64,
        size: u32,
        out: &mut Vec<MarketEvent>,
    ) -> Result<(), HistoryError> {
        if price == dbn::UNDEF_PRICE {
            return Err(self.place().bad("price", b"undefined", "the price of a trade"));
        }
        let tick_rule = &mut self.states[common.instrument.index()].tick_rule;
        let side = match side as u8 {
            b'B' => Side::Bid,
            b'A' => Side::Ask,
            _ => {
                self.counters.unknown_sides += 1;
                tick_rule.classify(price)
            }
        };
        tick_rule.observe(price, side);
        out.push(common.event(EventBody::Trade { side, price, qty: i64::from(size), count: 1 }));
        Ok(())
    }

    fn top(&mut self, common: &Common, level: &BidAskPair, out: &mut Vec<MarketEvent>) {
        if level.bid_px == dbn::UNDEF_PRICE || level.ask_px == dbn::UNDEF_PRICE {
            self.counters.one_sided_tops += 1;
            return;
        }
        let (bid_qty, ask_qty) = (i64::from(level.bid_sz), i64::from(level.ask_sz));
        let top = [level.bid_px, bid_qty, level.ask_px, ask_qty];
        if self.states[common.instrument.index()].top.replace(top) != Some(top) {
            let [bid_price, bid_qty, ask_price, ask_qty] = top;
            out.push(common.event(EventBody::Top { bid_price, bid_qty, ask_price, ask_qty }));
        }
    }

    /// One MBO record.
    fn order(
        &mut self,
        common: &Common,
        record: &MboMsg,
        out: &mut Vec<MarketEvent>,
    ) -> Result<(), HistoryError> {
        let action = record.action as u8;
        if action == b'T' {
            self.trade(common, record.side, record.price, record.size, out)?;
        }
        let order = match action {
            b'A' | b'M' => Some(self.resting_order(record)?),
            _ => None,
        };
        let state = &mut self.states[common.instrument.index()];
        let (before, mut has_gap) = (state.book.len(), record.flags.is_maybe_bad_book());
        self.counters.maybe_bad_book_records += u64::from(has_gap);
        let begins_snapshot = record.flags.is_snapshot() && !state.in_snapshot;
        state.in_snapshot = record.flags.is_snapshot();
        if action == b'R' || begins_snapshot {
            state.book.clear();
            state.is_dirty = true;
            state.is_desynced = false;
            out.push(common.event(EventBody::BookBegin));
        }
        match (action, order) {
            (_, Some(order)) => {
                let is_new = state.book.get(record.order_id).is_none();
                let has_room = self.live_orders < MAX_LIVE_ORDERS || !is_new;
                if !has_room || !state.book.put(record.order_id, order) {
                    self.counters.refused_orders += 1;
                    has_gap = true;
                }
            }
            (b'C', _) => match state.book.get(record.order_id) {
                None => self.counters.unknown_cancels += 1,
                Some(order) if order.qty > i64::from(record.size) => {
                    let qty = order.qty - i64::from(record.size);
                    state.book.put(record.order_id, Order { qty, ..order });
                }
                Some(_) => {
                    state.book.remove(record.order_id);
                }
            },
            (b'R' | b'T' | b'F' | b'N', _) => {}
            _ => return Err(self.place().bad("action", &[action], "one of A, C, M, R, T, F, N")),
        }
        self.live_orders = self.live_orders + state.book.len() - before;
        let most = self.counters.most_live_orders.max(self.live_orders as u64);
        self.counters.most_live_orders = most;
        if has_gap && !state.is_desynced {
            state.is_desynced = true;
            out.push(common.event(EventBody::Desync { reason: DesyncReason::SequenceGap }));
        }
        state.is_dirty |= state.book.touches() > 0;
        let is_last = FlagSet::is_last(&record.flags);
        if is_last || state.book.touches() >= MAX_BATCH_EVENTS / 2 {
            state.book.changes(|body| out.push(common.event(body)));
        }
        if is_last && std::mem::take(&mut state.is_dirty) {
            out.push(common.event(EventBody::BookCommit { conflated: false }));
        }
        Ok(())
    }

    fn resting_order(&self, record: &MboMsg) -> Result<Order, HistoryError> {
        let side = match record.side as u8 {
            b'B' => Side::Bid,
            b'A' => Side::Ask,
            other => return Err(self.place().bad("side", &[other], "A or B")),
        };
        if record.price == dbn::UNDEF_PRICE {
            return Err(self.place().bad("price", b"undefined", "the price of an order"));
        }
        Ok(Order { side, price: record.price, qty: i64::from(record.size) })
    }
}
