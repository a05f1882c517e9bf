//! Finds the files in which an ONNX model keeps weights outside of its own file.
//!
//! ONNX Runtime opens these files by itself and offers no list of them. So this module reads
//! the model's file, which is a Protocol Buffers message: only the few fields that lead to
//! tensors. Everything else is skipped with a seek, so that a model of gigabytes takes neither
//! the time nor the memory to read it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use super::ModelError;

/// A file that holds weights of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalData {
    /// Its path below the directory of the model's file.
    pub location: PathBuf,
    /// The size that it has at least, in bytes.
    pub size: u64,
}

/// The files with weights of the ONNX model at `path`, in order.
///
/// # Errors
///
/// If the model cannot be read, is not an ONNX model, or names a file outside of its own
/// directory.
pub fn external_data(path: &Path) -> Result<Vec<ExternalData>, ModelError> {
    let failed = |reason: String| ModelError {
        path: path.to_owned(),
        reason,
    };
    let found = find(path).map_err(|error| failed(error.to_string()))?;
    let mut files = Vec::new();
    for (location, size) in found {
        let location = PathBuf::from(location);
        let is_below = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !location.components().all(is_below) {
            return Err(failed(format!(
                "its weights are in {}, which is not in its directory",
                location.display()
            )));
        }
        // Without `.`, so that a file has one name.
        let location = location
            .components()
            .filter(|part| *part != Component::CurDir);
        files.push(ExternalData {
            location: location.collect(),
            size,
        });
    }
    Ok(files)
}

/// A kind of message, of those that lead to tensors. The numbers are those of `onnx.proto`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
}

impl Message {
    /// The message in a field of this one.
    fn child(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Model, 25) => Some(Self::Function),
            (Self::Graph, 1) | (Self::Function, 7) => Some(Self::Node),
            (Self::Node, 5) | (Self::Function, 11) => Some(Self::Attribute),
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Some(Self::SparseTensor),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => {
                Some(Self::Tensor)
            }
            _ => None,
        }
    }
}

/// The fields of a tensor that say where its data are.
const EXTERNAL_DATA: u64 = 13;
const DATA_LOCATION: u64 = 14;
/// The value of `data_location` for data in another file.
const EXTERNAL: u64 = 1;

/// How deep messages may be nested, which is also the limit of Protocol Buffers.
const MAX_DEPTH: u32 = 100;
/// The longest key or value of a tensor's `external_data`, in bytes.
const MAX_STRING: u64 = 4096;

/// Where a tensor's data are.
#[derive(Default)]
struct Place {
    is_external: bool,
    location: Option<String>,
    offset: u64,
    length: u64,
}

/// Each location of data, with the size that its file has at least.
fn find(path: &Path) -> io::Result<BTreeMap<String, u64>> {
    let file = File::open(path)?;
    let end = file.metadata()?.len();
    let mut reader = Reader {
        input: BufReader::new(file),
        at: 0,
        found: BTreeMap::new(),
    };
    reader.message(Message::Model, end, MAX_DEPTH)?;
    Ok(reader.found)
}

/// Reads messages one field after the other.
struct Reader {
    input: BufReader<File>,
    /// The position in the file.
    at: u64,
    found: BTreeMap<String, u64>,
}

/// A field of a message: its value, or where its bytes end.
enum Value {
    Number(u64),
    Bytes(u64),
}

