//! Walks over the bytes of a file before anything is made of them.
//!
//! A message of two bytes takes a hundred when decoded, so the length of a file alone does not bound the
//! memory that decoding asks for. Invariants: nothing is allocated here; what passes has at most
//! [`FIELDS_MAX`] fields, [`VARINT_BYTES_MAX`] bytes of packed whole numbers and [`DEPTH_MAX`] messages
//! within one another, and no length points outside its message.
//!
//! Format: <https://protobuf.dev/programming-guides/encoding/>.

use thiserror::Error;

/// Most fields of all messages of a file.
pub const FIELDS_MAX: usize = 1 << 18;
/// Most bytes of packed whole numbers: each byte may become a number of eight.
pub const VARINT_BYTES_MAX: usize = 1 << 24;
/// Most messages within one another: a model is one, its graph the second.
pub const DEPTH_MAX: usize = 24;

/// Why a file is not decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// A length points outside.
    #[error(
        "{path}: {stated} bytes from byte {at} on, where {left} are left; the file was cut or is no ONNX model"
    )]
    Cut {
        /// Field numbers from the model down.
        path: String,
        /// Where the length ends, counted from the file's first byte.
        at: usize,
        /// What it says.
        stated: u64,
        /// What there is.
        left: usize,
    },
    /// No field can begin like this.
    #[error("byte {at} begins no field; the file was cut or is no ONNX model")]
    NoField {
        /// Counted from the file's first byte.
        at: usize,
    },
    /// More fields than any network here has.
    #[error("more than {FIELDS_MAX} fields")]
    TooManyFields,
    /// More packed whole numbers than any network here has.
    #[error("more than {VARINT_BYTES_MAX} bytes of packed whole numbers")]
    TooManyNumbers,
    /// Messages too deep within one another.
    #[error("more than {DEPTH_MAX} messages within one another")]
    TooDeep,
}

/// The messages that are decoded, as far as their fields differ in kind.
#[derive(Clone, Copy)]
enum Message {
    Model,
    OperatorSet,
    Function,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    Entry,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Dimension,
}

/// What bytes of a length are.
enum Payload {
    Message(Message),
    Varints,
    /// Text, floats, bytes of a tensor or nothing that is decoded: no longer in memory than here.
    Plain,
}

impl Message {
    fn payload(self, field: u64) -> Payload {
        let message = match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 8) => Self::OperatorSet,
            (Self::Model, 25) => Self::Function,
            (Self::Function, 7) | (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => {
                Self::Tensor
            }
            (Self::Graph, 11 | 12) => Self::ValueInfo,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Node, 5) => Self::Attribute,
            (Self::Tensor, 13) => Self::Entry,
            (Self::ValueInfo, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Shape, 1) => Self::Dimension,
            (Self::Tensor, 1 | 7) | (Self::Attribute, 8) => return Payload::Varints,
            _ => return Payload::Plain,
        };
        Payload::Message(message)
    }
}

/// Whether a file may be decoded.
///
/// # Errors
/// [`WireError`].
pub(super) fn check(bytes: &[u8]) -> Result<(), WireError> {
    let mut walk = Walk { bytes, fields: 0, varint_bytes: 0, path: [0; DEPTH_MAX] };
    walk.message(Message::Model, 0, bytes.len(), 0)
}

struct Walk<'a> {
    bytes: &'a [u8],
    fields: usize,
    varint_bytes: usize,
    path: [u64; DEPTH_MAX],
}

