//! A version that was just made live is not trusted yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use predictor::{Answer, BoxFuture, ErrorKind, Pending, PredictError, Predictor, Request, Source};
use prometheus::Registry;
use rollout::{Options, Trust};

use super::fake::{
    FORGIVING, Fake, Mode, STRICT, Setup, numbered, refs, resolve, revision, scores, versions,
};
use crate::cache::fake::until;
use crate::harness::PATIENCE;

#[tokio::test]
async fn every_failure_is_answered_by_the_version_before() {
    for mode in [Mode::Fail, Mode::TimeOut, Mode::Panic, Mode::Forget] {
        let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
        let mut setup = Setup::new(&old, FORGIVING);
        setup.rollout.activate(new.clone(), Trust::OnProbation);
        assert_eq!(setup.ask(&["good"]).await, [2]);
        new.turn(mode);
        let texts = numbered(20);
        assert_eq!(setup.ask(&refs(&texts)).await, [1; 20], "{mode:?}");
        new.turn(Mode::Good);
        // What the other version answered is not kept as this one's.
        assert_eq!(setup.ask(&refs(&texts)).await, [2; 20], "{mode:?}");
        let tally = setup.rollout.tally(&revision(2));
        assert!(tally.failures >= 1, "{mode:?}");
        assert_eq!(tally.texts, 21, "{mode:?}");
        assert!(setup.stands());
        assert_eq!(setup.live(), 2);
    }
}

#[tokio::test]
async fn only_the_texts_that_fail_go_to_the_version_before() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let setup = Setup::new(&old, FORGIVING);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    let answers = resolve(setup.begin(&["a", "poison", "invalid", "b"]).await).await;
    // Version 1 fails on that text too: then it is the text.
    assert_eq!(answers[1].as_ref().unwrap_err().kind, ErrorKind::Failed);
    // A text that a version refuses is no failure of the version.
    let invalid = &answers[2].as_ref().unwrap_err().kind;
    assert!(matches!(invalid, ErrorKind::InvalidText { .. }));
    for at in [0, 3] {
        assert_eq!(*answers[at].as_ref().unwrap().revision, revision(2));
    }
    let failures = setup.rollout.tally(&revision(2)).failures;
    for _ in 0..3 {
        resolve(setup.begin(&["invalid"]).await).await;
    }
    assert_eq!(setup.rollout.tally(&revision(2)).failures, failures);
}

#[tokio::test]
async fn many_failures_can_be_allowed_and_one_more_is_too_many() {
    for allowed in [63, 64, 300] {
        let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
        let options = Options {
            failures: allowed,
            ..STRICT
        };
        let mut setup = Setup::new(&old, options);
        setup.rollout.activate(new.clone(), Trust::OnProbation);
        new.turn(Mode::Fail);
        for failure in 0..=allowed {
            assert_eq!(setup.live(), 2, "of {allowed}, before failure {failure}");
            assert_eq!(setup.ask(&[&format!("text {failure}")]).await, [1]);
        }
        assert_eq!(*setup.fall().await.live, revision(1));
    }
}

#[tokio::test]
async fn too_many_failures_bring_the_version_before_back() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let mut setup = Setup::new(&old, STRICT);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    let probation = setup.rollout.status().probation.unwrap();
    assert_eq!(*probation.fallback, revision(1));
    assert!(probation.left <= PATIENCE);
    new.turn(Mode::Fail);
    for failure in 1..=4 {
        assert_eq!(setup.live(), 2, "before failure {failure}");
        assert_eq!(setup.ask(&[&format!("text {failure}")]).await, [1]);
        assert_eq!(setup.rollout.tally(&revision(2)).failures, failure);
    }
    let fall = setup.fall().await;
    assert_eq!((&*fall.revision, &*fall.live), (&revision(2), &revision(1)));
    assert_eq!(
        fall.reason,
        "4 of its last 4 calls have failed, the last one: as it was told"
    );
    assert_eq!(setup.live(), 1);
    let status = setup.rollout.status();
    assert!(status.probation.is_none() && *status.live == revision(1));
    let calls = new.calls();
    assert_eq!(setup.ask(&["another"]).await, [1]);
    assert_eq!(new.calls(), calls);
    assert!(setup.stands(), "it falls once");
}

