//! Texts of a known length, made of words that the tokenizer knows whole.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tokenizers::Tokenizer;

/// What is not a word in a text's tokens: the full stop, `[CLS]` and `[SEP]`.
const AROUND: usize = 3;

/// `SplitMix64`: small, and the same everywhere.
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator that no other part of this run has.
    pub(crate) fn fresh() -> Self {
        static STREAMS: AtomicU64 = AtomicU64::new(1);
        let stream = STREAMS.fetch_add(1, Ordering::Relaxed);
        Self(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ 0x5851_f42d_4c95_7f2d))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to less than 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// How long texts are, in tokens with the special ones.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Lengths {
    /// 14 to 18, 16 on average: short sentences of like length.
    Short,
    /// What reviews look like: 32 quantiles of a log-normal distribution around
    /// 22, 6 to 123, 29.7 on average.
    Mixed,
    /// All lengths that the model takes, 2 to 512, short ones more often
    /// (log-uniform).
    All,
}

impl Lengths {
    /// The length of text number `n`. Lengths are not drawn by chance, so that
    /// also some dozens of texts have the right average; neighbours differ.
    pub(crate) fn nth(self, n: usize) -> usize {
        match self {
            Self::Short => 14 + n % 5,
            // 13 has no factor in common with 32, so that each comes once.
            Self::Mixed => MIXED[n * 13 % MIXED.len()],
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "lengths are positive, and rounded down on purpose"
            )]
            Self::All => {
                // Multiples of the golden ratio fill 0 to 1 evenly.
                let part = (n as f64 * 0.618_033_988_749_895).fract();
                (2.0 * 256.5_f64.powf(part)) as usize
            }
        }
    }
}

/// 22 e^(0.8 z) for the normal quantiles z of 1/64, 3/64, to 63/64.
const MIXED: [usize; 32] = [
    6, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 23, 24, 26, 27, 29, 31, 34, 36, 39,
    43, 47, 52, 59, 68, 84, 123,
];

/// The words of a model's vocabulary, most frequent first.
pub(crate) struct Corpus {
    words: Vec<String>,
    tokenizer: Tokenizer,
}

impl Corpus {
    pub(crate) fn of(model: &Path) -> Self {
        let mut tokenizer = Tokenizer::from_file(model.join("tokenizer.json")).unwrap();
        tokenizer.with_padding(None).with_truncation(None).unwrap();
        let mut words: Vec<(u32, String)> = tokenizer
            .get_vocab(false)
            .into_iter()
            .filter(|(word, _)| word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase()))
            .map(|(word, id)| (id, word))
            .collect();
        // BERT's vocabulary is in the order of frequency.
        words.sort();
        Self {
            words: words.into_iter().map(|(_, word)| word).collect(),
            tokenizer,
        }
    }

    /// A text that is not made twice: its words are drawn as they occur in
    /// natural texts (Zipf's law), which leaves chance repetitions to the very
    /// short ones.
    pub(crate) fn text(&self, tokens: usize, rng: &mut Rng) -> String {
        let words = tokens.saturating_sub(AROUND);
        let mut text = String::with_capacity(words * 7 + 1);
        for _ in 0..words {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the rank of a word, rounded down on purpose"
            )]
            let rank = (self.words.len() as f64).powf(rng.unit()) as usize - 1;
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&self.words[rank]);
        }
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        // Two tokens are an empty text.
        if tokens >= AROUND {
            text.push('.');
        }
        text
    }

    /// Texts that are new at every call.
    pub(crate) fn texts(&self, lengths: Lengths, count: usize) -> Vec<String> {
        let mut rng = Rng::fresh();
        (0..count)
            .map(|n| self.text(lengths.nth(n), &mut rng))
            .collect()
    }

    /// Texts that together hold every word: after them a guest's memory is in
    /// the state of a server that has met all kinds of texts.
    pub(crate) fn every_word(&self) -> Vec<String> {
        self.words.chunks(64).map(|words| words.join(" ")).collect()
    }

    /// What the guest makes of texts.
    pub(crate) fn rows(&self, texts: &[String]) -> Vec<Vec<i64>> {
        texts
            .iter()
            .map(|text| {
                let encoding = self.tokenizer.encode_fast(text.as_str(), true).unwrap();
                encoding.get_ids().iter().map(|&id| i64::from(id)).collect()
            })
            .collect()
    }
}
