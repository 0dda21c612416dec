//! The Parquet file of a data set.
//!
//! Columns are found by name, so that a file with more of them, or in another order, is as good; a column may be
//! optional as long as no value is missing. Invariant: what is read holds to the invariants of
//! [`super`].

use std::{
    collections::HashMap,
    fmt::Display,
    fs::File,
    path::{Path, PathBuf},
    str::FromStr,
};

use parquet::{
    basic::Type as Physical,
    column::reader::get_typed_column_reader,
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type},
    errors::ParquetError,
    file::{
        reader::{FileReader as _, RowGroupReader},
        serialized_reader::SerializedFileReader,
    },
};
use purkinje_strategies::features::{N as FEATURES, NAMES};

use super::{LabelledRow, LabelledRows, LabelledRowsError, MAX_INSTRUMENTS};

/// Longest name of an instrument, bytes.
const MAX_NAME_BYTES: usize = 256;
/// Longest horizon and cycle, ms: a day.
const MAX_MS: u64 = 86_400_000;

impl LabelledRows {
    /// Reads a file of at most `max_rows` rows with the named features, in that order; all of them for
    /// `["all"]`.
    ///
    /// # Errors
    /// [`LabelledRowsError`]; whether labels have both classes is asked by
    /// [`check_classes`](Self::check_classes).
    pub fn read(
        path: &Path,
        features: &[String],
        max_rows: usize,
    ) -> Result<Self, LabelledRowsError> {
        let feature_names = feature_names(features)?;
        let source = Source::open(path)?;
        let metadata = source.reader.metadata();
        let rows = metadata.file_metadata().num_rows();
        let groups: i64 = metadata.row_groups().iter().map(|group| group.num_rows().max(0)).sum();
        if rows.max(groups) > i64::try_from(max_rows).unwrap_or(i64::MAX) {
            return Err(LabelledRowsError::TooManyRows {
                path: path.to_owned(),
                rows: rows.max(groups),
                max_rows,
            });
        }
        let mut read = Self {
            path: path.to_owned(),
            material: source.metadata("purkinje.material").unwrap_or("unknown").to_owned(),
            horizon_ms: source.milliseconds("purkinje.horizon_ms")?,
            cycle_ms: source.milliseconds("purkinje.cycle_ms")?,
            feature_names,
            instruments: Vec::new(),
            rows: Vec::new(),
            features: Vec::new(),
        };
        let places = Places::of(&source, &read.feature_names)?;
        let mut numbers = HashMap::new();
        for index in 0..metadata.num_row_groups() {
            let group = source.reader.get_row_group(index).map_err(|e| source.broken(e))?;
            read.take_group(&source, &*group, &places, &mut numbers)?;
        }
        if read.rows.is_empty() {
            return Err(LabelledRowsError::Empty { path: path.to_owned() });
        }
        read.sort_by_time();
        Ok(read)
    }

    fn take_group(
        &mut self,
        source: &Source,
        group: &dyn RowGroupReader,
        places: &Places,
        numbers: &mut HashMap<Vec<u8>, u32>,
    ) -> Result<(), LabelledRowsError> {
        let first = self.rows.len();
        let column = Columns { source, group, first };
        let instruments = column.whole::<ByteArrayType>(places.instrument)?;
        let cycles = column.whole::<Int64Type>(places.cycle)?;
        let ts_cycle_ns = column.whole::<Int64Type>(places.ts_cycle_ns)?;
        let ts_label_ns = column.whole::<Int64Type>(places.ts_label_ns)?;
        let mid_x2 = column.whole::<Int64Type>(places.mid_x2)?;
        let move_bps = column.whole::<DoubleType>(places.move_bps)?;
        let mean_move_bps = column.whole::<DoubleType>(places.mean_move_bps)?;
        let label = column.whole::<Int32Type>(places.label)?;
        let mean_label = column.whole::<Int32Type>(places.mean_label)?;
        let oracle = column.partial::<DoubleType>(places.oracle)?;
        for (at, name) in instruments.into_iter().enumerate() {
            let fault = |column: &str, value: &dyn Display, expected: &str| {
                Err(source.value(column, first + at, value, expected))
            };
            let instrument = match numbers.get(name.data()) {
                Some(number) => *number,
                None => self.number(source, first + at, &name, numbers)?,
            };
            let row = LabelledRow {
                instrument,
                cycle: cycles[at].cast_unsigned(),
                ts_cycle_ns: ts_cycle_ns[at],
                ts_label_ns: ts_label_ns[at],
                mid_x2: mid_x2[at],
                move_bps: move_bps[at],
                mean_move_bps: mean_move_bps[at],
                label: label[at].clamp(-1, 1) as i8,
                mean_label: mean_label[at].clamp(-1, 1) as i8,
                oracle: oracle[at].unwrap_or(f64::NAN),
            };
            if cycles[at] < 1 {
                return fault("cycle", &cycles[at], "1 or more");
            }
            if row.ts_label_ns <= row.ts_cycle_ns {
                let expected = format!("later than ts_cycle_ns, {}", row.ts_cycle_ns);
                return fault("ts_label_ns", &row.ts_label_ns, &expected);
            }
            for (column, value) in
                [("move_bps", row.move_bps), ("mean_move_bps", row.mean_move_bps)]
            {
                if !value.is_finite() {
                    return fault(column, &value, "a finite number");
                }
            }
            for (column, value, kept) in
                [("label", label[at], row.label), ("mean_label", mean_label[at], row.mean_label)]
            {
                if value != i32::from(kept) {
                    return fault(column, &value, "-1, 0 or 1");
                }
            }
            self.rows.push(row);
        }
        let (count, inputs) = (self.rows.len() - first, self.feature_names.len());
        self.features.resize(self.rows.len() * inputs, 0.0);
        for (input, place) in places.features.iter().enumerate() {
            let values = column.whole::<FloatType>(*place)?;
            for (at, value) in values.into_iter().enumerate().take(count) {
                if !value.is_finite() {
                    let name = self.feature_names[input];
                    return Err(source.value(name, first + at, &value, "a finite number"));
                }
                self.features[(first + at) * inputs + input] = value;
            }
        }
        Ok(())
    }

