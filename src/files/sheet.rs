//! One Parquet file, row by row, through the column writers of the `parquet` crate.
//!
//! Invariants: at most [`ROW_GROUP_ROWS`] rows are in memory; the file has its name only once it is
//! complete and on the device, and before that is `.NAME.parquet.tmp`, which goes when writing fails; the same
//! rows give the same bytes.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::{
    basic::{Compression, Repetition},
    data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::{parser::parse_message_type, types::Type},
};

use thiserror::Error;

use super::atomic_file::{AtomicFileError, put_in_place};

/// Why a file cannot be written.
#[derive(Debug, Error)]
pub enum SheetError {
    /// The disk refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The name has no end that says what the file is.
    #[error("{}: expected a file named NAME.parquet", path.display())]
    Name {
        /// As given.
        path: PathBuf,
    },
    /// A file is in the way.
    #[error("{}: exists already and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The complete file cannot have its name.
    #[error(transparent)]
    Place(#[from] AtomicFileError),
    /// The Parquet writer refuses.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: ParquetError,
    },
}

/// Folder and name, without its end, of the file that a user asks for as `FOLDER/NAME.parquet`.
///
/// # Errors
/// [`SheetError::Name`].
pub fn place(path: &Path) -> Result<(&Path, &str), SheetError> {
    let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".parquet"));
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(SheetError::Name { path: path.to_owned() });
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok((folder.unwrap_or(Path::new(".")), name))
}

/// Rows of a row group.
const ROW_GROUP_ROWS: usize = 1 << 16;

/// One value.
#[derive(Clone, Debug)]
pub enum Cell {
    /// None, in an optional column.
    Null,
    /// An `int64`.
    I64(i64),
    /// An `int32`.
    I32(i32),
    /// A `float`.
    F32(f32),
    /// A `double`.
    F64(f64),
    /// A `boolean`.
    Bool(bool),
    /// A string; its bytes are shared, not copied.
    Text(ByteArray),
}

/// The rows of one column that are not written yet.
#[derive(Debug)]
struct Column {
    values: Values,
    /// Of an optional column: 1 where there is a value, 0 where there is none.
    present: Option<Vec<i16>>,
}

#[derive(Debug)]
enum Values {
    I64(Vec<i64>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Text(Vec<ByteArray>),
}

/// One file being written.
pub struct Sheet {
    path: PathBuf,
    temporary: PathBuf,
    /// None once the file is complete.
    writer: Option<SerializedFileWriter<File>>,
    columns: Vec<Column>,
    buffered: usize,
    rows: u64,
}

impl Sheet {
    /// Begins `NAME.parquet` in a folder; the schema is a Parquet message, the metadata keys and values
    /// that are kept with it.
    ///
    /// # Errors
    /// It exists already, or cannot be created.
    pub fn create(
        dir: &Path,
        name: &str,
        schema: &str,
        metadata: &[(&str, String)],
    ) -> Result<Self, SheetError> {
        let path = dir.join(format!("{name}.parquet"));
        if path.exists() {
            return Err(SheetError::Exists { path });
        }
        let temporary = dir.join(format!(".{name}.parquet.tmp"));
        let file = File::create(&temporary)
            .map_err(|source| SheetError::Io { path: temporary.clone(), source })?;
        let parquet = |source| SheetError::Parquet { path: path.clone(), source };
        let schema = Arc::new(parse_message_type(schema).map_err(parquet)?);
        let columns = schema.get_fields().iter().map(|f| Column::of(f)).collect();
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("purkinje ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata((!metadata.is_empty()).then(|| {
                let pair =
                    |(key, value): &(&str, String)| KeyValue::new((*key).to_owned(), value.clone());
                metadata.iter().map(pair).collect()
            }))
            .build();
        let writer =
            SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(parquet)?;
        Ok(Self { path, temporary, writer: Some(writer), columns, buffered: 0, rows: 0 })
    }

    /// Appends one row, a cell a column.
    ///
    /// # Errors
    /// The disk refuses, or a cell is not of its column's type.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) -> Result<(), SheetError> {
        let mut cells = row.into_iter();
        let mut fits = true;
        for column in &mut self.columns {
            fits &= cells.next().is_some_and(|cell| column.push(cell));
        }
        if !fits || cells.next().is_some() {
            let source = ParquetError::General("a row that is not of the schema".to_owned());
            return Err(SheetError::Parquet { path: self.path.clone(), source });
        }
        self.buffered += 1;
        self.rows += 1;
        if self.buffered == ROW_GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    /// Completes the file and gives it its name; its path and number of rows.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(mut self) -> Result<(PathBuf, u64), SheetError> {
        self.flush()?;
        let path = self.path.clone();
        if let Some(writer) = self.writer.as_mut() {
            let outcome = writer.finish();
            outcome.map_err(|source| SheetError::Parquet { path: path.clone(), source })?;
            put_in_place(writer.inner(), &self.temporary, &path)?;
        }
        self.writer = None;
        Ok((path, self.rows))
    }

    fn flush(&mut self) -> Result<(), SheetError> {
        if self.buffered == 0 {
            return Ok(());
        }
        self.buffered = 0;
        let Self { writer: Some(writer), columns, path, .. } = self else { return Ok(()) };
        let parquet = |source| SheetError::Parquet { path: path.clone(), source };
        let mut group = writer.next_row_group().map_err(parquet)?;
        for column in columns {
            column.write(&mut group).map_err(parquet)?;
        }
        group.close().map_err(parquet)?;
        Ok(())
    }
}

