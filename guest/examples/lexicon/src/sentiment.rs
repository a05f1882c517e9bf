//! The sentiment of a text: the sum of the weights of its words.
//!
//! A word such as *very* or *slightly* changes the weight of the next word, and a
//! negation inverts the weights of the next few words, until the clause ends. What comes
//! before a *but* counts half, since the speaker means what follows it.

use crate::words::{boost, is_negation, weight};

/// How many words a negation affects: *not at all a good film*.
const NEGATION_REACH: u32 = 4;

/// The factor of negated weights: *not great* is less bad than *awful*.
const NEGATED: f32 = -0.5;

/// The longest word that is looked up, in bytes; no word of the list is longer.
const LONGEST: usize = 24;

/// The sentiment of a text: 0 is neutral, and a single strong word counts 2.5.
pub(crate) fn of(text: &str) -> f32 {
    let mut reading = Reading::default();
    let mut word = String::with_capacity(LONGEST);
    for character in text.chars() {
        match character {
            '\u{2019}' | '\'' => word.push('\''),
            _ if character.is_alphanumeric() => {
                // A longer word is not in the list, so its rest does not matter.
                if word.len() <= LONGEST {
                    word.extend(character.to_lowercase());
                }
            }
            _ => {
                reading.read(&word);
                word.clear();
                if matches!(
                    character,
                    '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '\n'
                ) {
                    reading.negated = 0;
                }
            }
        }
    }
    reading.read(&word);
    reading.sum
}

/// The state after some words.
struct Reading {
    sum: f32,
    /// How many more words a negation affects.
    negated: u32,
    /// The factor of the next word.
    boost: f32,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            sum: 0.0,
            negated: 0,
            boost: 1.0,
        }
    }
}

impl Reading {
    fn read(&mut self, word: &str) {
        let word = word.trim_matches('\'');
        if word.is_empty() {
            return;
        }
        if is_negation(word) {
            // Two negations cancel out: *not without*, *never not*.
            self.negated = match self.negated {
                0 => NEGATION_REACH,
                _ => 0,
            };
            return;
        }
        if word == "but" {
            self.sum *= 0.5;
            self.negated = 0;
        }
        let word = word.strip_suffix("'s").unwrap_or(word);
        if let Some(weight) = weight(word) {
            let sign = if self.negated > 0 { NEGATED } else { 1.0 };
            self.sum += weight * self.boost * sign;
        }
        self.boost = boost(word).map_or(1.0, |boost| boost * self.boost);
        self.negated = self.negated.saturating_sub(1);
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the same words give the same sum")]
mod tests {
    use super::*;

    /// Asserts that each text is more positive than the next.
    fn assert_falls(texts: &[&str]) {
        let found: Vec<f32> = texts.iter().map(|text| of(text)).collect();
        assert!(found.is_sorted_by(|a, b| a > b), "{texts:?}: {found:?}");
    }

    #[test]
    fn words_count_with_their_weights() {
        assert_falls(&[
            "A wonderful film.",
            "A nice film.",
            "A film.",
            "A dull film.",
            "An awful film.",
        ]);
        assert_falls(&["wonderful, moving", "wonderful", "wonderful, dull", "dull"]);
    }

    #[test]
    fn case_and_punctuation_do_not_matter() {
        for text in [
            "GREAT!",
            "\"great\"",
            "'great'",
            "great's",
            "(Great)",
            "...great...",
            "great",
        ] {
            assert!(of(text) > 0.0 && of(text) == of("great"), "{text}");
        }
        assert_eq!(of("ungreat"), 0.0);
        assert_eq!(of(&format!("{}great", "x".repeat(5000))), 0.0);
    }

    #[test]
    fn intensifiers_change_the_next_word() {
        assert_falls(&["extremely good", "very good", "good", "slightly good"]);
        assert_falls(&["slightly bad", "bad", "very bad", "very, very bad"]);
        assert_eq!(of("very round and good"), of("good"));
    }

    #[test]
    fn negations_invert_the_next_words() {
        for text in [
            "not good",
            "isn't good",
            "isn\u{2019}t good",
            "never very good",
            "not at all good",
            "No good.",
            "cannot be good",
            "without a good scene",
        ] {
            assert!(of(text) < 0.0, "{text}: {}", of(text));
        }
        assert!(of("not bad") > 0.0);
        assert_falls(&["good", "not awful", "not good", "awful"]);
        assert_eq!(of("I did not go. A good film"), of("good"));
        assert_eq!(of("not what anybody of us would call good"), of("good"));
        assert_eq!(of("never not good"), of("good"));
    }

    #[test]
    fn what_follows_but_counts_more() {
        assert!(of("The cast is good but the plot is bad") < 0.0);
        assert!(of("The plot is bad but the cast is good") > 0.0);
    }
}
