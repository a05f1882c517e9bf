//! What becomes of texts that are longer than the model's limit.
//!
//! This module must not know tokenizers or models.

use std::str::FromStr;

use fastsentiment_config::Activation;

/// The setting `long-texts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LongTexts {
    /// They are cut off at the limit, as Transformers does with `truncation=True`.
    #[default]
    Truncate,
    /// They are refused.
    Refuse,
    /// They are scored in overlapping windows, and their scores combined.
    Window(Pooling),
}

/// How the scores of a text's windows become those of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The mean of each label.
    Mean,
    /// The largest of each label. Of labels that exclude each other, these add up to more
    /// than 1, and are divided by their sum.
    Max,
}

impl LongTexts {
    /// The key of the setting.
    pub(crate) const KEY: &str = "long-texts";

    /// What is allowed.
    pub(crate) const ALLOWED: &str = "truncate, refuse, window or window-max";

    /// The same for texts that must not be truncated.
    pub(crate) fn whole(self) -> Self {
        match self {
            Self::Truncate => Self::Refuse,
            Self::Refuse | Self::Window(_) => self,
        }
    }
}

impl FromStr for LongTexts {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "truncate" => Ok(Self::Truncate),
            "refuse" => Ok(Self::Refuse),
            "window" => Ok(Self::Window(Pooling::Mean)),
            "window-max" => Ok(Self::Window(Pooling::Max)),
            _ => Err(()),
        }
    }
}

impl Pooling {
    /// The scores of a text, from those of its windows: at least one, all of as many labels.
    pub(crate) fn pool(self, windows: Vec<Vec<f32>>, activation: Activation) -> Vec<f32> {
        let mut windows = windows.into_iter();
        let Some(mut pooled) = windows.next() else {
            return Vec::new();
        };
        let mut count = 1.0;
        for scores in windows {
            count += 1.0;
            for (pooled, score) in pooled.iter_mut().zip(scores) {
                *pooled = match self {
                    Self::Mean => *pooled + score,
                    Self::Max => pooled.max(score),
                };
            }
        }
        let divisor = match (self, activation) {
            (Self::Mean, _) => count,
            // Of one window they add up to 1 already, except for rounding.
            (Self::Max, Activation::Softmax) if count > 1.0 => pooled.iter().sum(),
            (Self::Max, _) => 1.0,
        };
        for score in &mut pooled {
            *score /= divisor;
        }
        pooled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_one_of_four_words() {
        for (text, expected) in [
            ("truncate", LongTexts::Truncate),
            ("refuse", LongTexts::Refuse),
            ("window", LongTexts::Window(Pooling::Mean)),
            ("window-max", LongTexts::Window(Pooling::Max)),
        ] {
            assert_eq!(text.parse(), Ok(expected));
            assert!(LongTexts::ALLOWED.contains(text));
            assert_ne!(expected.whole(), LongTexts::Truncate);
        }
        for wrong in ["", "Truncate", "window-mean", "window mean", "512"] {
            assert!(wrong.parse::<LongTexts>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_window_has_the_scores_of_the_text() {
        let scores = vec![0.1_f32, 0.7, 0.2];
        for pooling in [Pooling::Mean, Pooling::Max] {
            for activation in [Activation::Softmax, Activation::Sigmoid] {
                let pooled = pooling.pool(vec![scores.clone()], activation);
                assert_eq!(pooled, scores);
            }
        }
    }

    #[test]
    fn windows_are_pooled_by_label() {
        let windows = || vec![vec![0.75, 0.25], vec![0.0, 1.0], vec![0.75, 0.25]];
        let pool = |pooling: Pooling, activation| pooling.pool(windows(), activation);
        for activation in [Activation::Softmax, Activation::Sigmoid] {
            assert_eq!(pool(Pooling::Mean, activation), [0.5, 0.5]);
        }
        assert_eq!(pool(Pooling::Max, Activation::Sigmoid), [0.75, 1.0]);
        let exclusive = pool(Pooling::Max, Activation::Softmax);
        assert_eq!(exclusive, [0.75 / 1.75, 1.0 / 1.75]);
    }
}
