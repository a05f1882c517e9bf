//! What nobody waits for is done when there is nothing else to do, and costs the
//! others nothing.

use std::time::Duration;

use predictor::{ErrorKind, Pending};

use super::{Fake, OPTIONS, Options, Subject, answers};

/// Several workers.
fn workers(workers: usize) -> Options {
    Options { workers, ..OPTIONS }
}

/// Time enough for what must not happen, most of the time.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn given_up(pending: Vec<Pending>) {
    for answer in answers(pending).await {
        assert_eq!(answer.unwrap_err().kind, ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn it_waits_until_nothing_else_does() {
    let (subject, live, background) = (Subject::start(OPTIONS), Fake::held(), Fake::of(2));
    let first = subject.ask(&live, &["first"]).await.unwrap();
    live.batches(1);
    let last = subject.ask_background(&background, &["last"]).await;
    let last = last.unwrap();
    let long = "word ".repeat(100);
    let second = subject.ask(&live, &[&long]).await.unwrap();
    let third = subject.ask(&live, &["third"]).await.unwrap();
    assert_eq!(subject.metric("fastsentiment_background_texts"), 1);
    assert_eq!(subject.metric("fastsentiment_queue_texts"), 2);
    background.release_all();
    live.release();
    assert!(answers(first).await[0].is_ok());
    live.batches(2);
    live.release();
    live.batches(3);
    assert!(background.batches(0).is_empty(), "one waits still");
    live.release();
    for pending in [second, third, last] {
        assert!(answers(pending).await[0].is_ok());
    }
    assert_eq!(background.batches(1), [["last"]]);
    assert_eq!(subject.metric("fastsentiment_background_texts"), 0);
}

#[tokio::test]
async fn it_has_one_worker_at_most() {
    let (subject, background) = (Subject::start(workers(4)), Fake::of(2));
    let mut waiting = Vec::new();
    for text in ["a", "b", "c"] {
        waiting.push(subject.ask_background(&background, &[text]).await.unwrap());
        background.batches(1);
    }
    a_while().await;
    assert_eq!(background.batches(1), [["a"]]);
    background.release();
    // What waited meanwhile goes together.
    assert_eq!(background.batches(2)[1], ["b", "c"]);
    background.release();
    for pending in waiting {
        assert!(answers(pending).await[0].is_ok());
    }
}

#[tokio::test]
async fn it_does_not_have_the_last_idle_worker() {
    let (subject, live, background) = (Subject::start(workers(2)), Fake::held(), Fake::of(2));
    let first = subject.ask(&live, &["first"]).await.unwrap();
    live.batches(1);
    let pending = subject.ask_background(&background, &["a"]).await.unwrap();
    a_while().await;
    assert!(background.batches(0).is_empty());
    live.release();
    assert!(answers(first).await[0].is_ok());
    background.batches(1);
    background.release();
    assert!(answers(pending).await[0].is_ok());
}

/// The scorer would go on for ever.
#[tokio::test]
async fn the_only_worker_is_given_back_at_once() {
    let (subject, live, background) = (Subject::start(OPTIONS), Fake::free(), Fake::of(2));
    for round in 1..=3 {
        let texts = ["a", "b"];
        let pending = subject.ask_background(&background, &texts).await.unwrap();
        background.batches(round);
        let answered = subject.ask(&live, &["live"]).await.unwrap();
        assert!(answers(answered).await[0].is_ok());
        given_up(pending).await;
        background.until(|state| state.abandoned == round);
        let metric = "fastsentiment_background_given_up_texts_total";
        assert_eq!(subject.metric(metric), 2 * round as u64);
    }
    assert_eq!(background.batches(3).len(), 3, "none is tried again");
}

#[tokio::test]
async fn of_several_workers_the_others_are_used_first() {
    let (subject, live, background) = (Subject::start(workers(2)), Fake::held(), Fake::of(2));
    let pending = subject.ask_background(&background, &["a"]).await.unwrap();
    background.batches(1);
    let first = subject.ask(&live, &["first"]).await.unwrap();
    live.batches(1);
    a_while().await;
    background.until(|state| state.abandoned == 0);
    let second = subject.ask(&live, &["second"]).await.unwrap();
    live.batches(2);
    background.until(|state| state.abandoned == 1);
    given_up(pending).await;
    live.release_all();
    for pending in [first, second] {
        assert!(answers(pending).await[0].is_ok());
    }
}

#[tokio::test]
async fn a_failure_in_the_background_is_one_of_its_text() {
    let (subject, background) = (Subject::start(OPTIONS), Fake::of(2));
    let held = subject.ask_background(&background, &["held"]).await;
    background.batches(1);
    let texts = ["a", "fail", "invalid", "panic"];
    let pending = subject.ask_background(&background, &texts).await.unwrap();
    background.release_all();
    let answers = answers(pending).await;
    assert!(answers[0].is_ok());
    for (at, kind) in [
        (1, ErrorKind::Failed),
        (2, ErrorKind::InvalidText { index: 0 }),
        (3, ErrorKind::Failed),
    ] {
        assert_eq!(answers[at].as_ref().unwrap_err().kind, kind);
    }
    drop(held);
}

#[tokio::test]
async fn it_is_bounded_by_itself() {
    let options = Options {
        queue_tokens: 36,
        ..OPTIONS
    };
    let (subject, live, background) = (Subject::start(options), Fake::held(), Fake::of(2));
    let _first = subject.ask(&live, &["first"]).await.unwrap();
    live.batches(1);
    // 512 tokens each.
    let long = "word ".repeat(600);
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let pending = subject.ask_background(&background, &[&long]).await;
        waiting.push(pending.unwrap());
    }
    let error = subject.ask_background(&background, &["a"]).await;
    let kind = error.err().unwrap().kind;
    assert!(matches!(kind, ErrorKind::Overloaded { .. }), "{kind:?}");
    assert_eq!(subject.metric("fastsentiment_refused_requests_total"), 0);
    // It takes no room from the others, and does not let them wait longer.
    let text = "word word word word word word word word word word";
    for _ in 0..3 {
        waiting.push(subject.ask(&live, &[text]).await.unwrap());
    }
    let error = subject.ask(&live, &[text]).await.err().unwrap();
    let retry_after = Duration::from_millis(36);
    assert_eq!(error.kind, ErrorKind::Overloaded { retry_after });
    // Whoever leaves makes room.
    waiting.clear();
    assert_eq!(subject.metric("fastsentiment_background_texts"), 0);
    assert_eq!(subject.metric("fastsentiment_abandoned_texts_total"), 3);
    assert!(subject.ask_background(&background, &["a"]).await.is_ok());
    live.release_all();
}

/// A version in the background may be slower than the live one.
#[tokio::test]
async fn nothing_is_learned_from_it() {
    let options = Options {
        queue_tokens: 36,
        ..OPTIONS
    };
    let (subject, live, background) = (Subject::start(options), Fake::held(), Fake::of(2));
    background.release_all();
    for _ in 0..20 {
        let pending = subject.ask_background(&background, &["a"]).await.unwrap();
        assert!(answers(pending).await[0].is_ok());
    }
    let _first = subject.ask(&live, &["first"]).await.unwrap();
    live.batches(1);
    let text = "word word word word word word word word word word";
    let _waiting = subject.ask(&live, &[text; 3]).await.unwrap();
    let error = subject.ask(&live, &["a"]).await.err().unwrap();
    let retry_after = Duration::from_millis(36);
    assert_eq!(error.kind, ErrorKind::Overloaded { retry_after });
}

#[tokio::test]
async fn it_ends_with_the_batcher() {
    let (subject, background) = (Subject::start(OPTIONS), Fake::of(2));
    let begun = subject.ask_background(&background, &["begun"]).await;
    background.batches(1);
    let waiting = subject.ask_background(&background, &["waiting"]).await;
    let Subject { batcher, .. } = subject;
    // Nobody would release it.
    tokio::task::spawn_blocking(move || drop(batcher))
        .await
        .unwrap();
    given_up(begun.unwrap()).await;
    given_up(waiting.unwrap()).await;
}
