//! A share of the texts is answered by another version.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use predictor::{
    BoxFuture, ErrorKind, LongTexts, Pending, PredictError, Predictor, Request, RequestOptions,
    Router as _, Source,
};
use prometheus::Registry;
use rollout::{Share, TrialKind, Trust};
use sha2::{Digest as _, Sha256};

use super::fake::{
    FORGIVING, Fake, Mode, STRICT, Setup, numbered, refs, resolve, revision, versions,
};
use crate::cache::fake::until;

fn share(share: f64) -> Share {
    Share::new(share).unwrap()
}

/// Whether a text is in a share, told without the code that is tested: by the
/// first bytes of its digest, as a part of the largest number they can be.
fn is_in(text: &str, share: f64) -> bool {
    let digest = Sha256::digest(text.as_bytes());
    let first = digest[..8].iter();
    let number = first.fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    (number as f64) < share * 2_f64.powi(64)
}

#[tokio::test]
async fn every_text_goes_to_its_version_and_comes_back_in_its_place() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let setup = Setup::new(&old, FORGIVING);
    let texts = numbered(2000);
    let texts = refs(&texts);
    for part in [0.05, 0.3, 0.3, 1.0] {
        setup
            .rollout
            .begin_trial(new.clone(), TrialKind::Canary, share(part));
        let mut tried = 0;
        for texts in texts.chunks(100) {
            let expected: Vec<u8> = texts
                .iter()
                .map(|text| if is_in(text, part) { 2 } else { 1 })
                .collect();
            assert_eq!(setup.ask(texts).await, expected, "{part}");
            tried += texts.iter().filter(|text| is_in(text, part)).count();
        }
        assert!((tried as f64 - 2000.0 * part).abs() <= 100.0, "{tried}");
        assert_eq!(setup.live(), 1);
        let status = setup.rollout.status().trial.unwrap();
        assert_eq!(
            (status.kind, status.share),
            (TrialKind::Canary, share(part))
        );
        assert_eq!((&*status.revision, status.comparison), (&revision(2), None));
    }
    assert_eq!(*setup.rollout.end_trial().unwrap(), revision(2));
    assert!(setup.rollout.end_trial().is_none());
    assert_eq!(setup.ask(&texts[..100]).await, [1; 100]);
    for number in [1, 2] {
        assert!(setup.rollout.tally(&revision(number)).texts >= 1900);
    }
}

#[tokio::test]
async fn a_request_for_one_revision_is_answered_by_that_one_alone() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let setup = Setup::new(&old, FORGIVING);
    let texts = numbered(20);
    let texts = refs(&texts);
    let ask = async |number: u8, texts: &[&str]| {
        let options = RequestOptions {
            revision: Some(revision(number).digest()),
            ..RequestOptions::default()
        };
        let texts = texts.iter().map(ToString::to_string).collect();
        setup.rollout.predict(texts, options).await
    };
    let answered = async |number: u8| {
        let pending = ask(number, &texts).await.unwrap();
        versions(&texts, resolve(pending).await)
    };
    let is_unknown = async |number: u8| {
        let error = ask(number, &texts).await.err();
        error.map(|error| error.kind) == Some(ErrorKind::UnknownRevision)
    };
    assert_eq!(answered(1).await, [1; 20]);
    assert!(is_unknown(2).await);
    for (trial, reachable) in [(TrialKind::Canary, 2), (TrialKind::Shadow, 1)] {
        setup.rollout.begin_trial(new.clone(), trial, share(0.5));
        assert_eq!(setup.rollout.answering().len(), reachable);
        assert_eq!(answered(1).await, [1; 20]);
        if trial == TrialKind::Canary {
            assert_eq!(answered(2).await, [2; 20]);
        } else {
            assert!(is_unknown(2).await);
        }
    }
    // Nor does another answer where it fails.
    setup
        .rollout
        .begin_trial(new, TrialKind::Canary, share(0.5));
    let pending = ask(2, &["poison 2"]).await.unwrap();
    let answers = resolve(pending).await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind, ErrorKind::Failed);
}

#[tokio::test]
async fn long_texts_are_refused_by_the_revision_that_would_answer_them() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let setup = Setup::new(&old, STRICT);
    setup
        .rollout
        .begin_trial(new, TrialKind::Canary, share(0.5));
    let texts: Vec<String> = (0..40)
        .map(|number| match number % 2 {
            0 => format!("long {number}"),
            _ => format!("short {number}"),
        })
        .collect();
    let expected: Vec<u8> = texts
        .iter()
        .map(|text| if is_in(text, 0.5) { 2 } else { 1 })
        .collect();
    // Their answers are cached.
    assert_eq!(setup.ask(&refs(&texts)).await, expected);
    let options = RequestOptions {
        long_texts: LongTexts::Refuse,
        ..RequestOptions::default()
    };
    let pending = setup.rollout.predict(texts.clone(), options).await.unwrap();
    for ((text, expected), answer) in texts.iter().zip(expected).zip(resolve(pending).await) {
        match answer {
            Ok(_) if text.starts_with("long") => panic!("{text}"),
            Ok(answer) => assert_eq!(*answer.revision, revision(expected), "{text}"),
            Err(error) => {
                assert!(text.starts_with("long"), "{text}: {error}");
                assert!(
                    matches!(error.kind, ErrorKind::InvalidText { .. }),
                    "{error}"
                );
            }
        }
    }
    for number in [1, 2] {
        assert_eq!(setup.rollout.tally(&revision(number)).failures, 0);
    }
    assert!(setup.rollout.status().trial.is_some());
}

