//! Finds quotes in CSV that are not closed.

use memchr::{memchr, memchr2, memchr3};

use super::rows::MAX_ROW;

/// Why a quote does not begin a field. The next record begins at the line after the quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadQuote {
    #[error("the quote that opens here is not closed before the end of the file{HINT}")]
    Unclosed,
    #[error("the quote that opens here is not closed within {} MiB{HINT}", MAX_ROW >> 20)]
    TooLong,
    #[error("the quote that opens here closes on a later line, in the middle of a field{HINT}")]
    Stray,
}

const HINT: &str = "; if the fields of the file have no quotes around them, set --quoting none";

/// Where in a record a quote opens that is not closed, or only on a later line by a quote
/// that ends no field: more likely that of another record.
pub(super) fn bad_quote(record: &[u8], delimiter: u8) -> Option<(usize, BadQuote)> {
    let mut at = 0;
    loop {
        let open = at;
        if record.get(at) == Some(&b'"') {
            at += 1;
            loop {
                let Some(quote) = memchr(b'"', &record[at..]) else {
                    return Some((open, BadQuote::Unclosed));
                };
                at += quote + 1;
                // Two quotes stand for one.
                if record.get(at) != Some(&b'"') {
                    break;
                }
                at += 1;
            }
            let ends_field = match record.get(at) {
                None | Some(b'\r' | b'\n') => true,
                Some(other) => *other == delimiter,
            };
            if !ends_field && memchr2(b'\r', b'\n', &record[open..at]).is_some() {
                return Some((open, BadQuote::Stray));
            }
        }
        at += memchr3(delimiter, b'\r', b'\n', &record[at..])?;
        if record[at] != delimiter {
            return None;
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_quotes_are_found() {
        use BadQuote::{Stray, Unclosed};
        for (record, expected) in [
            ("", None),
            ("1,a \"b\" c\n", None),
            ("1,a\",\"\"\n", None),
            ("1,\"a\"\"\r\nb\"\r\n", None),
            ("\"a\n\",\"b\n\"", None),
            // Other programs read it so, too.
            ("1,\"a\" b,c\n", None),
            ("1,\"a", Some((2, Unclosed))),
            ("1,\"a\"\"", Some((2, Unclosed))),
            ("\"", Some((0, Unclosed))),
            ("\"a\nb\",\"c\n", Some((6, Unclosed))),
            ("\"a\" b,\"c\n", Some((6, Unclosed))),
            ("1,\"a\n2,\"b\n", Some((2, Stray))),
            ("1,\"a\r2,b \"c\" d\n", Some((2, Stray))),
            ("1,\"a\n\"\"\"\"b\n\"c\n", Some((2, Stray))),
        ] {
            assert_eq!(bad_quote(record.as_bytes(), b','), expected, "{record:?}");
        }
        assert_eq!(bad_quote(b"1,\"a\n\";2", b';'), None);
    }
}
