//! Finds what a source file names: parts of this crate by any path that leads
//! through its root, and the crates that only some layers may know.
//!
//! It reads words and marks, not syntax: comments and strings are left out,
//! and everything else counts, the bodies of macros included.

use std::path::Path;

/// Each layer and what it may name of this crate. The table is that of
/// `host/ARCHITECTURE.md`: whoever adds a layer adds a row.
const LAYERS: [(&str, &[&str]); 14] = [
    ("predictor", &[]),
    ("private_dir", &[]),
    ("nn", &[]),
    ("guest", &["predictor", "private_dir"]),
    ("batcher", &["predictor"]),
    ("cache", &["predictor"]),
    ("rollout", &["predictor"]),
    ("versions", &["predictor", "private_dir", "rollout"]),
    ("service", &["predictor"]),
    ("http", &["predictor", "service"]),
    // `rollout` for what there is to say of versions in use; `http` for what it
    // shares with the main listener: connections, health, problems.
    ("admin", &["predictor", "rollout", "versions", "http"]),
    (
        "app",
        &[
            "predictor",
            "nn",
            "guest",
            "batcher",
            "cache",
            "rollout",
            "versions",
            "service",
            "http",
        ],
    ),
    // The root of the library, which declares the layers.
    ("lib", &[]),
    // The binary stands above the library, and names it as a crate.
    (BINARY, &["cli"]),
];

const BINARY: &str = "main";

/// Crates, by the beginning of their names, and the layers that may name them.
const CRATES: [(&str, &[&str]); 27] = [
    ("ort", &["nn"]),
    ("libloading", &["nn"]),
    ("wasmtime", &["nn", "guest"]),
    ("wasmparser", &["guest"]),
    ("redis", &["cache"]),
    ("moka", &["cache"]),
    ("socket2", &["http"]),
    ("rustls", &["cache"]),
    ("tokio_rustls", &["cache"]),
    ("hyper", &["http", "admin"]),
    ("hyper_util", &["http"]),
    ("http_body_util", &["http", "admin"]),
    ("http", &["http"]),
    ("subtle", &["admin"]),
    // The documents of the API are made of what is sent and read there.
    ("utoipa", &["http", "admin"]),
    ("miniz_oxide", &["http"]),
    ("async_compression", &["http"]),
    ("reqwest", &[BINARY]),
    ("uuid", &["http"]),
    ("anyhow", &[BINARY]),
    ("sysinfo", &[BINARY]),
    ("clap", &[BINARY]),
    ("clap_complete", &[BINARY]),
    ("csv", &[BINARY]),
    ("csv_core", &[BINARY]),
    ("indicatif", &[BINARY]),
    ("toml", &[BINARY]),
];

/// What a file names that its layer must not know. `path` is relative to the
/// directory of the sources.
pub(super) fn violations(path: &Path, text: &str) -> Vec<String> {
    let mut modules: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if modules.len() > 1 && modules.last().is_some_and(|last| last == "mod") {
        modules.pop();
    }
    let layer = match modules[0].as_str() {
        "cli" => BINARY,
        first => first,
    };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![format!(
            "{}: the layer `{layer}` is not in the table",
            path.display()
        )];
    };
    let depth = if ["lib", "main"].contains(&layer) && modules[0] == layer {
        0
    } else {
        modules.len()
    };
    let mut found = Vec::new();
    let mut tell = |line: usize, what: &str| {
        found.push(format!("{}:{line}: `{layer}` names {what}", path.display()));
    };
    let tokens = tokens(text);
    for name in names_of_root(&tokens, depth) {
        let (line, name) = name;
        if name != layer && !allowed.contains(&name.as_str()) {
            tell(line, &format!("`crate::{name}`"));
        }
    }
    for (at, token) in tokens.iter().enumerate() {
        for (name, layers) in CRATES {
            if names_crate(&tokens, at, name, layer) && !layers.contains(&layer) {
                tell(token.line, &format!("the crate `{}`", token.text));
            }
        }
    }
    found
}

/// Whether the word at a place is a crate's name. Words of this crate that are
/// the same, `http` and `redis`, count only where a path begins.
fn names_crate(tokens: &[Token], at: usize, name: &str, layer: &str) -> bool {
    let word = &tokens[at].text;
    if ["http", "redis"].contains(&name) {
        let begins = at == 0 || tokens[at - 1].text != "::";
        let leads = tokens.get(at + 1).is_some_and(|next| next.text == "::");
        // In the binary, and in the root of the library, it is our own.
        let own = name == "http" && [BINARY, "lib", "app"].contains(&layer);
        return word == name && begins && leads && !own;
    }
    let family = name == "wasmtime" && word.starts_with("wasmtime_");
    word == name || family
}

