//! A guest that answers `NEUTRAL` if the model is undecided.
//!
//! It scores texts like the default guest, and then applies `rule.rs` to the scores.
//! It is an example of a guest that changes the meaning of answers and nothing else, and of
//! one that is configured: `margin`, from 0.01 to 1, is how undecided the model may be.

mod rule;

use std::path::Path;

use fastsentiment_classifier::bindings::{
    self, Describe, Description, Error, Guest as Prepare, Predict, PredictWhole, Score,
};
use fastsentiment_classifier::{Kept, Predictor, described, said, setting};
use rule::Margin;

struct Component;

/// A model that the rule applies to.
#[derive(Clone)]
struct Neutral {
    predictor: Predictor,
    margin: Margin,
}

static NEUTRAL: Kept<Neutral> = Kept::new(Neutral::load);

impl Neutral {
    /// Loads a model directory, and refuses a model that the rule does not apply to.
    fn load(dir: &Path) -> Result<Self, Error> {
        let predictor = Predictor::load(dir)?;
        rule::check(predictor.labels(), predictor.activation()).map_err(Error::ModelUnsuitable)?;
        let margin = setting("margin", Margin::ALLOWED)?.unwrap_or_default();
        Ok(Self { predictor, margin })
    }

    fn description(&self) -> Description {
        let mut description = self.predictor.description();
        description.labels.push(rule::NEUTRAL.to_owned());
        description
    }

    fn apply(&self, answers: Vec<Vec<Score>>) -> Vec<Vec<Score>> {
        let answers = answers.into_iter();
        let applied = answers.map(|scores| rule::apply(scores, self.margin));
        applied.collect()
    }
}

impl Predict for Component {
    fn predict(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        let neutral = NEUTRAL.get()?;
        Ok(neutral.apply(neutral.predictor.predict(&texts)?))
    }
}

impl PredictWhole for Component {
    fn predict_whole(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        let neutral = NEUTRAL.get()?;
        Ok(neutral.apply(neutral.predictor.predict_whole(&texts)?))
    }
}

impl Describe for Component {
    fn describe() -> Result<Description, String> {
        described(NEUTRAL.get().map(Neutral::description))
    }
}

impl Prepare for Component {
    fn prepare() {
        NEUTRAL.prepare();
    }
}

bindings::export!(Component);
fastsentiment_command::export!(|texts| said(Component::predict(texts)));
