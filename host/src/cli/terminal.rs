//! Text of others, made harmless for a terminal.
//!
//! Text from servers, files and guests may contain escape sequences, which make a terminal
//! do things, and invisible characters or ones that change the direction of writing, which
//! make it show something else than what is there. All output of the commands passes through
//! here: [`output::print`](super::output::print), [`log::print`](super::log::print) and the
//! log use [`lines`] or [`json`], so that nothing can be forgotten. Text of others that is
//! put into a line of ours goes through [`escape`] first, so that it cannot begin another.

use std::borrow::Cow;
use std::fmt::Write;

/// Escapes every character of a text that cannot be seen, line breaks too.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    escape_but(text, |_| false, as_in_rust)
}

/// Escapes every character of a text that cannot be seen, except for line breaks.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    escape_but(text, |character| character == '\n', as_in_rust)
}

/// Escapes every character of a valid JSON document that cannot be seen. The document
/// remains the same for programs.
pub(super) fn json(document: &str) -> Cow<'_, str> {
    escape_but(
        document,
        |character| character == '\n',
        |out, character| {
            match character {
                // Only strings may contain the others, and these only white space.
                '\t' | '\r' => out.push(' '),
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
        },
    )
}

/// Escapes every character of a TOML string that cannot be seen. The string remains the same
/// for programs.
pub(super) fn toml(quoted: &str) -> Cow<'_, str> {
    escape_but(
        quoted,
        |_| false,
        |out, character| {
            let _ = match u32::from(character) {
                code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                code => write!(out, "\\U{code:08x}"),
            };
        },
    )
}

fn escape_but(
    text: &str,
    is_kept: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let is_kept = |character| is_printable(character) || is_kept(character);
    if text.chars().all(is_kept) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_kept(character) {
            out.push(character);
        } else {
            escape(&mut out, character);
        }
    }
    Cow::Owned(out)
}

/// Escapes a character as a literal of Rust does.
fn as_in_rust(out: &mut String, character: char) {
    out.extend(character.escape_default());
}

/// Whether a character can be seen, or is a space. The standard library knows: it escapes
/// the others where it prints text for debugging.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    // Behind another character, since combining ones are escaped at the beginning.
    let mut text = [b'a'; 5];
    let length = character.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..=length]).is_ok_and(|text| text.escape_debug().eq(text.chars()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes a terminal do or show something: an escape sequence, the same in one character,
    /// a bell, the beginning of the line, a new line, text from right to left, an invisible
    /// character, a tag, and a separator of lines.
    pub(in crate::cli) const HOSTILE: &str = "\u{1b}]0;title\u{7}\u{9b}2J\u{7f}a\rb\nc\td\
        \u{202e}e\u{2066}f\u{200b}g\u{feff}h\u{e0041}i\u{2028}j\u{85}k\u{0}l";

    /// The characters of a text that nobody should see in a terminal.
    pub(in crate::cli) fn harmful(text: &str) -> Vec<char> {
        let invisible = |character: &char| {
            character.is_control()
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
        };
        text.chars().filter(invisible).collect()
    }

    #[test]
    fn nothing_that_cannot_be_seen_is_left() {
        assert!(harmful(HOSTILE).len() > 12);
        assert_eq!(harmful(&escape(HOSTILE)), [] as [char; 0]);
        assert_eq!(harmful(&lines(HOSTILE)), ['\n']);
        assert_eq!(
            escape("a\u{1b}[2J\n\u{9b}\u{202e}b"),
            "a\\u{1b}[2J\\n\\u{9b}\\u{202e}b"
        );
    }

    #[test]
    fn what_can_be_seen_stays() {
        // Combining characters included, and escaping twice changes nothing.
        for text in ["", "a b-\"c\" \\n", "tre\u{300}s bien, 很好 😀 שלום नमस्ते"]
        {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
            assert_eq!(json(text), text);
        }
        assert_eq!(escape(&escape(HOSTILE)), escape(HOSTILE));
    }

    #[test]
    fn a_string_in_toml_stays_the_same_for_programs() {
        // As JSON, it has no control characters but those of the second kind.
        let quoted = serde_json::Value::from(HOSTILE).to_string();
        let line = format!("key = {}", toml(&quoted));
        assert_eq!(harmful(&line), [] as [char; 0]);
        let table = toml::de::DeTable::parse(&line).unwrap();
        let (_, value) = table.get_ref().iter().next().unwrap();
        assert_eq!(value.get_ref().as_str(), Some(HOSTILE));
    }

    #[test]
    fn a_document_stays_the_same_for_programs() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, "\u{10ffff}", 1.5] });
        for document in [value.to_string(), format!("{value:#}")] {
            let document = document.replace(':', "\r:\t");
            let escaped = json(&document);
            assert!(harmful(&escaped).iter().all(|character| *character == '\n'));
            let read: serde_json::Value = serde_json::from_str(&escaped).unwrap();
            assert_eq!(read, value);
        }
    }
}