#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

/// The words and marks of a source, without comments and strings; `::` is one.
fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let end = at + length(&text[at..]);
        let piece = &text[at..end];
        let first = bytes[at];
        let word = first == b'_' || first.is_ascii_alphabetic() && !is_literal(piece);
        let mark = !first.is_ascii_whitespace() && first.is_ascii_punctuation();
        let skipped = piece.starts_with("//") || piece.starts_with("/*") || is_literal(piece);
        if word || mark && !skipped {
            found.push(Token {
                line,
                text: piece.to_owned(),
            });
        }
        line += piece.matches('\n').count();
        at = end;
    }
    found
}

fn is_literal(piece: &str) -> bool {
    piece.len() > 1 && piece.ends_with(['"', '\'', '#']) && piece.contains(['"', '\''])
}

/// How long the first piece of a text is.
fn length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let until = |end: &str, from: usize| {
        text[from..]
            .find(end)
            .map_or(text.len(), |found| from + found + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(bytes);
    }
    if text.starts_with("::") {
        return 2;
    }
    // b"", br"", c"", r"", r#""#
    let prefix = text.find(|c: char| !"bcr".contains(c)).unwrap_or(0);
    let raw = text[..prefix].ends_with('r');
    let hashes = text[prefix..].len() - text[prefix..].trim_start_matches('#').len();
    if prefix <= 2 && bytes.get(prefix + hashes) == Some(&b'"') && (raw || hashes == 0) {
        if raw {
            return until(&format!("\"{}", "#".repeat(hashes)), prefix + hashes + 1);
        }
        return quoted(bytes, prefix, b'"');
    }
    if (text.starts_with('\'') || text.starts_with("b'")) && is_char(text) {
        return quoted(bytes, usize::from(bytes[0] == b'b'), b'\'');
    }
    let word = text
        .find(|c: char| c != '_' && !c.is_alphanumeric())
        .unwrap_or(text.len());
    word.max(text.chars().next().map_or(1, char::len_utf8))
}

/// Whether a text begins with a character, and not with a lifetime.
fn is_char(text: &str) -> bool {
    let mut chars = text.trim_start_matches('b').chars().skip(1);
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// The length of a quoted text that begins at `open`.
fn quoted(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if bytes[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Each name that is reached through the crate's root, by `crate` or by as
/// many `super` as lead there; `depth` is that of the file's own module.
fn names_of_root(tokens: &[Token], depth: usize) -> Vec<(usize, String)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    // For each open brace, whether it is that of a module.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match text(at) {
            "{" => braces.push(at >= 2 && text(at - 2) == "mod"),
            "}" => drop(braces.pop()),
            // `pub(crate)` names nothing.
            "crate" if text(at + 1) != ")" => {
                found.extend(names_after(tokens, at + 1));
            }
            "super" => {
                let here = depth + braces.iter().filter(|module| **module).count();
                let mut ups = 1;
                while text(at + 1) == "::" && text(at + 2) == "super" {
                    (ups, at) = (ups + 1, at + 2);
                }
                if ups >= here && text(at + 1) != ")" {
                    found.extend(names_after(tokens, at + 1));
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The first names of the path, or of each path of the group, that follows
/// the root. The root itself, by another name or as a whole, is told as `*`.
fn names_after(tokens: &[Token], at: usize) -> Vec<(usize, String)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let line = tokens.get(at).map_or(0, |token| token.line);
    if text(at) != "::" {
        return vec![(line, "*".to_owned())];
    }
    if text(at + 1) != "{" {
        return vec![(line, text(at + 1).to_owned())];
    }
    let mut found = Vec::new();
    let (mut at, mut depth, mut begins) = (at + 1, 0, false);
    while at < tokens.len() {
        match text(at) {
            "{" => (depth, begins) = (depth + 1, depth == 0),
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => begins = depth == 1,
            "self" | "*" if begins => {
                found.push((tokens[at].line, "*".to_owned()));
                begins = false;
            }
            name if begins => {
                found.push((tokens[at].line, name.to_owned()));
                begins = false;
            }
            _ => {}
        }
        at += 1;
    }
    found
}
