//! Reads the records of a CSV file, with the position of each.
//!
//! It uses `csv_core`, since `csv` miscounts lines that end in CR LF, and reads the rest of
//! the file into one record if a quote is not closed.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use csv_core::ReadRecordResult;

use super::rows::{MAX_ROW, Mark};

/// The records of an input.
pub(super) struct Records<R> {
    input: BufReader<R>,
    core: csv_core::Reader,
    /// Where the next record begins, or the line ends before it.
    pub(super) mark: Mark,
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

impl<R: Read> Records<R> {
    pub(super) fn new(input: R, delimiter: u8) -> Self {
        Self {
            input: BufReader::with_capacity(64 * 1024, input),
            core: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            mark: Mark::default(),
        }
    }

    /// Whether the next read may block on the input.
    pub(super) fn may_block(&self) -> bool {
        self.input.buffer().is_empty()
    }

    /// The next record and the line where it begins, or `None` at the end of the input.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Fields)>> {
        self.skip_line_ends()?;
        let begin = self.mark;
        let mut fields = Fields::default();
        let (mut bytes, mut ends) = (0, 0);
        loop {
            let input = self.input.fill_buf()?;
            let (result, read, wrote, ended) =
                self.core
                    .read_record(input, &mut fields.bytes[bytes..], &mut fields.ends[ends..]);
            self.mark.pass(&input[..read]);
            self.input.consume(read);
            (bytes, ends) = (bytes + wrote, ends + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    fields.bytes.resize((bytes * 2).max(256), 0);
                }
                ReadRecordResult::OutputEndsFull => {
                    fields.ends.resize((ends * 2).max(16), 0);
                }
                ReadRecordResult::Record => {
                    fields.bytes.truncate(bytes);
                    fields.ends.truncate(ends);
                    return Ok(Some((begin.line, fields)));
                }
                ReadRecordResult::End => return Ok(None),
            }
            if self.mark.offset - begin.offset > MAX_ROW {
                return Err(io::Error::other(format!(
                    "the row at line {} is longer than {} MiB; is a quote not closed?",
                    begin.line,
                    MAX_ROW >> 20
                )));
            }
        }
    }

    /// Skips the rest of the line end of the previous record, and empty lines.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let input = self.input.fill_buf()?;
            let is_end = |byte: &&u8| matches!(**byte, b'\r' | b'\n');
            let ends = input.iter().take_while(is_end).count();
            if ends == 0 {
                return Ok(());
            }
            self.mark.pass(&input[..ends]);
            self.input.consume(ends);
        }
    }
}

impl<R: Read + Seek> Records<R> {
    /// Continues at the beginning of a record.
    pub(super) fn seek(&mut self, mark: Mark) -> io::Result<()> {
        self.input.seek(SeekFrom::Start(mark.offset))?;
        self.core.reset();
        self.mark = mark;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A reader that gives a byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(buffer.len()).min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn all<R: Read>(mut records: Records<R>) -> Vec<(u64, Vec<String>)> {
        let mut found = Vec::new();
        while let Some((line, fields)) = records.next().unwrap() {
            let text = |field: &[u8]| String::from_utf8(field.to_vec()).unwrap();
            found.push((line, fields.iter().map(text).collect()));
        }
        found
    }

    const FILE: &str = "id,text\r\n1,\"a \"\"b\"\",\r\nc\"\r\n\r\n2,\u{e9}\n3,\"\"\r4,last";

    fn expected() -> Vec<(u64, Vec<String>)> {
        [
            (1, ["id", "text"]),
            (2, ["1", "a \"b\",\r\nc"]),
            (5, ["2", "\u{e9}"]),
            (6, ["3", ""]),
            (6, ["4", "last"]),
        ]
        .map(|(line, fields)| (line, fields.map(str::to_owned).to_vec()))
        .to_vec()
    }

    #[test]
    fn records_and_their_lines_are_found() {
        assert_eq!(all(Records::new(FILE.as_bytes(), b',')), expected());
        assert_eq!(all(Records::new(Slow(FILE.as_bytes()), b',')), expected());
        assert_eq!(all(Records::new(&b""[..], b',')), []);
        let tabs = all(Records::new(&b"a\t\"b,\"\n"[..], b'\t'));
        assert_eq!(tabs, [(1, vec!["a".to_owned(), "b,".to_owned()])]);
    }

    #[test]
    fn any_record_can_be_gone_on_from() {
        let expected = expected();
        let mut records = Records::new(Cursor::new(FILE), b',');
        for at in 1..=expected.len() {
            records.next().unwrap();
            let mut again = Records::new(Cursor::new(FILE), b',');
            again.next().unwrap();
            again.seek(records.mark).unwrap();
            assert_eq!(all(again), expected[at..], "after {at}");
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_found_out() {
        let endless = b"a\n\"b".chain(io::repeat(b'c'));
        let mut records = Records::new(endless, b',');
        records.next().unwrap();
        let error = records.next().unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("quote"),
            "{error}"
        );
    }
}
