//! Weights from a safetensors file, checked before anything is built from them.
//!
//! Invariants: a file is refused rather than read in part; every limit is checked before the memory it
//! bounds is asked for; what is taken has the shape that was asked for and holds finite numbers only;
//! no tensor goes unused, so that a misspelt name is an error and not a network without that layer.
//!
//! Format: <https://huggingface.co/docs/safetensors>; names follow PyTorch's `state_dict`.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::tensor::{Dtype, TensorInfo, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use thiserror::Error;

/// Longest header, bytes: room for [`TENSORS_MAX`] tensors with long names.
pub const HEADER_BYTES_MAX: usize = 1 << 20;
/// Most tensors of a file.
pub const TENSORS_MAX: usize = 4_096;
/// Longest file, bytes.
pub const FILE_BYTES_MAX: usize = 1 << 29;

/// Bytes of the header's length.
const PREFIX: usize = 8;
/// Names told of those that are too many.
const NAMES_TOLD: usize = 5;
/// What PyTorch's batch norm counts while it trains; nothing is computed from it.
const COUNTER: &str = "num_batches_tracked";

/// Why weights were refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WeightsError {
    /// The file is longer than any that is read.
    #[error("the file holds {bytes} bytes: expected at most {FILE_BYTES_MAX}")]
    FileTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The length of the header is none that a file can have.
    #[error(
        "the header's length is {bytes} in a file of {file_bytes}: expected at most \
         {HEADER_BYTES_MAX} and no more than the file"
    )]
    HeaderLength {
        /// What the first eight bytes say.
        bytes: u64,
        /// The file's length.
        file_bytes: usize,
    },
    /// The header is no list of tensors.
    #[error("the header: {message}")]
    Header {
        /// What is wrong and what was expected.
        message: String,
    },
    /// More tensors than any network here has.
    #[error("more than {TENSORS_MAX} tensors")]
    TooManyTensors,
    /// Two tensors of one name.
    #[error("{name}: expected once, found twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A tensor lies outside the file: it was cut, or its header is wrong.
    #[error("{name}: its bytes end at {end} of {bytes}; the file was cut or its header is wrong")]
    OutOfFile {
        /// The tensor.
        name: String,
        /// Where it ends, counted from the first byte behind the header.
        end: usize,
        /// Bytes behind the header.
        bytes: usize,
    },
    /// Shapes, types and places of tensors contradict each other or the file's length.
    #[error("the layout of tensors: {message}")]
    Layout {
        /// What is wrong.
        message: String,
    },
    /// Numbers of a type that is not read.
    #[error("{name}: numbers of type {found}, expected F32, F16, BF16 or F64")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A number that no weight can be.
    #[error("{name}[{index}] = {value}: expected a finite number of 32 bits")]
    NotFinite {
        /// The tensor.
        name: String,
        /// Which of its numbers, counted from 0 in memory order.
        index: usize,
        /// What it is.
        value: f64,
    },
    /// A tensor that the network needs is absent.
    #[error("{name}: missing, expected shape {expected:?}")]
    Missing {
        /// The tensor.
        name: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the network.
    #[error("{name}: shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor whose numbers cannot be what they stand for.
    #[error("{name}[{index}] = {value}: expected {expected}")]
    Value {
        /// The tensor.
        name: String,
        /// Which of its numbers.
        index: usize,
        /// What it is.
        value: f32,
        /// What it should be.
        expected: &'static str,
    },
    /// Tensors that the network has no place for.
    #[error("unknown tensors, {count} of them: {}", names.join(", "))]
    Unknown {
        /// How many there are.
        count: usize,
        /// The first of them by name.
        names: Vec<String>,
    },
}

/// The tensors of a file that have not been taken yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors {
    by_name: BTreeMap<String, Tensor>,
}

