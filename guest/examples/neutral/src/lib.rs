//! A guest that says `NEUTRAL` where the model is in doubt.
//!
//! The model answers as it does in the default guest; `rule.rs` says what becomes
//! of its answer. This is what a guest looks like that changes what answers mean
//! and leaves the rest alone.

mod rule;

use std::path::Path;

use fastsentiment_classifier::bindings::{self, Error, Guest as Prepare, Predict, Score};
use fastsentiment_classifier::{Kept, Predictor, said};

struct Component;

/// A model whose answers the rule can be applied to.
#[derive(Clone)]
struct Neutral(Predictor);

static NEUTRAL: Kept<Neutral> = Kept::new(Neutral::load);

impl Neutral {
    /// Loads a model directory; refuses a model of whose labels it can not be
    /// said that two of them are close.
    fn load(dir: &Path) -> Result<Self, Error> {
        let predictor = Predictor::load(dir)?;
        rule::check(predictor.labels(), predictor.activation()).map_err(Error::ModelUnsuitable)?;
        Ok(Self(predictor))
    }

    fn predict(&self, texts: &[String]) -> Result<Vec<Vec<Score>>, Error> {
        let answers = self.0.predict(texts)?;
        Ok(answers.into_iter().map(rule::apply).collect())
    }
}

impl Predict for Component {
    fn predict(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        NEUTRAL.get()?.predict(&texts)
    }
}

impl Prepare for Component {
    fn prepare() {
        NEUTRAL.prepare();
    }
}

bindings::export!(Component);
fastsentiment_command::export!(|texts| said(Component::predict(texts)));