#[tokio::test]
async fn a_request_ends_on_the_canary_that_it_began_with() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Hold));
    let setup = Setup::new(&old, FORGIVING);
    setup
        .rollout
        .begin_trial(new.clone(), TrialKind::Canary, Share::ALL);
    let pending = setup.begin(&["a"]).await;
    until("it has begun", || new.calls() == 1).await;
    setup.rollout.end_trial();
    new.turn(Mode::Good);
    let answer = resolve(pending).await.remove(0).unwrap();
    assert_eq!(*answer.revision, revision(2));
    assert_eq!(setup.ask(&["a"]).await, [1]);
}

#[tokio::test]
async fn what_a_canary_fails_on_is_answered_by_the_live_version() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let mut setup = Setup::new(&old, STRICT);
    setup
        .rollout
        .begin_trial(new.clone(), TrialKind::Canary, share(0.5));
    let texts = numbered(40);
    let texts = refs(&texts);
    new.turn(Mode::Fail);
    assert_eq!(setup.ask(&texts).await, [1; 40]);
    let fall = setup.fall().await;
    assert_eq!((&*fall.revision, &*fall.live), (&revision(2), &revision(1)));
    assert!(fall.reason.contains("as it was told"), "{}", fall.reason);
    assert!(setup.rollout.status().trial.is_none());
    let calls = new.calls();
    assert_eq!(setup.ask(&["new text"]).await, [1]);
    assert_eq!(new.calls(), calls, "it is not called any more");
    // On trial again, it begins anew.
    new.turn(Mode::Good);
    setup
        .rollout
        .begin_trial(new.clone(), TrialKind::Canary, Share::ALL);
    assert_eq!(setup.ask(&["newer text"]).await, [2]);
    assert!(setup.stands());
}

/// The canary, then the live version on probation, then the one before it.
#[tokio::test]
async fn a_text_goes_on_until_a_version_can() {
    let versions = [1, 2, 3].map(|number| Fake::new(number, Mode::Good));
    let mut setup = Setup::new(&versions[0], FORGIVING);
    setup
        .rollout
        .activate(versions[1].clone(), Trust::OnProbation);
    setup
        .rollout
        .begin_trial(versions[2].clone(), TrialKind::Canary, share(0.5));
    let texts = numbered(30);
    let texts = refs(&texts);
    versions[1].turn(Mode::TimeOut);
    versions[2].turn(Mode::Fail);
    assert_eq!(setup.ask(&texts).await, [1; 30]);
    assert!(setup.stands());
}

/// A layer that refuses what one version is asked for, and never answers others.
struct Refusing {
    refused: u8,
    waiting: Arc<AtomicUsize>,
    asked: AtomicUsize,
}

struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Predictor for Refusing {
    fn predict(&self, request: Request) -> BoxFuture<Result<Vec<Pending>, PredictError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let revision = request.scorer.revision();
        if revision.guest().0[0] == self.refused {
            let retry_after = Duration::from_secs(7);
            let kind = ErrorKind::Overloaded { retry_after };
            return Box::pin(async { Err(PredictError::new(kind, "as told")) });
        }
        let pending = |_| {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let waiting = Waiting(Arc::clone(&self.waiting));
            Pending::Later(Box::pin(async {
                let _waiting = waiting;
                std::future::pending().await
            }))
        };
        let pending = request.texts.iter().map(pending).collect();
        Box::pin(async { Ok(pending) })
    }
}

#[tokio::test]
async fn a_request_is_refused_as_a_whole() {
    for refused in [1, 2] {
        let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
        let waiting = Arc::<AtomicUsize>::default();
        let below = Arc::new(Refusing {
            refused,
            waiting: waiting.clone(),
            asked: AtomicUsize::new(0),
        });
        let setup = Setup::over(&old, FORGIVING, below.clone(), Registry::new());
        setup
            .rollout
            .begin_trial(new, TrialKind::Canary, share(0.5));
        let asked = setup
            .rollout
            .predict(numbered(20), RequestOptions::default())
            .await;
        let retry_after = Duration::from_secs(7);
        let kind = ErrorKind::Overloaded { retry_after };
        assert_eq!(asked.err().unwrap().kind, kind, "{refused}");
        assert!(below.asked.load(Ordering::SeqCst) <= 2, "in two parts");
        until("nothing waits", || waiting.load(Ordering::SeqCst) == 0).await;
    }
}

#[tokio::test]
async fn who_leaves_a_canary_is_not_scored() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Hang));
    let mut setup = Setup::new(&old, STRICT);
    setup
        .rollout
        .begin_trial(new.clone(), TrialKind::Canary, Share::ALL);
    for leaving in 1..=10 {
        let text = format!("leaves {leaving}");
        let pending = setup.begin(&[&text]).await;
        until("it has begun", || new.calls() == leaving).await;
        drop(pending);
        until("it has ended", || new.abandoned() == leaving).await;
    }
    // Being left is no failure.
    assert!(setup.stands());
    assert_eq!(setup.rollout.tally(&revision(2)).failures, 0);
    assert_eq!(old.calls(), 0);
}

#[tokio::test]
async fn each_version_keeps_its_answers() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let setup = Setup::new(&old, FORGIVING);
    let source = async |expected| {
        let answer = resolve(setup.begin(&["a"]).await).await.remove(0).unwrap();
        assert_eq!(*answer.revision, revision(expected));
        answer.source
    };
    assert_eq!(source(1).await, Source::Computed);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    assert_eq!(source(2).await, Source::Computed);
    assert_eq!(source(2).await, Source::Memory);
    setup.rollout.activate(old.clone(), Trust::Trusted);
    assert_eq!(source(1).await, Source::Memory);
    setup
        .rollout
        .begin_trial(new.clone(), TrialKind::Canary, Share::ALL);
    assert_eq!(source(2).await, Source::Memory);
}
