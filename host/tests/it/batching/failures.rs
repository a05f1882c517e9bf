//! A failure costs the text that is to blame, and nobody else.

use predictor::ErrorKind;

use super::{Fake, OPTIONS, Subject, answers};

#[tokio::test]
async fn a_bad_text_fails_no_other() {
    for (bad, kind) in [
        ("invalid", ErrorKind::InvalidText { index: 1 }),
        ("fail", ErrorKind::Failed),
        ("panic", ErrorKind::Failed),
        ("forget", ErrorKind::Failed),
    ] {
        let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
        let first = subject.ask(&fake, &["first"]).await.unwrap();
        fake.batches(1);
        let good = subject.ask(&fake, &["good"]).await.unwrap();
        let mixed = subject.ask(&fake, &[bad, "fine"]).await.unwrap();
        fake.release_all();
        assert!(answers(first).await[0].is_ok());
        assert!(answers(good).await[0].is_ok(), "beside {bad}");
        let mixed = answers(mixed).await;
        assert_eq!(mixed[0].as_ref().unwrap_err().kind, kind, "{bad}");
        assert!(mixed[1].is_ok(), "in one request with {bad}");
        assert_eq!(fake.batches(2)[1], ["good", bad, "fine"]);
        // What shared the batch is tried once more: together if it is known who
        // was to blame, and if not, each by itself.
        let again = &fake.batches(2)[2..];
        if bad == "invalid" {
            assert_eq!(again, [["good", "fine"]]);
        } else {
            assert!(again.iter().all(|batch| batch.len() == 1), "{again:?}");
            assert_eq!(again.len(), 3);
        }
        // The worker goes on.
        let after = subject.ask(&fake, &["after"]).await.unwrap();
        assert!(answers(after).await[0].is_ok());
    }
}

#[tokio::test]
async fn who_leaves_the_queue_is_not_scored() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let _first = subject.ask(&fake, &["first"]).await.unwrap();
    fake.batches(1);
    let gone = subject.ask(&fake, &["gone", "gone"]).await.unwrap();
    let stays = subject.ask(&fake, &["stays"]).await.unwrap();
    assert_eq!(subject.metric("fastsentiment_queue_texts"), 3);
    drop(gone);
    assert_eq!(subject.metric("fastsentiment_queue_texts"), 1);
    assert_eq!(subject.metric("fastsentiment_abandoned_texts_total"), 2);
    fake.release_all();
    assert!(answers(stays).await[0].is_ok());
    assert_eq!(fake.batches(2), [["first"], ["stays"]]);
    assert_eq!(subject.metric("fastsentiment_queue_texts"), 0);
    assert_eq!(subject.metric("fastsentiment_queue_tokens"), 0);
}

#[tokio::test]
async fn a_batch_that_nobody_wants_any_more_is_ended() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let first = subject.ask(&fake, &["first"]).await.unwrap();
    fake.batches(1);
    drop(first);
    fake.until(|state| state.abandoned == 1);
    // As long as one of several wants it, it goes on.
    let held = subject.ask(&fake, &["held"]).await.unwrap();
    fake.batches(2);
    let mut two = subject.ask(&fake, &["a", "b"]).await.unwrap();
    fake.release();
    assert!(answers(held).await[0].is_ok());
    assert_eq!(fake.batches(3)[2], ["a", "b"]);
    drop(two.remove(0));
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    fake.release();
    assert!(answers(two).await[0].is_ok());
    fake.until(|state| state.abandoned == 1);
}

#[tokio::test]
async fn what_still_waits_at_the_end_is_told() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let _first = subject.ask(&fake, &["first"]).await.unwrap();
    fake.batches(1);
    let waiting = subject.ask(&fake, &["waiting"]).await.unwrap();
    let Subject { batcher, .. } = subject;
    // Dropping waits for the batch that is under way, and lets no other begin.
    let dropped = tokio::task::spawn_blocking(move || drop(batcher));
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    fake.release();
    dropped.await.unwrap();
    let error = answers(waiting).await.remove(0).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}
