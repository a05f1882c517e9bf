//! Scores texts with two lists of words. The contract is wit/predict.wit.

wit_bindgen::generate!({
    path: "wit",
    world: "fastsentiment:predict/described-guest",
    generate_all,
});

use exports::fastsentiment::predict::descriptor::{Description, Guest as Describe};
use exports::fastsentiment::predict::predictor::{Error, Guest, Score};

const POSITIVE: &str = "amazing beautiful best brilliant charming delight delightful enjoyed \
    excellent fantastic fun funny good great happy love loved lovely nice perfect superb warm \
    wonderful";
const NEGATIVE: &str = "annoying awful bad boring broke broken disappointing dull hate hated \
    horrible lazy mess poor refund sad slow terrible ugly waste wastes worst";

struct Words;
export!(Words);

impl Guest for Words {
    fn predict(texts: Vec<String>) -> Result<Vec<Vec<Score>>, Error> {
        Ok(texts.iter().map(|text| score(text)).collect())
    }
}

impl Describe for Words {
    fn describe() -> Result<Description, String> {
        Ok(Description {
            labels: ["NEGATIVE", "POSITIVE"].map(str::to_owned).to_vec(),
            // Without a model there are no logits, and no text is too long.
            activation: None,
            limit: None,
            batches: true,
        })
    }
}

/// Every label of a text, highest score first.
fn score(text: &str) -> Vec<Score> {
    let text = text.to_ascii_lowercase();
    let words = text.split(|letter: char| !letter.is_ascii_lowercase());
    // One of each is added, so that a text without known words is a tie.
    let (mut good, mut bad) = (1, 1);
    for word in words.filter(|word| !word.is_empty()) {
        good += u16::from(contains(POSITIVE, word));
        bad += u16::from(contains(NEGATIVE, word));
    }
    let share = |label: &str, part: u16| Score {
        label: label.to_owned(),
        score: f32::from(part) / (f32::from(good) + f32::from(bad)),
    };
    let mut scores = vec![share("POSITIVE", good), share("NEGATIVE", bad)];
    scores.sort_by(|a, b| b.score.total_cmp(&a.score));
    scores
}

fn contains(list: &str, word: &str) -> bool {
    list.split(' ').any(|known| known == word)
}
