//! What is known of a revision beside its answers.

use std::collections::HashSet;

use crate::Score;

/// A model, and what the guest that calls it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCard {
    /// The name of the model's directory.
    pub name: String,
    /// What the guest says.
    pub description: Description,
}

/// What a guest says of itself; see `describe` in the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The labels, in the order of the model's outputs; empty if unknown.
    pub labels: Vec<String>,
    /// How the model's outputs become scores; `None` if unknown.
    pub activation: Option<Activation>,
    /// How long a text may be; `None` if no limit is known.
    pub limit: Option<Limit>,
    /// Whether the texts of a call are computed together; otherwise calls of several texts
    /// are no faster.
    pub batches: bool,
}

impl Description {
    /// Of a guest that does not describe itself.
    pub const UNKNOWN: Self = Self {
        labels: Vec::new(),
        activation: None,
        limit: None,
        batches: true,
    };

    /// Whether an answer has these labels and no others. Neither has one twice.
    pub fn has_labels_of(&self, answer: &[Score]) -> bool {
        let given: HashSet<&str> = answer.iter().map(|score| &*score.label).collect();
        let mut said = self.labels.iter();
        given.len() == self.labels.len() && said.all(|label| given.contains(&**label))
    }
}

/// How long a text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The longest text that is scored as a whole, in tokens, special tokens included.
    pub tokens: usize,
    /// The end at which longer texts are truncated.
    pub cut: Side,
}

/// An end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its beginning.
    Left,
    /// Its end.
    Right,
}

/// How a model's outputs become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The labels exclude each other: the scores of a text add up to 1.
    Softmax,
    /// Each label is independent of the others.
    Sigmoid,
}