/// Some of them are with the version, most wait for a worker.
#[tokio::test]
async fn who_met_a_version_that_falls_is_answered_by_the_good_one() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let mut setup = Setup::new(&old, STRICT);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    new.turn(Mode::Fail);
    for failure in 1..=3 {
        assert_eq!(setup.ask(&[&format!("text {failure}")]).await, [1]);
    }
    new.turn(Mode::Hold);
    let held = setup.begin(&["held"]).await;
    until("it is held", || new.calls() == 4).await;
    let texts = numbered(300);
    let texts = refs(&texts);
    let mut waiting = Vec::new();
    for texts in texts.chunks(50) {
        waiting.push((texts, setup.begin(texts).await));
    }
    until("both workers are held", || new.calls() == 5).await;
    // Whichever fails first is one too many.
    new.turn(Mode::Fail);
    setup.fall().await;
    assert_eq!(versions(&["held"], resolve(held).await), [1]);
    for (texts, pending) in waiting {
        assert_eq!(versions(texts, resolve(pending).await), [1; 50]);
    }
    assert_eq!(new.calls(), 5, "it is asked for no more");
}

#[tokio::test]
async fn calls_of_a_version_that_falls_are_ended() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let mut setup = Setup::new(&old, STRICT);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    new.turn(Mode::Hang);
    let hanging = setup.begin(&["hangs"]).await;
    until("it hangs", || new.calls() == 1).await;
    for failure in 1..=4 {
        assert_eq!(setup.ask(&[&format!("poison 2 {failure}")]).await, [1]);
    }
    setup.fall().await;
    assert_eq!(versions(&["hangs"], resolve(hanging).await), [1]);
    until("the call is ended", || new.abandoned() == 1).await;
    // That was no failure of its own.
    assert_eq!(setup.rollout.tally(&revision(2)).failures, 4);
}

/// A text that a version fails on says little of the version, however often it
/// comes: not when so much else is well.
#[tokio::test]
async fn a_few_failures_among_many_calls_are_forgiven() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let mut setup = Setup::new(&old, STRICT);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    for number in 0..200 {
        assert_eq!(setup.ask(&[&format!("good {number}")]).await, [2]);
        if number % 20 == 19 {
            assert_eq!(setup.ask(&[&format!("poison 2 {number}")]).await, [1]);
        }
    }
    assert_eq!(setup.rollout.tally(&revision(2)).failures, 10);
    assert!(setup.stands());
    assert_eq!(setup.live(), 2);
    // However long it was well, it falls soon: of the last 54 calls these are too many.
    new.turn(Mode::Fail);
    let mut failures = 10;
    while setup.live() == 2 {
        failures += 1;
        assert_eq!(setup.ask(&[&format!("bad {failures}")]).await, [1]);
    }
    assert_eq!(failures, 14);
    let reason = setup.fall().await.reason;
    assert!(reason.starts_with("6 of its last 54 calls"), "{reason}");
}

#[tokio::test]
async fn few_time_outs_are_too_many() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let mut setup = Setup::new(&old, STRICT);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    for number in 0..50 {
        assert_eq!(setup.ask(&[&format!("good {number}")]).await, [2]);
    }
    new.turn(Mode::TimeOut);
    assert_eq!(setup.ask(&["late"]).await, [1]);
    assert!(setup.stands());
    assert_eq!(setup.ask(&["late again"]).await, [1]);
    setup.fall().await;
}

/// Who goes back from a version that hangs need not wait for its time-outs: nor need
/// those whose texts it has.
#[tokio::test]
async fn going_back_from_a_version_on_probation_ends_its_calls() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let setup = Setup::new(&old, STRICT);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    new.turn(Mode::Hang);
    let hanging = setup.begin(&["hangs"]).await;
    until("it hangs", || new.calls() == 1).await;
    setup.rollout.activate(old.clone(), Trust::Trusted);
    assert_eq!(versions(&["hangs"], resolve(hanging).await), [1]);
}

#[tokio::test]
async fn after_its_probation_a_version_answers_for_itself() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let options = Options {
        probation: Duration::from_millis(20),
        failures: 0,
    };
    let mut setup = Setup::new(&old, options);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    until("the probation is over", || {
        setup.rollout.status().probation.is_none()
    })
    .await;
    let failed = |answers: Vec<Result<Answer, PredictError>>| {
        let error = answers.into_iter().next().unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed);
    };
    // The first request notices that it is over.
    for text in ["poison 2 a", "poison 2 b", "poison 2 c"] {
        failed(resolve(setup.begin(&[text]).await).await);
    }
    assert!(setup.stands());
    assert_eq!((setup.live(), old.calls()), (2, 0));
    // It is trusted by now, and stands by for another one.
    let newest = Fake::new(3, Mode::Good);
    let patient = Setup::new(&new, STRICT);
    patient.rollout.activate(newest, Trust::OnProbation);
    assert_eq!(patient.ask(&["poison 3 a"]).await, [2]);
}

