//! Records are read whole, wherever a run begins, and lines are not lost to bad quotes.

use super::*;
use std::io::{BufReader, Cursor, Read};

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

fn records_of(input: impl Read + Send + 'static, delimiter: u8) -> Records {
    let dialect = Dialect {
        delimiter,
        ..Dialect::CSV
    };
    Records::new(BufReader::new(Box::new(input)), dialect)
}

type Line = u64;
type Fields = Vec<Vec<u8>>;

/// Reads a file from `mark` to its end. Returns each record with the line where it begins
/// and the mark where it ends.
fn read(
    file: &[u8],
    delimiter: u8,
    chunk: usize,
    mark: Mark,
) -> Vec<(Line, Result<Fields, BadQuote>, Mark)> {
    let input = Cursor::new(file.to_vec());
    let mut records = records_of(Chunks { input, chunk }, delimiter);
    if mark != Mark::default() {
        // Resuming reads the header first.
        records.next().unwrap();
        records.skip_to(mark).unwrap();
    }
    let mut found = Vec::new();
    while let Some(record) = records.next().unwrap() {
        let fields = record.fields;
        let fields = fields.map(|fields| fields.iter().map(<[u8]>::to_vec).collect());
        found.push((record.line, fields, records.mark));
    }
    found
}

fn read_all(file: &str) -> Vec<(Line, Result<Fields, BadQuote>)> {
    let records = read(file.as_bytes(), b',', usize::MAX, Mark::default());
    let records = records.into_iter();
    records.map(|(line, fields, _)| (line, fields)).collect()
}

fn fields<const N: usize>(fields: [&str; N]) -> Fields {
    fields.map(|field| field.as_bytes().to_vec()).to_vec()
}

/// Fields that are likely to need quotes, or to be taken for something else.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let special = b",;\t\"\r\n a\xff\0#=".to_vec();
    let byte = prop_oneof![3 => prop::sample::select(special), 1 => any::<u8>()];
    let begin = prop::sample::select(vec!["", "\u{feff}", "sep=;", "#", " "]);
    (begin, vec(byte, 0..12)).prop_map(|(begin, rest)| [begin.as_bytes(), &rest].concat())
}

/// Records of one to four fields, as many in each.
fn records() -> impl Strategy<Value = Vec<Fields>> {
    (1..5_usize).prop_flat_map(|columns| vec(vec(field(), columns), 1..8))
}

proptest! {
    /// Whatever the `csv` crate writes is read back, and reading can resume after any
    /// record.
    #[test]
    fn what_is_written_is_read_back(
        records in records(),
        delimiter in prop::sample::select(b",;\t|".to_vec()),
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
        let found = read(&file, delimiter, chunk, Mark::default());
        let fields: Vec<_> = found.iter().map(|(_, fields, _)| fields.clone()).collect();
        prop_assert_eq!(fields, records.into_iter().map(Ok).collect::<Vec<_>>());
        for (done, (_, _, mark)) in found.iter().enumerate() {
            let rest = read(&file, delimiter, chunk, *mark);
            prop_assert_eq!(&rest, &found[done + 1..]);
        }
    }

    /// Reading resumes after any record of a file in which quotes are anywhere, and the lines
    /// after a bad quote are read.
    #[test]
    fn stray_quotes_lose_no_line(
        lines in vec("[ab,\"]{0,5}(\r\n|\n|\r\n\n)", 1..12),
        chunk in prop_oneof![1..8_usize, Just(usize::MAX)],
    ) {
        let file = lines.concat();
        let found = read(file.as_bytes(), b',', chunk, Mark::default());
        let mut begin = Mark::default();
        for (done, (line, fields, mark)) in found.iter().enumerate() {
            let rest = read(file.as_bytes(), b',', chunk, *mark);
            prop_assert_eq!(&rest, &found[done + 1..]);
            prop_assert!(*line >= begin.line);
            if fields.is_err() {
                prop_assert!(mark.line <= line + 1, "lines after the quote are lost");
            }
            begin = *mark;
        }
        prop_assert!(begin.offset >= file.trim_end().len() as u64);
    }
}

#[test]
fn records_are_read_with_their_lines() {
    let file = "id,text\r\n1,\"a \"\"b\"\",\r\nc\"\r\n\r\n2,\u{e9}\n3,\"\"\r4,last";
    let expected = [
        (1, Ok(fields(["id", "text"]))),
        (2, Ok(fields(["1", "a \"b\",\r\nc"]))),
        (5, Ok(fields(["2", "\u{e9}"]))),
        (6, Ok(fields(["3", ""]))),
        (6, Ok(fields(["4", "last"]))),
    ];
    assert_eq!(read_all(file), expected);
    assert_eq!(read_all(""), []);
}

#[test]
fn records_after_a_bad_quote_are_read() {
    let file = "1,\"a\nb\"\n2,\"a\nb\",\"c\n3,d\r\n4,\"e\n5,\"f\"\n6,\"\"\"g\n7,h";
    let expected = [
        (1, Ok(fields(["1", "a\nb"]))),
        (4, Err(BadQuote::Stray)),
        (5, Ok(fields(["3", "d"]))),
        (6, Err(BadQuote::Stray)),
        (7, Ok(fields(["5", "f"]))),
        (8, Err(BadQuote::Unclosed)),
        (9, Ok(fields(["7", "h"]))),
    ];
    assert_eq!(read_all(file), expected);
}

#[test]
fn an_endless_quote_and_an_endless_row_are_reported() {
    let endless = b"a\n\"b\n".chain(io::repeat(b'c'));
    let mut records = records_of(endless, b',');
    records.next().unwrap();
    let record = records.next().unwrap().unwrap();
    assert_eq!((record.line, record.fields), (2, Err(BadQuote::TooLong)));
    let error = records.next().err().unwrap().to_string();
    assert!(error.contains("line 3 is longer"), "{error}");
}