impl Walk<'_> {
    fn message(
        &mut self,
        message: Message,
        start: usize,
        end: usize,
        depth: usize,
    ) -> Result<(), WireError> {
        if depth == DEPTH_MAX {
            return Err(WireError::TooDeep);
        }
        let mut at = start;
        while at < end {
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(WireError::TooManyFields);
            }
            let begins = at;
            let key = self.varint(&mut at, end)?;
            let field = key >> 3;
            self.path[depth] = field;
            let stated = match key & 7 {
                0 => {
                    self.varint(&mut at, end)?;
                    continue;
                }
                1 => 8,
                2 => self.varint(&mut at, end)?,
                5 => 4,
                _ => return Err(WireError::NoField { at: begins }),
            };
            let left = end - at;
            let Some(len) = usize::try_from(stated).ok().filter(|len| *len <= left) else {
                let path = self.path[..=depth].iter().map(|field| format!("field {field}"));
                let path = path.collect::<Vec<_>>().join(", ");
                return Err(WireError::Cut { path, at, stated, left });
            };
            if key & 7 == 2 {
                match message.payload(field) {
                    Payload::Message(inner) => self.message(inner, at, at + len, depth + 1)?,
                    Payload::Varints => self.varint_bytes += len,
                    Payload::Plain => {}
                }
                if self.varint_bytes > VARINT_BYTES_MAX {
                    return Err(WireError::TooManyNumbers);
                }
            }
            at += len;
        }
        Ok(())
    }

    fn varint(&self, at: &mut usize, end: usize) -> Result<u64, WireError> {
        let begins = *at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            if *at == end {
                break;
            }
            let byte = self.bytes[*at];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::NoField { at: begins })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_of_two_gigabytes_is_refused_by_its_length_alone() {
        // Field 7, the graph; within it field 5, a tensor, which says it has 2^31 bytes.
        let told = check(&[0x3a, 6, 0x2a, 0x80, 0x80, 0x80, 0x80, 0x08]).unwrap_err().to_string();
        assert!(told.starts_with("field 7, field 5: 2147483648 bytes from byte 8 on"), "{told}");
    }

    #[test]
    fn many_small_messages_are_counted_before_they_are_decoded() {
        let node = [0x0a, 0];
        let graph = |nodes: usize| {
            let mut bytes = vec![0x3a];
            prost::encoding::encode_varint((2 * nodes) as u64, &mut bytes);
            bytes.extend(node.repeat(nodes));
            bytes
        };
        assert_eq!(check(&graph(FIELDS_MAX - 1)), Ok(()));
        assert_eq!(check(&graph(FIELDS_MAX)), Err(WireError::TooManyFields));
    }

    #[test]
    fn graphs_within_graphs_come_to_an_end() {
        // Model, graph, node, attribute, graph, node, attribute, ...
        let mut bytes = Vec::new();
        for level in 0..DEPTH_MAX {
            let key = [0x32, 0x2a, 0x0a][level % 3];
            bytes = [&[key, bytes.len() as u8], &bytes[..]].concat();
        }
        bytes = [&[0x3a, bytes.len() as u8], &bytes[..]].concat();
        assert_eq!(check(&bytes), Err(WireError::TooDeep));
    }

    #[test]
    fn packed_numbers_are_bounded_and_other_bytes_are_not() {
        let tensor = |field: u8, len: usize| {
            let mut inner = vec![field << 3 | 2];
            prost::encoding::encode_varint(len as u64, &mut inner);
            inner.resize(inner.len() + len, 0);
            let mut bytes = vec![0x2a];
            prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
            let inner = [bytes, inner].concat();
            let mut bytes = vec![0x3a];
            prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
            [bytes, inner].concat()
        };
        assert_eq!(check(&tensor(7, VARINT_BYTES_MAX)), Ok(()));
        assert_eq!(check(&tensor(7, VARINT_BYTES_MAX + 1)), Err(WireError::TooManyNumbers));
        assert_eq!(check(&tensor(9, VARINT_BYTES_MAX + 1)), Ok(()));
    }

    #[test]
    fn what_is_no_protobuf_is_refused() {
        for bytes in [&[0x3b][..], &[0xff; 12], &[0x3a, 1], b"PK\x03\x04 a zip file"] {
            assert!(check(bytes).is_err(), "{bytes:?}");
        }
    }
}