#[tokio::test]
async fn there_is_no_probation_of_no_length_or_if_none_is_asked_for() {
    for (probation, trust) in [
        (Duration::ZERO, Trust::OnProbation),
        (PATIENCE, Trust::Trusted),
    ] {
        let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Fail));
        let options = Options {
            probation,
            failures: 0,
        };
        let mut setup = Setup::new(&old, options);
        setup.rollout.activate(new.clone(), trust);
        assert!(setup.rollout.status().probation.is_none());
        let answer = resolve(setup.begin(&["a"]).await).await.remove(0);
        assert_eq!(answer.unwrap_err().kind, ErrorKind::Failed);
        assert!(setup.stands());
        assert_eq!((setup.live(), old.calls()), (2, 0));
    }
}

/// Of two that are made live one after the other, both can be bad.
#[tokio::test]
async fn a_chain_of_bad_versions_ends_at_a_good_one() {
    let versions = [1, 2, 3].map(|number| Fake::new(number, Mode::Good));
    let mut setup = Setup::new(&versions[0], STRICT);
    setup
        .rollout
        .activate(versions[1].clone(), Trust::OnProbation);
    setup
        .rollout
        .activate(versions[2].clone(), Trust::OnProbation);
    let probation = setup.rollout.status().probation.unwrap();
    assert_eq!(*probation.fallback, revision(1));
    versions[1].turn(Mode::Fail);
    versions[2].turn(Mode::Fail);
    for failure in 1..=4 {
        assert_eq!(setup.ask(&[&format!("text {failure}")]).await, [1]);
    }
    assert_eq!(*setup.fall().await.revision, revision(3));
    assert_eq!((setup.live(), versions[1].calls()), (1, 0));
}

#[tokio::test]
async fn to_make_a_version_live_again_changes_nothing_or_trusts_it() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Fail));
    let setup = Setup::new(&old, FORGIVING);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    let probation = setup.rollout.status().probation.unwrap();
    assert_eq!(*probation.fallback, revision(1));
    assert_eq!(setup.ask(&["a"]).await, [1]);
    setup.rollout.activate(new.clone(), Trust::Trusted);
    assert!(setup.rollout.status().probation.is_none());
    assert!(resolve(setup.begin(&["b"]).await).await[0].is_err());
    // Who goes back to what was trusted needs no probation for it.
    let setup = Setup::new(&old, FORGIVING);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    setup.rollout.activate(old.clone(), Trust::OnProbation);
    assert_eq!(setup.live(), 1);
    assert!(setup.rollout.status().probation.is_none());
}

/// A layer in which one version fails always, and which refuses the other a few
/// times first.
struct Busy {
    refusals: AtomicUsize,
}

impl Predictor for Busy {
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        let revision = Arc::clone(request.scorer.revision());
        let number = revision.guest().0[0];
        let less = |left: usize| left.checked_sub(1);
        let (one, other) = (Ordering::SeqCst, Ordering::SeqCst);
        if number == 1 && self.refusals.fetch_update(one, other, less).is_ok() {
            let retry_after = Duration::from_millis(1);
            let kind = ErrorKind::Overloaded { retry_after };
            return Box::pin(async { Err(PredictError::new(kind, "as told")) });
        }
        let pending = |text: String| {
            let answer = match number {
                1 => Ok(Answer {
                    scores: scores(1, &text),
                    revision: Arc::clone(&revision),
                    source: Source::Computed,
                    work: None,
                }),
                _ => Err(PredictError::new(ErrorKind::Failed, "as told")),
            };
            Pending::Later(Box::pin(async { answer }))
        };
        let pending = request.texts.into_iter().map(pending).collect();
        Box::pin(async { Ok(pending) })
    }
}

/// They were taken on before there was too much to do.
#[tokio::test]
async fn texts_that_were_taken_on_are_not_refused_later() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let below = Busy {
        refusals: AtomicUsize::new(3),
    };
    let setup = Setup::over(&old, FORGIVING, Arc::new(below), Registry::new());
    setup.rollout.activate(new, Trust::OnProbation);
    let texts = numbered(10);
    assert_eq!(setup.ask(&refs(&texts)).await, [1; 10]);
}
