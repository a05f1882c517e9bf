//! The default guest: a component with the classifier of `classifier/`.
//!
//! The classifier is a crate of its own so that other guests can build on it, as
//! `examples/neutral` does.

use fastsentiment_classifier::bindings::{
    self, Describe, Description, Error, Guest as Prepare, Predict, PredictWhole, Score,
};
use fastsentiment_classifier::{Kept, Predictor, described, said};

/// The component, which the host or a command line calls.
struct Component;

static PREDICTOR: Kept<Predictor> = Kept::new(Predictor::load);

impl Predict for Component {
    fn predict(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        PREDICTOR.get()?.predict(&texts)
    }
}

impl PredictWhole for Component {
    fn predict_whole(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        PREDICTOR.get()?.predict_whole(&texts)
    }
}

impl Describe for Component {
    fn describe() -> Result<Description, String> {
        described(PREDICTOR.get().map(Predictor::description))
    }
}

impl Prepare for Component {
    fn prepare() {
        PREDICTOR.prepare();
    }
}

bindings::export!(Component);
fastsentiment_command::export!(|texts| said(Component::predict(texts)));
