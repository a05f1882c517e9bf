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

    use csv::{QuoteStyle, Terminator, WriterBuilder};
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Returns at most `chunk` bytes at a time, so that a record may begin and end anywhere in
    /// what is read.
    struct Chunks<R> {
        input: R,
        chunk: usize,
    }

    impl<R: Read> Read for Chunks<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.chunk);
            self.input.read(&mut buffer[..length])
        }
    }

    impl<R: Seek> Seek for Chunks<R> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.input.seek(to)
        }
    }

    type Line = u64;
    type Record = Vec<Vec<u8>>;

    /// Reads a file from `mark` to its end. Returns each record with the line where it begins
    /// and the mark where it ends.
    fn read(file: &[u8], delimiter: u8, chunk: usize, mark: Mark) -> Vec<(Line, Record, Mark)> {
        let input = Chunks {
            input: Cursor::new(file),
            chunk,
        };
        let mut records = Records::new(input, delimiter);
        if mark != Mark::default() {
            // Resuming reads the header first.
            records.next().unwrap();
            records.seek(mark).unwrap();
        }
        let mut found = Vec::new();
        while let Some((line, fields)) = records.next().unwrap() {
            let fields = fields.iter().map(<[u8]>::to_vec).collect();
            found.push((line, fields, records.mark));
        }
        found
    }

    fn read_all(file: &[u8], delimiter: u8) -> Vec<(Line, Record)> {
        let records = read(file, delimiter, usize::MAX, Mark::default());
        let records = records.into_iter();
        records.map(|(line, fields, _)| (line, fields)).collect()
    }

    /// Fields that are likely to need quotes.
    fn field() -> impl Strategy<Value = Vec<u8>> {
        let special = b",\t\"\r\n a\xff\0".to_vec();
        let byte = prop_oneof![3 => prop::sample::select(special), 1 => any::<u8>()];
        vec(byte, 0..12)
    }

    /// Records of one to four fields, as many in each.
    fn records() -> impl Strategy<Value = Vec<Record>> {
        (1..5_usize).prop_flat_map(|columns| vec(vec(field(), columns), 1..8))
    }

    proptest! {
        /// Whatever the `csv` crate writes is read back, and reading can resume after any
        /// record.
        #[test]
        fn what_is_written_is_read_back(
            records in records(),
            delimiter in prop::sample::select(b",\t".to_vec()),
            ends in prop::sample::select(vec![Terminator::CRLF, Terminator::Any(b'\n')]),
            style in prop::sample::select(vec![QuoteStyle::Necessary, QuoteStyle::Always]),
            is_cut_short in any::<bool>(),
            chunk in prop_oneof![1..8_usize, Just(usize::MAX)],
        ) {
            let mut writer = WriterBuilder::new()
                .delimiter(delimiter)
                .terminator(ends)
                .quote_style(style)
                .from_writer(Vec::new());
            for record in &records {
                writer.write_record(record).unwrap();
            }
            let mut file = writer.into_inner().unwrap();
            if is_cut_short {
                // The last line of a file need not have an end.
                let end = file.iter().rposition(|byte| !b"\r\n".contains(byte));
                file.truncate(end.map_or(0, |end| end + 1));
            }
            // A byte order mark is not part of the first field.
            prop_assume!(!file.starts_with("\u{feff}".as_bytes()));
            let found = read(&file, delimiter, chunk, Mark::default());
            let fields: Vec<_> = found.iter().map(|(_, fields, _)| fields.clone()).collect();
            prop_assert_eq!(fields, records);
            for (done, (_, _, mark)) in found.iter().enumerate() {
                let rest = read(&file, delimiter, chunk, *mark);
                prop_assert_eq!(&rest, &found[done + 1..]);
            }
        }
    }

    #[test]
    fn records_are_read_with_their_lines() {
        let file = "id,text\r\n1,\"a \"\"b\"\",\r\nc\"\r\n\r\n2,\u{e9}\n3,\"\"\r4,last";
        let expected = [
            (1, ["id", "text"]),
            (2, ["1", "a \"b\",\r\nc"]),
            (5, ["2", "\u{e9}"]),
            (6, ["3", ""]),
            (6, ["4", "last"]),
        ];
        let expected = expected.map(|(line, fields)| {
            let fields = fields.map(|field| field.as_bytes().to_vec());
            (line, fields.to_vec())
        });
        assert_eq!(read_all(file.as_bytes(), b','), expected);
        assert_eq!(read_all(b"", b','), []);
    }

    #[test]
    fn an_unclosed_quote_is_reported() {
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
