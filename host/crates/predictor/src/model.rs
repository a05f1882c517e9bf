//! What is known of a model without asking it.

/// What a model directory says of its model. A guest is free to do otherwise: what it
/// answers with is in its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCard {
    /// What the directory is called.
    pub name: String,
    /// The labels, in the order of the model's outputs; empty if it does not say.
    pub labels: Vec<String>,
    /// The longest text that is not truncated, in tokens, special tokens included;
    /// `None` if there is no limit that is known.
    pub max_tokens: Option<usize>,
    /// The end at which longer texts are cut.
    pub cut: Side,
    /// How the model's outputs become scores; `None` if it does not say.
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

/// How outputs of a model become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The labels exclude each other: the scores of a text add up to 1.
    Softmax,
    /// Each label is a question of its own.
    Sigmoid,
}
