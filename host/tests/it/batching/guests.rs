//! The batcher over real guests that misbehave.

use std::sync::Arc;

use predictor::{ErrorKind, Scorer};
use sandbox::Guest;

use super::{OPTIONS, Options, Subject, answers};
use crate::hostile::{explorer, hostile, load_text, roomy, tight};

fn scorer(guest: Guest) -> Arc<dyn Scorer> {
    Arc::new(guest)
}

/// Told "invalid", this guest refuses the last text of a call: here the second
/// one, and then the first, which is tried again by itself.
#[tokio::test]
async fn a_text_that_a_guest_refuses_is_answered_alone() {
    let guest = scorer(load(false).await);
    let subject = Subject::start(OPTIONS);
    let pending = subject.ask_scorer(guest, &["invalid", "a"]).await.unwrap();
    let answers = answers(pending).await;
    for (index, answer) in answers.iter().enumerate() {
        let error = answer.as_ref().unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidText { index });
        assert_eq!(error.message, "not this one");
    }
}

#[tokio::test]
async fn a_hostile_call_fails_and_the_others_go_on() {
    let guest = scorer(load(true).await);
    let options = Options {
        workers: 2,
        ..OPTIONS
    };
    let subject = Subject::start(options);
    let mut asked = Vec::new();
    for text in ["loop", "trap", "count"] {
        asked.push(
            subject
                .ask_scorer(Arc::clone(&guest), &[text])
                .await
                .unwrap(),
        );
    }
    let mut given = Vec::new();
    for pending in asked {
        given.extend(answers(pending).await);
    }
    assert_eq!(given[0].as_ref().unwrap_err().kind, ErrorKind::TimedOut);
    let trapped = given[1].as_ref().unwrap_err();
    assert_eq!(trapped.kind, ErrorKind::Failed);
    // What a client is told names nothing of the inside.
    assert_eq!(trapped.message, "the prediction failed");
    assert!(trapped.detail.as_ref().unwrap().contains("unreachable"));
    assert!(given[2].is_ok());
}

/// The guest would go on for as long as a call may take, which is minutes.
#[tokio::test]
async fn a_guest_that_nobody_waits_for_is_stopped() {
    stops("loop", load(false).await).await;
}

/// It computes nothing, so that there is no instruction to be stopped at.
#[tokio::test]
async fn a_guest_that_sleeps_and_nobody_waits_for_is_stopped() {
    let load = || load_text(&roomy(), &explorer()).unwrap();
    stops("sleep", tokio::task::spawn_blocking(load).await.unwrap()).await;
}

async fn stops(order: &str, guest: Guest) {
    let guest = scorer(guest);
    let subject = Subject::start(OPTIONS);
    let forever = subject
        .ask_scorer(Arc::clone(&guest), &[order])
        .await
        .unwrap();
    while subject.metric("fastsentiment_busy_workers") < 1 {
        tokio::task::yield_now().await;
    }
    drop(forever);
    let next = subject.ask_scorer(guest, &["count"]).await.unwrap();
    let within = std::time::Duration::from_secs(60);
    let answers = tokio::time::timeout(within, answers(next)).await.unwrap();
    assert!(answers[0].is_ok());
}

async fn load(tightly: bool) -> Guest {
    // Loading has an executor of its own.
    let load = move || {
        let runtime = if tightly { tight() } else { roomy() };
        load_text(&runtime, &hostile()).unwrap()
    };
    tokio::task::spawn_blocking(load).await.unwrap()
}