impl Drop for Sheet {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

impl Column {
    fn of(field: &Type) -> Self {
        use parquet::basic::Type as Physical;
        let values = match field.get_physical_type() {
            Physical::INT32 => Values::I32(Vec::new()),
            Physical::FLOAT => Values::F32(Vec::new()),
            Physical::DOUBLE => Values::F64(Vec::new()),
            Physical::BOOLEAN => Values::Bool(Vec::new()),
            Physical::BYTE_ARRAY => Values::Text(Vec::new()),
            _ => Values::I64(Vec::new()),
        };
        let is_optional = field.get_basic_info().repetition() == Repetition::OPTIONAL;
        Self { values, present: is_optional.then(Vec::new) }
    }

    /// Whether the cell is of this column.
    fn push(&mut self, cell: Cell) -> bool {
        let is_present = !matches!(cell, Cell::Null);
        match (&mut self.values, cell) {
            (Values::I64(values), Cell::I64(value)) => values.push(value),
            (Values::I32(values), Cell::I32(value)) => values.push(value),
            (Values::F32(values), Cell::F32(value)) => values.push(value),
            (Values::F64(values), Cell::F64(value)) => values.push(value),
            (Values::Bool(values), Cell::Bool(value)) => values.push(value),
            (Values::Text(values), Cell::Text(value)) => values.push(value),
            (_, Cell::Null) if self.present.is_some() => {}
            _ => return false,
        }
        if let Some(present) = &mut self.present {
            present.push(i16::from(is_present));
        }
        true
    }

    /// Writes what there is as the next column of the row group, and forgets it.
    fn write(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, File>,
    ) -> Result<(), ParquetError> {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General("more columns than the schema has".to_owned()));
        };
        let present = self.present.as_deref();
        match &mut self.values {
            Values::I64(values) => {
                column.typed::<Int64Type>().write_batch(values, present, None)?;
                values.clear();
            }
            Values::I32(values) => {
                column.typed::<Int32Type>().write_batch(values, present, None)?;
                values.clear();
            }
            Values::F32(values) => {
                column.typed::<FloatType>().write_batch(values, present, None)?;
                values.clear();
            }
            Values::F64(values) => {
                column.typed::<DoubleType>().write_batch(values, present, None)?;
                values.clear();
            }
            Values::Bool(values) => {
                column.typed::<BoolType>().write_batch(values, present, None)?;
                values.clear();
            }
            Values::Text(values) => {
                column.typed::<ByteArrayType>().write_batch(values, present, None)?;
                values.clear();
            }
        }
        if let Some(present) = &mut self.present {
            present.clear();
        }
        column.close()
    }
}