    /// The number of an instrument that is new.
    fn number(
        &mut self,
        source: &Source,
        row: usize,
        name: &ByteArray,
        numbers: &mut HashMap<Vec<u8>, u32>,
    ) -> Result<u32, LabelledRowsError> {
        let text = name.as_utf8().ok().filter(|text| (1..=MAX_NAME_BYTES).contains(&text.len()));
        let Some(text) = text.map(str::to_owned) else {
            let expected = format!("a name of 1 to {MAX_NAME_BYTES} bytes of UTF-8");
            let value = format!("{} bytes", name.len());
            return Err(source.value("instrument", row, &value, &expected));
        };
        let number = self.instruments.len();
        if number == MAX_INSTRUMENTS {
            let expected = format!("one of at most {MAX_INSTRUMENTS} instruments");
            return Err(source.value("instrument", row, &text, &expected));
        }
        self.instruments.push(text);
        numbers.insert(name.data().to_vec(), number as u32);
        Ok(number as u32)
    }

    /// Files are in the order in which labels became known.
    fn sort_by_time(&mut self) {
        if self.rows.is_sorted_by_key(|row| row.ts_cycle_ns) {
            return;
        }
        let mut order: Vec<u32> = (0..self.rows.len() as u32).collect();
        order.sort_by_key(|row| self.rows[*row as usize].ts_cycle_ns);
        self.features =
            order.iter().flat_map(|row| self.features_of(*row as usize)).copied().collect();
        self.rows = order.iter().map(|row| self.rows[*row as usize]).collect();
    }
}

/// The features of names, in their order.
fn feature_names(names: &[String]) -> Result<Vec<&'static str>, LabelledRowsError> {
    if names.len() == 1 && names[0] == "all" {
        return Ok(NAMES.to_vec());
    }
    let unknown = |name: &str| LabelledRowsError::Feature { name: name.to_owned() };
    if names.is_empty() || names.len() > FEATURES {
        return Err(unknown(&names.join(",")));
    }
    let known = |name: &String| {
        NAMES.iter().copied().find(|known| known == name).ok_or_else(|| unknown(name))
    };
    names.iter().map(known).collect()
}