#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensors {
    /// Reads a whole file. Numbers of type F16, BF16 and F64 become 32 bits wide.
    ///
    /// # Errors
    /// [`WeightsError`] for whatever is not as the format or the limits of this module say.
    pub fn read(bytes: &[u8]) -> Result<Self, WeightsError> {
        check_header(bytes)?;
        let layout =
            |e: SafeTensorError| WeightsError::Layout { message: without_quotes(&e.to_string()) };
        let file = SafeTensors::deserialize(bytes).map_err(layout)?;
        let mut views: Vec<_> = file.iter().collect();
        // The file's own order is that of a hash: the first fault told must not depend on it.
        views.sort_unstable_by_key(|(name, _)| *name);
        let mut by_name = BTreeMap::new();
        for (name, view) in views {
            if is_counter(name, &view) {
                continue;
            }
            let values = numbers(name, view.dtype(), view.data())?;
            let tensor = Tensor { shape: view.shape().to_vec(), values };
            by_name.insert(name.to_owned(), tensor);
        }
        Ok(Self { by_name })
    }

    /// Adds a tensor that comes from elsewhere: its numbers in row-major order.
    ///
    /// # Errors
    /// [`WeightsError::NotFinite`], and [`WeightsError::Duplicate`] for a second one of a name.
    pub(super) fn insert(
        &mut self,
        name: &str,
        shape: &[usize],
        values: Vec<f32>,
    ) -> Result<(), WeightsError> {
        let name = name.to_owned();
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let value = f64::from(values[index]);
            return Err(WeightsError::NotFinite { name, index, value });
        }
        let tensor = Tensor { shape: shape.to_vec(), values };
        match self.by_name.insert(name.clone(), tensor) {
            None => Ok(()),
            Some(_) => Err(WeightsError::Duplicate { name }),
        }
    }

    /// Whether a tensor of that name is there and not taken yet.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Those not taken yet, by name: name, shape, and numbers in row-major order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize], &[f32])> {
        let parts = |(name, tensor)| {
            let (name, tensor): (&String, &Tensor) = (name, tensor);
            (name.as_str(), &tensor.shape[..], &tensor.values[..])
        };
        self.by_name.iter().map(parts)
    }

    /// Takes a tensor: its numbers in row-major order.
    ///
    /// # Errors
    /// [`WeightsError::Missing`] and [`WeightsError::Shape`].
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        self.take_optional(name, shape)?.ok_or_else(|| WeightsError::Missing {
            name: name.to_owned(),
            expected: shape.to_vec(),
        })
    }

    /// Takes a tensor if it is there.
    ///
    /// # Errors
    /// [`WeightsError::Shape`].
    pub fn take_optional(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Option<Vec<f32>>, WeightsError> {
        let Some(tensor) = self.by_name.get(name) else { return Ok(None) };
        if tensor.shape != shape {
            return Err(WeightsError::Shape {
                name: name.to_owned(),
                found: tensor.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        Ok(self.by_name.remove(name).map(|tensor| tensor.values))
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// [`WeightsError::Unknown`] where tensors are left.
    pub fn finish(self) -> Result<(), WeightsError> {
        let count = self.by_name.len();
        if count == 0 {
            return Ok(());
        }
        let names = self.by_name.into_keys().take(NAMES_TOLD).collect();
        Err(WeightsError::Unknown { count, names })
    }
}

/// Length, number of tensors, double names and places, none of which the reader behind it bounds.
fn check_header(bytes: &[u8]) -> Result<(), WeightsError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(WeightsError::FileTooLong { bytes: bytes.len() });
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        let message = format!("the file holds {} bytes, expected at least {PREFIX}", bytes.len());
        return Err(WeightsError::Header { message });
    };
    let stated = u64::from_le_bytes(*prefix);
    let len = usize::try_from(stated).ok().filter(|n| *n <= HEADER_BYTES_MAX.min(rest.len()));
    let Some(len) = len else {
        return Err(WeightsError::HeaderLength { bytes: stated, file_bytes: bytes.len() });
    };
    let (header, data) = rest.split_at(len);
    let mut reader = serde_json::Deserializer::from_slice(header);
    let listed = reader
        .deserialize_map(Listing)
        .and_then(|listed| reader.end().map(|()| listed))
        .map_err(|e| WeightsError::Header { message: e.to_string() })?;
    if listed.is_too_long {
        return Err(WeightsError::TooManyTensors);
    }
    let mut names: Vec<_> = listed.tensors.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(WeightsError::Duplicate { name: twice[0].clone() });
    }
    for (name, info) in &listed.tensors {
        let end = info.data_offsets.1;
        if end > data.len() {
            return Err(WeightsError::OutOfFile { name: name.clone(), end, bytes: data.len() });
        }
    }
    Ok(())
}

/// The entries of a header in the file's order, double names among them.
#[derive(Default)]
struct Listed {
    tensors: Vec<(String, TensorInfo)>,
    is_too_long: bool,
}

struct Listing;

impl<'de> Visitor<'de> for Listing {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
        let mut listed = Listed::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" || listed.is_too_long {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let info = map.next_value().map_err(|e| A::Error::custom(format!("{name}: {e}")))?;
            listed.tensors.push((name, info));
            listed.is_too_long = listed.tensors.len() > TENSORS_MAX;
        }
        Ok(listed)
    }
}

