//! The default guest: the classifier, as it is.
//!
//! What it does is in `classifier/`, so that other guests can do more with it
//! (`examples/neutral` does); this crate is what makes a component of it.

use fastsentiment_classifier::bindings::{self, Error, Guest as Prepare, Predict, Score};
use fastsentiment_classifier::{Kept, Predictor, said};

/// The component: what the host, or a command line, calls.
struct Component;

static PREDICTOR: Kept<Predictor> = Kept::new(Predictor::load);

impl Predict for Component {
    fn predict(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        PREDICTOR.get()?.predict(&texts)
    }
}

impl Prepare for Component {
    fn prepare() {
        PREDICTOR.prepare();
    }
}

bindings::export!(Component);
fastsentiment_command::export!(|texts| said(Component::predict(texts)));
