//! A text that takes too long while others wait is set aside.

use std::time::Duration;

use predictor::{ErrorKind, Pending};

use super::{Fake, OPTIONS, Options, Subject, answers};

const SET_ASIDE: &str = "fastsentiment_set_aside_texts_total";

/// One worker, whose texts are expected to take some milliseconds.
fn impatient() -> Subject {
    Subject::start(Options {
        patience: Duration::ZERO,
        ..OPTIONS
    })
}

/// Asks for a text, and waits until it is being scored.
async fn begin(subject: &Subject, fake: &Fake, text: &str) -> Vec<Pending> {
    let pending = subject.ask(fake, &[text]).await.unwrap();
    fake.until(|state| state.batches.iter().any(|batch| batch == &[text]));
    pending
}

#[tokio::test]
async fn texts_that_hang_hold_up_no_other() {
    let (subject, hanging, live) = (impatient(), Fake::held(), Fake::of(2));
    live.release_all();
    let mut held = Vec::new();
    for (round, text) in ["a", "b", "c"].into_iter().enumerate() {
        held.extend(begin(&subject, &hanging, text).await);
        let answered = subject.ask(&live, &["live"]).await.unwrap();
        assert!(answers(answered).await[0].is_ok(), "beside {text}");
        hanging.until(|state| state.abandoned == round + 1);
    }
    // They are scored one by one, each as long as it takes.
    let begun = hanging.batches(4);
    assert_eq!(begun.iter().filter(|batch| *batch == &["a"]).count(), 2);
    assert_eq!(begun.len(), 4, "{begun:?}");
    assert_eq!(subject.metric(SET_ASIDE), 3);
    hanging.release_all();
    assert!(answers(held).await.iter().all(Result::is_ok));
    assert_eq!(subject.metric("fastsentiment_queue_texts"), 0);
}

#[tokio::test]
async fn a_text_that_nobody_waits_for_may_take_its_time() {
    let (subject, hanging) = (impatient(), Fake::held());
    let held = begin(&subject, &hanging, "a").await;
    // Time enough for what must not happen, most of the time.
    tokio::time::sleep(Duration::from_millis(100)).await;
    hanging.until(|state| state.abandoned == 0);
    hanging.release();
    assert!(answers(held).await[0].is_ok());
    assert_eq!(subject.metric(SET_ASIDE), 0);
}

/// Nobody else waits, but the texts of a batch wait for one another.
#[tokio::test]
async fn the_texts_of_a_late_batch_are_tried_alone() {
    let (subject, hanging) = (impatient(), Fake::held());
    let held = begin(&subject, &hanging, "first").await;
    let both = subject.ask(&hanging, &["a", "b"]).await.unwrap();
    // The first makes room for them.
    for texts in [&["a", "b"][..], &["a"], &["b"]] {
        hanging.until(|state| state.batches.iter().any(|batch| batch == texts));
    }
    hanging.release_all();
    for pending in [held, both] {
        assert!(answers(pending).await.iter().all(Result::is_ok));
    }
}

#[tokio::test]
async fn a_text_that_is_refused_late_is_not_tried_again() {
    let (subject, fake) = (impatient(), Fake::held());
    let refused = begin(&subject, &fake, "refused late").await;
    let other = subject.ask(&fake, &["a"]).await.unwrap();
    let refused = answers(refused).await.remove(0).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InvalidText { index: 0 });
    assert_eq!(subject.metric(SET_ASIDE), 0);
    fake.release_all();
    assert!(answers(other).await[0].is_ok());
}

#[tokio::test]
async fn no_more_are_set_aside_than_can_be_scored() {
    let (subject, hanging) = (impatient(), Fake::held());
    let mut held = Vec::new();
    for text in ["h0", "h1"] {
        held.extend(begin(&subject, &hanging, text).await);
    }
    // Now the first is being scored aside, and the worker has the second.
    assert_eq!(hanging.batches(3)[0], ["h0"]);
    for number in 2..20 {
        let text = format!("h{number}");
        held.extend(begin(&subject, &hanging, &text).await);
    }
    // Of twenty, one is being scored aside, sixteen wait for that, and the worker has the last.
    let rest = held.split_off(19);
    for error in answers(held.split_off(17)).await {
        assert_eq!(error.unwrap_err().kind, ErrorKind::TimedOut);
    }
    assert_eq!(subject.metric(SET_ASIDE), 17);
    hanging.release_all();
    for answer in answers(held).await.into_iter().chain(answers(rest).await) {
        assert!(answer.is_ok());
    }
}

#[tokio::test]
async fn who_leaves_is_not_scored_aside() {
    let (subject, hanging) = (impatient(), Fake::held());
    let first = begin(&subject, &hanging, "first").await;
    let second = begin(&subject, &hanging, "second").await;
    hanging.batches(3);
    // The second waits behind the first.
    let third = begin(&subject, &hanging, "third").await;
    drop(second);
    hanging.release_all();
    for pending in [first, third] {
        assert!(answers(pending).await[0].is_ok());
    }
    let begun = hanging.batches(4);
    assert_eq!(
        begun.iter().filter(|batch| *batch == &["second"]).count(),
        1
    );
    assert_eq!(subject.metric("fastsentiment_abandoned_texts_total"), 1);
}

#[tokio::test]
async fn what_is_set_aside_ends_with_the_batcher() {
    let (subject, hanging) = (impatient(), Fake::held());
    let mut held = Vec::new();
    for text in ["a", "b", "c"] {
        held.extend(begin(&subject, &hanging, text).await);
    }
    hanging.until(|state| state.abandoned == 2);
    let Subject { batcher, .. } = subject;
    let dropped = tokio::task::spawn_blocking(move || drop(batcher));
    // The worker does not wait for its batch, but what is being scored aside is.
    hanging.until(|state| state.abandoned == 3);
    hanging.release_all();
    dropped.await.unwrap();
    let answers = answers(held).await;
    assert!(answers[0].is_ok());
    for answer in &answers[1..] {
        assert_eq!(answer.as_ref().unwrap_err().kind, ErrorKind::Unavailable);
    }
}
