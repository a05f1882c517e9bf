//! What a model directory says of its model.

/// Facts about a model, from its directory. A guest may do otherwise: what it answers
/// with is in its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCard {
    /// The directory's name.
    pub name: String,
    /// The labels, in the order of the model's outputs; empty if unknown.
    pub labels: Vec<String>,
    /// The longest text that is not truncated, in tokens, special tokens included; `None`
    /// if no limit is known.
    pub max_tokens: Option<usize>,
    /// The end at which longer texts are truncated.
    pub cut: Side,
    /// How the model's outputs become scores; `None` if unknown.
    pub activation: Option<Activation>,
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
