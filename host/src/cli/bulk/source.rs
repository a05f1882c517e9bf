//! Opens an input as UTF-8 without a byte order mark, whether it is compressed with gzip,
//! UTF-16 or neither.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, bail};
use encoding_rs_io::DecodeReaderBytesBuilder;
use flate2::read::MultiGzDecoder;

/// The content of an input.
pub(super) type Input = BufReader<Box<dyn Read + Send>>;

/// In bytes.
const BUFFER: usize = 64 * 1024;

const GZIP: &[u8] = &[0x1f, 0x8b];

/// The byte order marks of UTF-8 and of both forms of UTF-16.
pub(super) const UTF_8_MARK: &[u8] = "\u{feff}".as_bytes();
const UTF_16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The first bytes of common files that are not text: what they are, and what to do.
const BINARY: [(&[u8], &str); 8] = [
    (
        b"PK\x03\x04",
        "a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV",
    ),
    (
        b"\xd0\xcf\x11\xe0",
        "an Excel workbook: save the sheet as CSV",
    ),
    (b"PAR1\x15", "a Parquet file: export it as JSON Lines"),
    (
        b"SQLite format 3\0",
        "an SQLite database: export a table as CSV",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed with Zstandard: decompress it with `zstd -d`",
    ),
    (
        b"\xfd7zXZ\0",
        "compressed with xz: decompress it with `xz -d`",
    ),
    (
        b"BZh91AY&SY",
        "compressed with bzip2: decompress it with `bzip2 -d`",
    ),
    (
        GZIP,
        "compressed with gzip twice: decompress it with `gzip -d`",
    ),
];

/// An input that is open.
pub(super) struct Source {
    pub(super) input: Input,
    pub(super) name: String,
    /// Of the file as it is on disk.
    pub(super) file: Metadata,
    /// Whether it began with a byte order mark.
    pub(super) has_mark: bool,
    /// How its bytes differ from those of `input`, in words.
    pub(super) conversions: Vec<&'static str>,
    is_stdin: bool,
}

impl Source {
    /// Opens a file, or standard input for `-`. Fails if it is not text.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let cannot_read = || format!("cannot read {name}");
        let is_stdin = path == Path::new("-");
        let opened = if is_stdin {
            // Nothing else in this process reads standard input.
            io::stdin().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::open(path)
        };
        let opened = opened.with_context(cannot_read)?;
        let file = opened.metadata().with_context(cannot_read)?;
        if file.is_dir() {
            bail!("{name} is a directory");
        }
        let mut conversions = Vec::new();
        let (mut head, mut input) = peek(opened).with_context(cannot_read)?;
        if head.starts_with(GZIP) {
            conversions.push("compressed with gzip");
            (head, input) = peek(Gunzip(MultiGzDecoder::new(input))).with_context(cannot_read)?;
        }
        let is_utf_16 = UTF_16_MARKS.iter().any(|mark| head.starts_with(mark));
        let has_mark = is_utf_16 || head.starts_with(UTF_8_MARK);
        if is_utf_16 {
            conversions.push("UTF-16");
        }
        if has_mark {
            let mut decoder = DecodeReaderBytesBuilder::new();
            input = Box::new(decoder.utf8_passthru(true).strip_bom(true).build(input));
        }
        let mut input = BufReader::with_capacity(BUFFER, input);
        let start = input.fill_buf().with_context(cannot_read)?;
        if let Some(reason) = binary(start) {
            bail!("{name} is not a text file; it {reason}");
        }
        Ok(Self {
            input,
            name,
            file,
            has_mark,
            conversions,
            is_stdin,
        })
    }

    /// The size in bytes and the modification time of a regular file, which can be read again
    /// to resume.
    pub(super) fn identity(&self) -> anyhow::Result<Option<(u64, SystemTime)>> {
        if self.is_stdin || !self.file.is_file() {
            return Ok(None);
        }
        let modified = self.file.modified();
        let modified = modified.with_context(|| format!("cannot read {}", self.name))?;
        Ok(Some((self.file.len(), modified)))
    }
}

/// What one read returns of an input, but no less than a byte order mark has, and the whole
/// input.
fn peek(mut input: impl Read + Send + 'static) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = vec![0; BUFFER];
    let mut length = 0;
    while length < UTF_8_MARK.len() {
        match input.read(&mut head[length..])? {
            0 => break,
            read => length += read,
        }
    }
    head.truncate(length);
    let whole = Cursor::new(head.clone()).chain(input);
    Ok((head, Box::new(whole)))
}

/// What a file is if it is not text, by its first bytes.
fn binary(start: &[u8]) -> Option<String> {
    let known = BINARY.iter().find(|(magic, _)| start.starts_with(magic));
    match known {
        Some((_, what)) => Some(format!("is {what}")),
        None if start.contains(&0) => Some(
            "contains NUL bytes: save it as CSV, TSV, JSON Lines or plain text in UTF-8".to_owned(),
        ),
        None => None,
    }
}

/// Decompresses gzip, with errors that say so.
struct Gunzip<R>(MultiGzDecoder<R>);

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            io::ErrorKind::UnexpectedEof => io::Error::other("its gzip data is cut off"),
            kind => io::Error::new(kind, format!("its gzip data is damaged: {error}")),
        })
    }
}
