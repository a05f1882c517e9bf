//! Reads the records of a CSV file, with the position of each.
//!
//! It uses `csv_core`, since `csv` miscounts lines that end in CR LF. Neither reports a quote
//! that is not closed, which makes one record of all lines after it, so this does.

use std::io::{self, BufRead};

use csv_core::ReadRecordResult;
use memchr::memchr2;

use super::header::Dialect;
use super::options::Quoting;
use super::quotes::{BadQuote, bad_quote};
use super::rows::{MAX_ROW, Mark};
use super::source::Input;

/// The records of an input.
pub(super) struct Records {
    input: Input,
    core: csv_core::Reader,
    dialect: Dialect,
    /// The last record, and what is read of the input after it.
    buffer: Vec<u8>,
    /// Where the last record begins and ends in `buffer`.
    begin: usize,
    end: usize,
    /// Where the last record begins in the input.
    begin_mark: Mark,
    /// Where the next record begins, or the line ends before it.
    pub(super) mark: Mark,
}

/// A record.
pub(super) struct Record {
    /// The line where it begins.
    pub(super) begin: u64,
    /// The same, or the line where a bad quote in it opens.
    pub(super) line: u64,
    pub(super) fields: Result<Fields, BadQuote>,
}

/// The fields of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Fields {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The length of all fields together, in bytes.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        let begin = match at {
            0 => 0,
            _ => *self.ends.get(at - 1)?,
        };
        self.bytes.get(begin..*self.ends.get(at)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

impl Records {
    pub(super) fn new(input: Input, dialect: Dialect) -> Self {
        Self {
            input,
            core: core(dialect),
            dialect,
            buffer: Vec::new(),
            begin: 0,
            end: 0,
            begin_mark: Mark::default(),
            mark: Mark::default(),
        }
    }

    /// Reads the next records in another dialect.
    pub(super) fn set_dialect(&mut self, dialect: Dialect) {
        self.core = core(dialect);
        self.dialect = dialect;
    }

    /// Goes back to the beginning of the last record.
    pub(super) fn go_back(&mut self) {
        self.go_to(0);
    }

    /// Continues at an offset in the last record.
    fn go_to(&mut self, offset: usize) {
        self.end = self.begin + offset;
        self.mark = self.begin_mark;
        self.mark.pass(&self.buffer[self.begin..self.end]);
        self.core = core(self.dialect);
    }

    /// The bytes of the last record, with its line end.
    pub(super) fn raw(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Whether the next read may block on the input.
    pub(super) fn may_block(&self) -> bool {
        self.end == self.buffer.len() && self.input.buffer().is_empty()
    }

    /// The next record, or `None` at the end of the input.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        self.skip_line_ends()?;
        let mut fields = Fields::default();
        let is_whole = match self.read(&mut fields)? {
            ReadRecordResult::End => return Ok(None),
            result => result == ReadRecordResult::Record,
        };
        let begin = self.begin_mark.line;
        let quote = match self.dialect.quoting {
            Quoting::Double => bad_quote(self.raw(), self.dialect.delimiter),
            Quoting::None => None,
        };
        if let Some((open, why)) = quote {
            let mut mark = self.begin_mark;
            mark.pass(&self.raw()[..open]);
            let rest = &self.raw()[open..];
            // The lines after it may be records of their own.
            self.go_to(open + memchr2(b'\r', b'\n', rest).map_or(rest.len(), |end| end + 1));
            return Ok(Some(Record {
                begin,
                line: mark.line,
                fields: Err(match why {
                    BadQuote::Unclosed if !is_whole => BadQuote::TooLong,
                    why => why,
                }),
            }));
        }
        if !is_whole {
            return Err(io::Error::other(format!(
                "the row at line {begin} is longer than {} MiB",
                MAX_ROW >> 20
            )));
        }
        self.mark.pass(&self.buffer[self.begin..self.end]);
        Ok(Some(Record {
            begin,
            line: begin,
            fields: Ok(fields),
        }))
    }

    /// Reads a record of up to `MAX_ROW` bytes. A longer one ends in `InputEmpty`.
    fn read(&mut self, fields: &mut Fields) -> io::Result<ReadRecordResult> {
        let (mut bytes, mut ends) = (0, 0);
        loop {
            if self.end == self.buffer.len() {
                self.fill()?;
            }
            // Nothing, at the end of the input, ends the last record.
            let input = &self.buffer[self.end..];
            let (result, read, wrote, ended) =
                self.core
                    .read_record(input, &mut fields.bytes[bytes..], &mut fields.ends[ends..]);
            self.end += read;
            (bytes, ends) = (bytes + wrote, ends + ended);
            match result {
                ReadRecordResult::InputEmpty if self.raw().len() as u64 <= MAX_ROW => {}
                ReadRecordResult::OutputFull => {
                    fields.bytes.resize((bytes * 2).max(256), 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    fields.ends.resize((ends * 2).max(16), 0);
                }
                result => {
                    fields.bytes.truncate(bytes);
                    fields.ends.truncate(ends);
                    return Ok(result);
                }
            }
        }
    }

    /// Begins a record after the rest of the line end of the previous one, and empty lines.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let input = &self.buffer[self.end..];
            let is_end = |byte: &&u8| matches!(**byte, b'\r' | b'\n');
            let ends = input.iter().take_while(is_end).count();
            self.pass(ends);
            if self.end < self.buffer.len() || !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Continues at a mark that follows.
    pub(super) fn skip_to(&mut self, mark: Mark) -> io::Result<()> {
        while self.mark.offset < mark.offset {
            if self.end == self.buffer.len() && !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let left = usize::try_from(mark.offset - self.mark.offset).unwrap_or(usize::MAX);
            self.pass(left.min(self.buffer.len() - self.end));
        }
        Ok(())
    }

    /// Passes bytes that are in no record.
    fn pass(&mut self, bytes: usize) {
        self.begin = self.end + bytes;
        self.mark.pass(&self.buffer[self.end..self.begin]);
        self.end = self.begin;
        self.begin_mark = self.mark;
    }

    /// Reads more of the input. Returns whether there was more.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.begin);
        self.end -= self.begin;
        self.begin = 0;
        let more = self.input.fill_buf()?;
        let length = more.len();
        self.buffer.extend_from_slice(more);
        self.input.consume(length);
        Ok(length > 0)
    }
}

/// A parser in the middle of a file: at its beginning it would drop a byte order mark.
fn core(dialect: Dialect) -> csv_core::Reader {
    let mut core = csv_core::ReaderBuilder::new()
        .delimiter(dialect.delimiter)
        .quoting(dialect.quoting == Quoting::Double)
        .build();
    core.read_record(&[], &mut [], &mut []);
    core
}

#[cfg(test)]
mod tests;
