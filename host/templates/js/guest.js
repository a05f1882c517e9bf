// Scores texts with two lists of words. The contract is wit/predict.wit.

const POSITIVE = new Set(
  ("amazing beautiful best brilliant charming delight delightful enjoyed excellent fantastic " +
    "fun funny good great happy love loved lovely nice perfect superb warm wonderful").split(" "),
);
const NEGATIVE = new Set(
  ("annoying awful bad boring broke broken disappointing dull hate hated horrible lazy mess poor " +
    "refund sad slow terrible ugly waste wastes worst").split(" "),
);

/** Every label of a text, highest score first. */
function score(text) {
  // One of each is added, so that a text without known words is a tie.
  let [good, bad] = [1, 1];
  for (const word of text.toLowerCase().split(/[^a-z]+/)) {
    if (POSITIVE.has(word)) good += 1;
    if (NEGATIVE.has(word)) bad += 1;
  }
  const scores = [
    { label: "POSITIVE", score: good / (good + bad) },
    { label: "NEGATIVE", score: bad / (good + bad) },
  ];
  return scores.sort((a, b) => b.score - a.score);
}

export const predictor = {
  predict(texts) {
    return texts.map(score);
  },
};

export const descriptor = {
  describe() {
    // Without a model there are no logits, and no text is too long.
    return {
      labels: ["NEGATIVE", "POSITIVE"],
      activation: undefined,
      limit: undefined,
      batches: true,
    };
  },
};