/// An open file.
struct Source {
    path: PathBuf,
    reader: SerializedFileReader<File>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, LabelledRowsError> {
        let file = File::open(path)
            .map_err(|source| LabelledRowsError::Io { path: path.to_owned(), source })?;
        let reader = SerializedFileReader::new(file)
            .map_err(|source| LabelledRowsError::Parquet { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), reader })
    }

    fn broken(&self, source: ParquetError) -> LabelledRowsError {
        LabelledRowsError::Parquet { path: self.path.clone(), source }
    }

    fn value(
        &self,
        column: &str,
        row: usize,
        value: &dyn Display,
        expected: &str,
    ) -> LabelledRowsError {
        LabelledRowsError::Value {
            path: self.path.clone(),
            column: column.to_owned(),
            row,
            value: value.to_string(),
            expected: expected.to_owned(),
        }
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        let pairs = self.reader.metadata().file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    fn milliseconds(&self, key: &'static str) -> Result<u64, LabelledRowsError> {
        let found = self.metadata(key);
        let value = found.and_then(|text| u64::from_str(text).ok());
        value.filter(|ms| (1..=MAX_MS).contains(ms)).ok_or_else(|| LabelledRowsError::Metadata {
            path: self.path.clone(),
            key,
            found: found.map_or_else(|| "missing".to_owned(), |text| format!("{text:?}")),
            expected: format!("1 to {MAX_MS}, as `purkinje dataset` writes it"),
        })
    }

    /// Where a column is.
    fn place(&self, name: &str, physical: Physical) -> Result<usize, LabelledRowsError> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let fault = |found: String| LabelledRowsError::Column {
            path: self.path.clone(),
            column: name.to_owned(),
            found,
            expected: format!("{physical}, as `purkinje dataset` writes it"),
        };
        let place = schema.columns().iter().position(|column| column.path().string() == name);
        let place = place.ok_or_else(|| fault("missing".to_owned()))?;
        let column = schema.column(place);
        if column.max_rep_level() > 0 || column.max_def_level() > 1 {
            return Err(fault("nested".to_owned()));
        }
        if column.physical_type() != physical {
            return Err(fault(column.physical_type().to_string()));
        }
        Ok(place)
    }
}

/// Where the columns are.
struct Places {
    instrument: usize,
    cycle: usize,
    ts_cycle_ns: usize,
    ts_label_ns: usize,
    mid_x2: usize,
    move_bps: usize,
    mean_move_bps: usize,
    label: usize,
    mean_label: usize,
    oracle: usize,
    features: Vec<usize>,
}

impl Places {
    fn of(source: &Source, features: &[&'static str]) -> Result<Self, LabelledRowsError> {
        Ok(Self {
            instrument: source.place("instrument", Physical::BYTE_ARRAY)?,
            cycle: source.place("cycle", Physical::INT64)?,
            ts_cycle_ns: source.place("ts_cycle_ns", Physical::INT64)?,
            ts_label_ns: source.place("ts_label_ns", Physical::INT64)?,
            mid_x2: source.place("mid_x2", Physical::INT64)?,
            move_bps: source.place("move_bps", Physical::DOUBLE)?,
            mean_move_bps: source.place("mean_move_bps", Physical::DOUBLE)?,
            label: source.place("label", Physical::INT32)?,
            mean_label: source.place("mean_label", Physical::INT32)?,
            oracle: source.place("oracle", Physical::DOUBLE)?,
            features: features
                .iter()
                .map(|name| source.place(name, Physical::FLOAT))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The columns of one row group.
struct Columns<'a> {
    source: &'a Source,
    group: &'a dyn RowGroupReader,
    /// Rows of the groups before.
    first: usize,
}

impl Columns<'_> {
    /// A column without gaps.
    fn whole<T: DataType>(&self, place: usize) -> Result<Vec<T::T>, LabelledRowsError> {
        let mut values = Vec::new();
        for (at, value) in self.partial::<T>(place)?.into_iter().enumerate() {
            values.push(value.ok_or_else(|| {
                let schema = self.source.reader.metadata().file_metadata().schema_descr();
                let name = schema.column(place).name().to_owned();
                self.source.value(&name, self.first + at, &"null", "a value")
            })?);
        }
        Ok(values)
    }

    /// A column that may have gaps.
    fn partial<T: DataType>(&self, place: usize) -> Result<Vec<Option<T::T>>, LabelledRowsError> {
        let broken = |e| self.source.broken(e);
        let expected = usize::try_from(self.group.metadata().num_rows()).unwrap_or(0);
        let reader = self.group.get_column_reader(place).map_err(broken)?;
        let mut reader = get_typed_column_reader::<T>(reader);
        let schema = self.source.reader.metadata().file_metadata().schema_descr();
        let is_optional = schema.column(place).max_def_level() > 0;
        let (mut values, mut present) = (Vec::new(), Vec::new());
        let mut rows = 0;
        while rows < expected {
            let levels = is_optional.then_some(&mut present);
            let read = reader.read_records(expected - rows, levels, None, &mut values);
            let (records, _, _) = read.map_err(broken)?;
            if records == 0 {
                let text = format!("column {place} has {rows} rows, expected {expected}");
                return Err(broken(ParquetError::General(text)));
            }
            rows += records;
        }
        let mut values = values.into_iter();
        if !is_optional {
            return Ok(values.map(Some).collect());
        }
        Ok(present.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect())
    }
}
