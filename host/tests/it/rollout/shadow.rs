//! A version is given copies of texts, and nobody sees its answers.

use std::sync::Arc;

use predictor::{CancellationToken, PredictError, Revision, Score, Scorer, Scores, Source};
use rollout::{Comparison, Share, TrialKind, Trust};

use super::fake::{FORGIVING, Fake, Mode, STRICT, Setup, numbered, refs, resolve, revision};
use crate::cache::fake::{metric, until};

/// Answers as a table says; what is not in it is an error.
struct Table {
    revision: Arc<Revision>,
    rows: Vec<(&'static str, &'static [(&'static str, f32)])>,
}

impl Table {
    fn new(number: u8, rows: &[(&'static str, &'static [(&'static str, f32)])]) -> Arc<Self> {
        Arc::new(Self {
            revision: Arc::new(revision(number)),
            rows: rows.to_vec(),
        })
    }

    fn scores(&self, text: &str) -> Result<Scores, PredictError> {
        let row = self.rows.iter().find(|row| row.0 == text);
        let (_, scores) = row.ok_or_else(|| {
            let kind = predictor::ErrorKind::Failed;
            PredictError::new(kind, "it is not in the table")
        })?;
        let score = |(label, score): &(&str, f32)| Score {
            label: (*label).into(),
            score: *score,
        };
        Ok(scores.iter().map(score).collect())
    }
}

impl Scorer for Table {
    fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    fn score(&self, texts: &[String], _: &CancellationToken) -> Result<Vec<Scores>, PredictError> {
        texts.iter().map(|text| self.scores(text)).collect()
    }
}

fn comparison(setup: &Setup) -> Comparison {
    let trial = setup.rollout.status().trial.expect("a trial");
    trial.comparison.expect("a shadow")
}

/// Waits until so many copies have come to an end, and tells of them.
async fn compared(setup: &Setup, count: u64) -> Comparison {
    let ended = |all: Comparison| all.texts + all.failed + all.skipped;
    until("copies are compared", || ended(comparison(setup)) >= count).await;
    let comparison = comparison(setup);
    assert_eq!(ended(comparison), count);
    comparison
}

fn close(given: f64, expected: f64) {
    assert!((given - expected).abs() < 1e-6, "{given}, not {expected}");
}

#[tokio::test]
async fn answers_are_compared_and_not_returned() {
    let live = Table::new(
        1,
        &[
            ("same", &[("POSITIVE", 0.75), ("NEGATIVE", 0.25)]),
            ("close", &[("POSITIVE", 0.75), ("NEGATIVE", 0.25)]),
            ("flips", &[("POSITIVE", 0.75), ("NEGATIVE", 0.25)]),
            ("another", &[("POSITIVE", 0.75), ("NEGATIVE", 0.25)]),
            ("fails", &[("POSITIVE", 0.75), ("NEGATIVE", 0.25)]),
        ],
    );
    let shadow = Table::new(
        2,
        &[
            ("same", &[("POSITIVE", 0.75), ("NEGATIVE", 0.25)]),
            ("close", &[("POSITIVE", 0.625), ("NEGATIVE", 0.375)]),
            ("flips", &[("NEGATIVE", 0.75), ("POSITIVE", 0.25)]),
            // A label that the live version has not: 0.875 apart.
            ("another", &[("NEUTRAL", 0.875), ("POSITIVE", 0.125)]),
        ],
    );
    let setup = Setup::new(&live, FORGIVING);
    let trial = TrialKind::Shadow;
    setup.rollout.begin_trial(shadow.clone(), trial, Share::ALL);
    assert_eq!(comparison(&setup), Comparison::default());
    let texts = ["same", "close", "flips", "another", "fails"];
    // The first time they are computed, and then they are known: both are copied.
    for round in 1..=2 {
        let answers = resolve(setup.begin(&texts).await).await;
        for (answer, text) in answers.into_iter().zip(texts) {
            let answer = answer.unwrap();
            assert_eq!(*answer.revision, revision(1));
            assert_eq!(answer.scores, live.scores(text).unwrap());
            let known = answer.source == Source::Memory;
            assert_eq!(known, round == 2, "{text}");
        }
        let told = compared(&setup, 5 * round).await;
        assert_eq!((told.texts, told.failed), (4 * round, round));
        assert_eq!((told.agreed, told.skipped), (2 * round, 0));
        // (0 + 0.125 + 0.5 + 0.875) / 4
        close(told.mean_difference, 0.375);
        close(told.largest_difference, 0.875);
        let counted = |result| {
            let labels = [("guest", "020202020202"), ("result", result)];
            metric(&setup.registry, "fastsentiment_shadow_texts_total", &labels)
        };
        assert_eq!(counted("agreed"), 2 * round);
        assert_eq!(counted("differed"), 2 * round);
        assert_eq!(counted("failed"), round);
    }
    assert_eq!(setup.rollout.tally(&revision(1)).texts, 5);
    // Its answers were not kept either.
    setup.rollout.activate(shadow, Trust::OnProbation);
    assert!(setup.rollout.status().trial.is_none(), "it is live now");
    let answer = resolve(setup.begin(&["same"]).await).await.remove(0);
    assert_eq!(answer.unwrap().source, Source::Computed);
}

#[tokio::test]
async fn only_the_share_is_copied() {
    let (live, shadow) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let setup = Setup::new(&live, FORGIVING);
    let texts = numbered(400);
    let share = Share::new(0.25).unwrap();
    setup.rollout.begin_trial(shadow, TrialKind::Shadow, share);
    for texts in refs(&texts).chunks(20) {
        setup.ask(texts).await;
    }
    // Told by a canary of the same share.
    let canary = Fake::new(3, Mode::Good);
    let told = comparison(&setup);
    let waiting = || comparison(&setup).texts;
    let other = Setup::new(&live, FORGIVING);
    other.rollout.begin_trial(canary, TrialKind::Canary, share);
    let answered = other.ask(&refs(&texts)).await;
    let tried = answered.iter().map(|revision| u64::from(*revision == 3));
    let expected: u64 = tried.sum();
    assert!(told.texts <= expected && expected > 50, "{expected}");
    until("all are compared", || {
        waiting() + comparison(&setup).skipped == expected
    })
    .await;
}

/// One that goes on for ever, with one worker and with two: requests are answered
/// while it does.
#[tokio::test]
async fn a_shadow_gives_way() {
    for workers in [1, 2] {
        let (live, shadow) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Hang));
        let mut setup = Setup::with_workers(&live, STRICT, workers);
        let trial = TrialKind::Shadow;
        setup.rollout.begin_trial(shadow.clone(), trial, Share::ALL);
        let mut round = 0;
        // With two workers the other one is enough, most of the time.
        while shadow.abandoned() < 3 {
            round += 1;
            let texts = numbered(20 * workers * workers);
            let texts: Vec<String> = texts.iter().map(|text| format!("{text} {round}")).collect();
            assert_eq!(setup.ask(&refs(&texts)).await, vec![1; texts.len()]);
            let begun = shadow.calls() > shadow.abandoned();
            until("it is at it again", || {
                begun || shadow.calls() > shadow.abandoned()
            })
            .await;
        }
        assert!(setup.stands(), "to give way is no failure");
        assert_eq!(setup.rollout.tally(&revision(2)).failures, 0);
        until("what was given up is told", || {
            comparison(&setup).skipped >= 3
        })
        .await;
        let given_up = "fastsentiment_background_given_up_texts_total";
        assert!(metric(&setup.registry, given_up, &[]) >= 3);
        // Without an end it would go on.
        setup.rollout.end_trial();
        until("it is ended", || shadow.calls() == shadow.abandoned()).await;
        let waiting = || metric(&setup.registry, "fastsentiment_background_texts", &[]);
        until("nothing waits for it", || waiting() == 0).await;
        let calls = shadow.calls();
        setup.ask(&["afterwards"]).await;
        assert_eq!(shadow.calls(), calls);
    }
}

#[tokio::test]
async fn a_shadow_that_fails_too_often_falls() {
    let (live, shadow) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Fail));
    let mut setup = Setup::new(&live, STRICT);
    let trial = TrialKind::Shadow;
    setup.rollout.begin_trial(shadow.clone(), trial, Share::ALL);
    let texts = numbered(20);
    assert_eq!(setup.ask(&refs(&texts)).await, [1; 20]);
    let fall = setup.fall().await;
    assert_eq!((&*fall.revision, &*fall.live), (&revision(2), &revision(1)));
    assert!(setup.rollout.status().trial.is_none());
    assert_eq!(setup.live(), 1);
}

/// Three versions at once: each text has the answer that it would have without a
/// shadow.
#[tokio::test]
async fn a_shadow_follows_a_version_on_probation() {
    let versions = [1, 2, 3].map(|number| Fake::new(number, Mode::Good));
    let setup = Setup::new(&versions[0], FORGIVING);
    setup
        .rollout
        .activate(versions[1].clone(), Trust::OnProbation);
    let shadow = versions[2].clone();
    setup
        .rollout
        .begin_trial(shadow, TrialKind::Shadow, Share::ALL);
    assert_eq!(setup.ask(&["a", "poison 2", "b"]).await, [2, 1, 2]);
    let told = compared(&setup, 3).await;
    assert_eq!((told.texts, told.agreed), (3, 3));
    // 0.01 for each version in between; see `scores`.
    close(told.largest_difference, 0.02);
    close(told.mean_difference, 0.04 / 3.0);
}

/// Copies hold memory that no limit of requests counts: so it is bounded.
#[tokio::test]
async fn what_is_too_much_is_not_copied() {
    let (live, shadow) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Hold));
    let setup = Setup::with_workers(&live, FORGIVING, 3);
    let trial = TrialKind::Shadow;
    setup.rollout.begin_trial(shadow.clone(), trial, Share::ALL);
    let long = "word ".repeat(20_000);
    let texts: Vec<String> = (0..60).map(|number| format!("{number} {long}")).collect();
    setup.ask(&refs(&texts)).await;
    // Of 100 KB each, 41 fit into 4 MiB.
    assert_eq!(comparison(&setup).skipped, 19);
    shadow.turn(Mode::Good);
    let told = compared(&setup, 60).await;
    assert_eq!((told.texts, told.agreed), (41, 41));
    // What has ended makes room.
    setup.ask(&refs(&texts[..1])).await;
    assert_eq!(compared(&setup, 61).await.texts, 42);
}

/// The text's own answer is what a copy would be compared with.
#[tokio::test]
async fn a_text_without_an_answer_is_not_compared() {
    let (live, shadow) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let setup = Setup::new(&live, FORGIVING);
    let trial = TrialKind::Shadow;
    setup.rollout.begin_trial(shadow.clone(), trial, Share::ALL);
    assert!(resolve(setup.begin(&["poison"]).await).await[0].is_err());
    live.turn(Mode::Hang);
    drop(setup.begin(&["left"]).await);
    live.turn(Mode::Good);
    setup.ask(&["a"]).await;
    let told = compared(&setup, 1).await;
    assert_eq!((told.texts, shadow.calls()), (1, 1));
}
