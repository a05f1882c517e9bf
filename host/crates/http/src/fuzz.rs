//! What holds for all that clients may send. For fuzzing (`host/fuzz`), and for the tests
//! that try its corpora.

use bytes::Bytes;
use connection::body::BodyError;
use futures_util::FutureExt as _;
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::Value;

use crate::bulk::line;
use crate::bulk::lines::Lines;
use crate::infer;
use crate::inputs::Allowed;
use crate::problem::{Kind, Problem};
use crate::request;

/// The longest line, in bytes.
const LINE: usize = 64;

/// The most texts of a request.
const TEXTS: usize = 3;

/// Reads the body of a request.
///
/// # Panics
///
/// If something does not hold.
pub fn request(body: &[u8]) {
    match request::read(body, TEXTS, Allowed::default) {
        Ok(read) => {
            assert!(is_json(body));
            let kept = read.texts.kept;
            assert_eq!(kept.len(), read.texts.given.min(TEXTS));
            let bytes: usize = kept.iter().map(String::len).sum();
            assert!(bytes <= body.len(), "{bytes} bytes of text");
        }
        Err(problem) => check(&problem, body),
    }
    if let Err(problem) = request::texts(body) {
        check(&problem, body);
    }
    if let Err(problem) = infer::read(body, None, TEXTS) {
        check(&problem, body);
    }
    // With binary tensors behind the last closing brace.
    let json = body.iter().rposition(|byte| *byte == b'}');
    let json = json.map_or(0, |at| at + 1);
    match infer::read(body, Some(json), TEXTS) {
        Ok((texts, _)) => assert_eq!(texts.kept.len(), texts.given.min(TEXTS)),
        Err(problem) => assert!(problem.detail.len() < 512, "{}", problem.detail),
    }
}

/// Splits a body into lines, and reads each. The first byte is the size of its pieces.
///
/// # Panics
///
/// If something does not hold.
pub fn lines(input: &[u8]) {
    let Some((size, body)) = input.split_first() else {
        return;
    };
    let size = usize::from(*size).max(1);
    let found = split(body.chunks(size));
    assert_eq!(found, expected(body), "in pieces of {size}");
    for line in found.into_iter().filter_map(|(_, line)| line) {
        match line::read(&line) {
            Ok((text, _)) => assert!(is_json(&line) && text.len() <= line.len()),
            Err(problem) => check(&problem, &line),
        }
    }
}

/// The lines of a body that comes in pieces, with their numbers; `None` for one that is too
/// long.
fn split<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<(u64, Option<Bytes>)> {
    let frames = pieces.map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(piece))));
    let frames: Vec<_> = frames.collect();
    let mut body = StreamBody::new(futures_util::stream::iter(frames));
    let (mut lines, mut found) = (Lines::new(LINE), Vec::new());
    // All of the body is there.
    while let Some(Ok(Some(line))) = lines.next(&mut body).now_or_never() {
        found.push((line.number, line.content.ok()));
    }
    found
}

/// The same, of the body as a whole.
fn expected(body: &[u8]) -> Vec<(u64, Option<Bytes>)> {
    let lines = (1..).zip(body.split(|byte| *byte == b'\n'));
    let lines = lines.filter(|(_, line)| line.len() > LINE || !line.trim_ascii().is_empty());
    let content = |line: &[u8]| (line.len() <= LINE).then(|| Bytes::copy_from_slice(line));
    lines
        .map(|(number, line)| (number, content(line)))
        .collect()
}

/// A byte order mark is allowed, and ignored.
fn is_json(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    serde_json::from_slice::<Value>(bytes).is_ok()
}

/// A refusal says rightly whether the bytes are JSON, and repeats little of them.
fn check(problem: &Problem, bytes: &[u8]) {
    let is_repeated = problem.detail.contains("duplicate field");
    let is_json = is_json(bytes) && !is_repeated;
    let kind = if is_json {
        Kind::InvalidBody
    } else {
        Kind::InvalidJson
    };
    assert_eq!(problem.kind, kind, "{}", problem.detail);
    assert!(problem.detail.len() < 512, "{}", problem.detail);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_requests_holds() {
        testing::replay("request", super::request);
    }

    #[test]
    fn the_corpus_of_lines_holds() {
        testing::replay("lines", super::lines);
    }
}