fn without_quotes(message: &str) -> String {
    message.replace('`', "")
}

fn is_counter(name: &str, view: &TensorView<'_>) -> bool {
    view.dtype() == Dtype::I64
        && view.shape().is_empty()
        && name.rsplit('.').next().is_some_and(|last| last == COUNTER)
}

fn numbers(name: &str, dtype: Dtype, data: &[u8]) -> Result<Vec<f32>, WeightsError> {
    let numbers = match dtype {
        Dtype::F32 => exact(data, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F64 => exact(data, f64::from_le_bytes),
        Dtype::F16 => exact(data, |b| f64::from(half(u16::from_le_bytes(b)))),
        Dtype::BF16 => {
            exact(data, |b| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)))
        }
        other => {
            return Err(WeightsError::Dtype { name: name.to_owned(), found: other.to_string() });
        }
    };
    numbers.map_err(|(index, value)| WeightsError::NotFinite {
        name: name.to_owned(),
        index,
        value,
    })
}

/// The numbers of `N` bytes each, or the first that is not finite at 32 bits.
fn exact<const N: usize>(
    data: &[u8],
    read: impl Fn([u8; N]) -> f64,
) -> Result<Vec<f32>, (usize, f64)> {
    let (numbers, _) = data.as_chunks::<N>();
    let narrow = |(index, bytes): (usize, &[u8; N])| {
        let wide = read(*bytes);
        let number = wide as f32;
        if number.is_finite() { Ok(number) } else { Err((index, wide)) }
    };
    numbers.iter().enumerate().map(narrow).collect()
}

