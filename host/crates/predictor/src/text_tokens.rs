//! Estimates how many tokens a text has.
//!
//! Only the guest knows the tokenizer. The host needs a number before it calls the guest, to
//! batch texts of like length, to bound the queue, and for quotas. So this counts what nearly
//! all tokenizers split: words, punctuation, and single characters of scripts that vocabularies
//! have few words of.

/// The largest estimate. Nearly all models of this kind read 512 tokens and drop the rest.
const MAX_TOKENS: u32 = 512;

/// The tokens that begin and end a model's input, such as `[CLS]` and `[SEP]`.
const SPECIAL_TOKENS: u32 = 2;

/// A word most likely takes one more token for each this many letters.
const LETTERS_PER_TOKEN: u32 = 10;

/// Copying and scanning this many bytes costs about as much as one token, however few
/// tokens they hold.
const BYTES_PER_TOKEN: usize = 256;

/// Estimates how many tokens a text has: from 2 to 512.
pub fn estimated_tokens(text: &str) -> u32 {
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
    use super::estimated_tokens as estimate;

    #[test]
    fn words_and_marks_count() {
        assert_eq!(estimate(""), 2);
        assert_eq!(estimate("  \n"), 2);
        assert_eq!(estimate("A warm, funny film."), 8);
        assert_eq!(estimate("incomprehensibilities"), 5);
        assert_eq!(estimate("素晴らしい"), 7);
    }

    #[test]
    fn no_text_counts_for_more_than_a_model_reads() {
        assert_eq!(estimate(&"word ".repeat(10_000)), 512);
        assert_eq!(estimate(&"é".repeat(10_000)), 512);
        assert_eq!(estimate(&" ".repeat(1 << 20)), 512);
    }
}