impl Reader {
    /// Reads a message that ends at `end`.
    fn message(&mut self, message: Message, end: u64, depth: u32) -> io::Result<()> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| malformed("nested too deeply"))?;
        let mut place = Place::default();
        while self.at < end {
            let (field, value) = self.field(end)?;
            match value {
                Value::Number(number) => {
                    if message == Message::Tensor && field == DATA_LOCATION {
                        place.is_external = number == EXTERNAL;
                    }
                }
                Value::Bytes(until) => match message.child(field) {
                    Some(child) => self.message(child, until, depth)?,
                    None if message == Message::Tensor && field == EXTERNAL_DATA => {
                        self.entry(&mut place, until)?;
                    }
                    None => self.skip_to(until)?,
                },
            }
        }
        if let Place {
            is_external: true,
            location: Some(location),
            offset,
            length,
        } = place
        {
            let size = self.found.entry(location).or_default();
            *size = (*size).max(offset.saturating_add(length));
        }
        Ok(())
    }

    /// Reads an entry of a tensor's `external_data`: a key and a value.
    fn entry(&mut self, place: &mut Place, end: u64) -> io::Result<()> {
        let (mut key, mut text) = (String::new(), String::new());
        while self.at < end {
            match self.field(end)? {
                (1, Value::Bytes(until)) => key = self.string(until)?,
                (2, Value::Bytes(until)) => text = self.string(until)?,
                (_, Value::Bytes(until)) => self.skip_to(until)?,
                (_, Value::Number(_)) => {}
            }
        }
        let number = || text.parse().map_err(|_| malformed("a number is not one"));
        match &*key {
            "offset" => place.offset = number()?,
            "length" => place.length = number()?,
            "location" => place.location = Some(text),
            _ => {}
        }
        Ok(())
    }

    /// Reads the number of a field, and its value unless that is bytes.
    fn field(&mut self, end: u64) -> io::Result<(u64, Value)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                let until = self.until(8, end)?;
                self.skip_to(until)?;
                Value::Number(0)
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.until(length, end)?)
            }
            5 => {
                let until = self.until(4, end)?;
                self.skip_to(until)?;
                Value::Number(0)
            }
            _ => return Err(malformed("a field has an unknown type")),
        };
        Ok((tag >> 3, value))
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.input.read_exact(&mut byte)?;
            self.at += 1;
            number |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(number);
            }
        }
        Err(malformed("a number is too long"))
    }

    fn string(&mut self, until: u64) -> io::Result<String> {
        let length = until - self.at;
        if length > MAX_STRING {
            return Err(malformed("the name of a file is too long"));
        }
        let mut text = String::new();
        let mut bytes = Read::by_ref(&mut self.input).take(length);
        bytes.read_to_string(&mut text)?;
        self.at = until;
        Ok(text)
    }

    /// The end of the next `length` bytes, which must not be beyond `end`.
    fn until(&self, length: u64, end: u64) -> io::Result<u64> {
        let until = self.at.checked_add(length).filter(|until| *until <= end);
        until.ok_or_else(|| malformed("it ends too early"))
    }

    fn skip_to(&mut self, until: u64) -> io::Result<()> {
        let distance = i64::try_from(until - self.at).map_err(io::Error::other)?;
        self.input.seek_relative(distance)?;
        self.at = until;
        Ok(())
    }
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A field whose value is bytes.
    fn bytes(field: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
        let content = content.as_ref();
        let mut message = vec![field << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            message.push(length.to_le_bytes()[0] | 0x80);
            length >>= 7;
        }
        message.push(length.to_le_bytes()[0]);
        [&message, content].concat()
    }

    fn pair(key: &str, value: &str) -> Vec<u8> {
        bytes(13, [bytes(1, key), bytes(2, value)].concat())
    }

    /// A tensor with data in another file.
    fn external(location: &str, offset: &str, length: &str) -> Vec<u8> {
        [
            // One dimension of 2.
            vec![1 << 3, 2],
            pair("location", location),
            pair("offset", offset),
            pair("length", length),
            vec![14 << 3, 1],
        ]
        .concat()
    }

    fn found(model: &[u8]) -> Result<Vec<(PathBuf, u64)>, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.onnx");
        fs::write(&path, model).unwrap();
        let files = external_data(&path)?.into_iter();
        Ok(files.map(|file| (file.location, file.size)).collect())
    }

    #[test]
    fn files_are_found_wherever_a_tensor_may_be() {
        let inner = [
            // An attribute whose value is a tensor, and one whose value is a graph.
            bytes(5, bytes(5, external("./attribute", "0", "1"))),
            bytes(5, bytes(6, bytes(5, external("inner", "0", "2")))),
        ]
        .concat();
        let graph = [
            // An initializer with data of its own, longer than a buffer.
            bytes(5, bytes(9, vec![7; 100_000])),
            bytes(5, external("weights/model.bin", "4096", "100")),
            bytes(5, external("weights/model.bin", "0", "4096")),
            bytes(1, inner),
            bytes(15, bytes(1, external("sparse", "8", "8"))),
        ]
        .concat();
        let model = [vec![1 << 3, 8], bytes(2, "a producer"), bytes(7, graph)].concat();
        let expected = [
            ("attribute", 1),
            ("inner", 2),
            ("sparse", 16),
            ("weights/model.bin", 4196),
        ];
        let expected: Vec<_> = expected
            .map(|(name, size)| (PathBuf::from(name), size))
            .into();
        assert_eq!(found(&model).unwrap(), expected);
    }

    #[test]
    fn a_tensor_that_is_not_external_needs_no_file() {
        // Without `data_location`, which decides.
        let tensor = pair("location", "left-over");
        let model = bytes(7, bytes(5, tensor));
        assert_eq!(found(&model).unwrap(), []);
        assert_eq!(found(b"").unwrap(), []);
    }

    #[test]
    fn a_file_outside_of_the_directory_is_refused() {
        for location in ["../weights", "a/../../weights", "/etc/passwd"] {
            let model = bytes(7, bytes(5, external(location, "0", "0")));
            let error = found(&model).unwrap_err().to_string();
            assert!(error.contains(location), "{error}");
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let cut = bytes(7, bytes(5, external("weights", "0", "0")));
        let mut deep = Vec::new();
        for _ in 0..60 {
            // A graph in an attribute of a node of a graph.
            deep = bytes(1, bytes(5, bytes(6, deep)));
        }
        for model in [&cut[..cut.len() - 1], b"<!DOCTYPE html>", &bytes(7, deep)] {
            found(model).unwrap_err();
        }
    }
}