/// A number of IEEE 754's binary16.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => mantissa * 2.0_f32.powi(-24),
        31 if mantissa == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + mantissa) * 2.0_f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with that header.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn one(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!(
            r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{}]}}}}"#,
            data.len()
        );
        file(&header, data)
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn refusal(bytes: &[u8]) -> String {
        Tensors::read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_tensor_is_what_was_written_whatever_its_type() {
        let want = [1.0, -0.5, 65504.0, 0.0, 6.103_515_6e-5, 5.960_464_5e-8];
        let f16: Vec<u8> = [0x3c00_u16, 0xb800, 0x7bff, 0, 0x0400, 0x0001]
            .iter()
            .flat_map(|h| h.to_le_bytes())
            .collect();
        let f64: Vec<u8> = want.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
        for (dtype, data) in [("F32", floats(&want)), ("F16", f16), ("F64", f64)] {
            let mut tensors = Tensors::read(&one(dtype, "[2,3]", &data)).unwrap();
            assert_eq!(tensors.take("a", &[2, 3]).unwrap(), want, "{dtype}");
            tensors.finish().unwrap();
        }
        let mut tensors = Tensors::read(&one("BF16", "[2]", &[0x80, 0x3f, 0x49, 0xc0])).unwrap();
        assert_eq!(tensors.take("a", &[2]).unwrap(), [1.0, -3.140_625]);
    }

    #[test]
    fn a_header_of_two_gigabytes_is_refused_by_its_length_alone() {
        let mut bytes = one("F32", "[1]", &floats(&[1.0]));
        let file_bytes = bytes.len();
        bytes[..8].copy_from_slice(&(2_u64 << 30).to_le_bytes());
        let expected = WeightsError::HeaderLength { bytes: 2 << 30, file_bytes };
        assert_eq!(Tensors::read(&bytes), Err(expected));
        bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(refusal(&bytes).contains("18446744073709551615"));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = one("F32", "[2,2]", &floats(&[1.0, 2.0, 3.0, 4.0]));
        assert!(Tensors::read(&whole).is_ok());
        for len in 0..whole.len() {
            let _ = refusal(&whole[..len]);
        }
        let told = refusal(&whole[..whole.len() - 1]);
        assert!(told.starts_with("a: its bytes end at 16 of 15"), "{told}");
        let longer = [&whole[..], &[0]].concat();
        assert!(refusal(&longer).contains("not fully covered"));
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        for (value, text) in
            [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")]
        {
            let told = refusal(&one("F32", "[3]", &floats(&[0.0, 1.0, value])));
            assert_eq!(told, format!("a[2] = {text}: expected a finite number of 32 bits"));
        }
        let told = refusal(&one("F64", "[1]", &1e300_f64.to_le_bytes()));
        assert!(told.starts_with("a[0] = 1000000"), "{told}");
        let told = refusal(&one("F16", "[1]", &0x7e00_u16.to_le_bytes()));
        assert!(told.starts_with("a[0] = NaN"), "{told}");
    }

    #[test]
    fn shapes_and_types_and_names_that_do_not_fit_are_told() {
        let bytes = one("F32", "[2,1]", &floats(&[1.0, 2.0]));
        let mut tensors = Tensors::read(&bytes).unwrap();
        let told = tensors.take("a", &[1, 2]).unwrap_err().to_string();
        assert_eq!(told, "a: shape [2, 1], expected [1, 2]");
        let told = tensors.take("b", &[7]).unwrap_err().to_string();
        assert_eq!(told, "b: missing, expected shape [7]");
        assert_eq!(tensors.take_optional("b", &[7]), Ok(None));
        assert_eq!(tensors.finish().unwrap_err().to_string(), "unknown tensors, 1 of them: a");

        let told = refusal(&one("I64", "[1]", &[0; 8]));
        assert_eq!(told, "a: numbers of type I64, expected F32, F16, BF16 or F64");
        assert!(refusal(&one("F32", "[3]", &[0; 8])).contains("shape, data type, or offset"));
        assert!(refusal(&one("F32", "[4294967296,4294967296]", &[0; 8])).contains("overflow"));
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        let entry = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        let told = refusal(&file(&format!("{{{entry},{entry}}}"), &[0; 4]));
        assert_eq!(told, "a: expected once, found twice");
    }

    #[test]
    fn sizes_that_add_up_beyond_the_address_space_are_refused() {
        // Each is in range by itself; their sum is not.
        let mut entries = Vec::new();
        let size = 1_u64 << 60;
        for i in 0..15 {
            let (start, end) = (i * size, (i + 1) * size);
            entries.push(format!(
                r#""{i:02}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#
            ));
        }
        let told = refusal(&file(&format!("{{{}}}", entries.join(",")), &[0; 4]));
        assert!(told.starts_with("00: its bytes end at 1152921504606846976 of 4"), "{told}");
    }

    #[test]
    fn too_many_tensors_are_refused() {
        let entries: Vec<_> = (0..=TENSORS_MAX)
            .map(|i| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#))
            .collect();
        let all = file(&format!("{{{}}}", entries.join(",")), &[]);
        assert_eq!(Tensors::read(&all), Err(WeightsError::TooManyTensors));
        let some = file(&format!("{{{}}}", entries[1..].join(",")), &[]);
        assert_eq!(Tensors::read(&some).unwrap().by_name.len(), TENSORS_MAX);
    }

    #[test]
    fn batch_norms_counter_is_no_weight() {
        let header =
            r#"{"norms.0.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}"#;
        Tensors::read(&file(header, &[1; 8])).unwrap().finish().unwrap();
    }

    #[test]
    fn a_header_that_is_no_table_is_refused() {
        for (header, fault) in [
            ("", "EOF"),
            ("[]", "expected a table of tensors"),
            ("{\"a\":1}", "a: invalid type: integer `1`"),
            ("{} x", "trailing characters"),
            ("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", "a: missing field `data_offsets`"),
            (
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
                "a: invalid value",
            ),
        ] {
            let told = refusal(&file(header, &[0; 4]));
            assert!(told.starts_with("the header: ") && told.contains(fault), "{header}: {told}");
        }
    }
}
