//! How much work a text is, before anyone has tokenised it.
//!
//! The guest knows how many tokens a text has; the host must tell beforehand,
//! and without knowing the tokenizer, which texts are alike and how much is
//! waiting. So this counts what nearly all tokenizers count: words, marks, and
//! the characters of scripts that a vocabulary has few words of.

/// The most tokens that a text counts for. Nearly all models of this kind take
/// 512 and cut off the rest.
const MAX_TOKENS: u32 = 512;

/// The marks that begin and end what a model reads.
const SPECIAL_TOKENS: u32 = 2;

/// After so many letters a word most likely takes another token.
const LETTERS_PER_TOKEN: u32 = 10;

/// However few tokens a text has, so many bytes of it are as much work as one:
/// they are copied, and looked at one by one.
const BYTES_PER_TOKEN: usize = 256;

/// About how many tokens' worth of work a text is: from 2 to 512.
pub(super) fn tokens(text: &str) -> u32 {
    let by_length = u32::try_from(text.len() / BYTES_PER_TOKEN).unwrap_or(MAX_TOKENS);
    count(text).max(by_length).min(MAX_TOKENS)
}

fn count(text: &str) -> u32 {
    let mut tokens = SPECIAL_TOKENS;
    let mut letters = 0;
    for character in text.chars() {
        if tokens >= MAX_TOKENS {
            return MAX_TOKENS;
        }
        if character.is_ascii_alphanumeric() {
            if letters % LETTERS_PER_TOKEN == 0 {
                tokens += 1;
            }
            letters += 1;
        } else {
            letters = 0;
            if !character.is_whitespace() {
                tokens += 1;
            }
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn words_and_marks_count() {
        assert_eq!(tokens(""), 2);
        assert_eq!(tokens("  \n"), 2);
        assert_eq!(tokens("A warm, funny film."), 8);
        assert_eq!(tokens("incomprehensibilities"), 5);
        assert_eq!(tokens("素晴らしい"), 7);
    }

    #[test]
    fn no_text_counts_for_more_than_a_model_reads() {
        assert_eq!(tokens(&"word ".repeat(10_000)), 512);
        assert_eq!(tokens(&"é".repeat(10_000)), 512);
        assert_eq!(tokens(&" ".repeat(1 << 20)), 512);
    }
}
