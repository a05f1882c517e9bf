//! What is too much is refused at once, and alike for small requests and large.

use std::time::Duration;

use predictor::ErrorKind;

use super::{Fake, OPTIONS, Options, Subject, answers};

/// "word" ten times: 12 tokens.
const TEXT: &str = "word word word word word word word word word word";

#[tokio::test]
async fn a_full_queue_refuses_until_it_has_room() {
    let options = Options {
        queue_tokens: 36,
        ..OPTIONS
    };
    let (subject, fake) = (Subject::start(options), Fake::held());
    let _first = subject.ask(&fake, &[TEXT]).await.unwrap();
    fake.batches(1);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(subject.ask(&fake, &[TEXT]).await.unwrap());
    }
    for texts in [&[TEXT][..], &[TEXT; 20][..]] {
        let error = subject.ask(&fake, texts).await.err().unwrap();
        // 36 tokens at 1,000 in a second.
        assert_eq!(
            error.kind,
            ErrorKind::Overloaded {
                retry_after: Duration::from_millis(36)
            }
        );
    }
    assert_eq!(subject.metric("fastsentiment_refused_requests_total"), 2);
    // Whoever leaves makes room.
    drop(waiting.pop());
    let again = subject.ask(&fake, &[TEXT; 20]).await.unwrap();
    assert!(subject.ask(&fake, &[TEXT]).await.is_err());
    fake.release_all();
    assert!(answers(again).await.iter().all(Result::is_ok));
    assert!(subject.ask(&fake, &[TEXT]).await.is_ok());
}

/// What a large request keeps the others waiting for is its share, not its
/// size: it must not lock them out.
#[tokio::test]
async fn a_large_request_leaves_room_for_others() {
    let options = Options {
        queue_tokens: 4096,
        ..OPTIONS
    };
    let (subject, fake) = (Subject::start(options), Fake::held());
    let _large = subject.ask(&fake, &[TEXT; 1000]).await.unwrap();
    assert!(subject.ask(&fake, &[TEXT]).await.is_ok());
    let _large = subject.ask(&fake, &[TEXT; 1000]).await.unwrap();
    assert!(subject.ask(&fake, &[TEXT]).await.is_err());
}

#[tokio::test]
async fn the_way_back_is_told_from_experience() {
    let options = Options {
        queue_tokens: 12,
        // Nobody is so slow, as the batcher finds out.
        tokens_per_second: 0.001,
        ..OPTIONS
    };
    let (subject, fake) = (Subject::start(options), Fake::free());
    let refused = |error: predictor::PredictError| match error.kind {
        ErrorKind::Overloaded { retry_after } => retry_after,
        other => panic!("{other:?}"),
    };
    for _ in 0..50 {
        let pending = subject.ask(&fake, &[TEXT]).await.unwrap();
        assert!(answers(pending).await[0].is_ok());
    }
    let slow = Fake::held();
    let _first = subject.ask(&slow, &[TEXT]).await.unwrap();
    slow.batches(1);
    let _second = subject.ask(&slow, &[TEXT]).await.unwrap();
    let retry_after = refused(subject.ask(&slow, &[TEXT]).await.err().unwrap());
    assert!(retry_after < Duration::from_secs(60), "{retry_after:?}");
}

/// One client cannot take all the room there is.
#[tokio::test]
async fn a_client_that_asks_for_little_has_room_in_a_full_queue() {
    let options = Options {
        queue_tokens: 120,
        ..OPTIONS
    };
    let (subject, fake) = (Subject::start(options), Fake::held());
    let mut waiting = vec![subject.ask_by(1, &fake, &[TEXT]).await.unwrap()];
    fake.batches(1);
    for _ in 0..10 {
        waiting.push(subject.ask_by(1, &fake, &[TEXT]).await.unwrap());
    }
    assert!(subject.ask_by(1, &fake, &[TEXT]).await.is_err());
    // A quarter for the second client, and a sixth for the third.
    for (client, texts) in [(2, 3), (3, 2)] {
        for _ in 0..texts {
            waiting.push(subject.ask_by(client, &fake, &[TEXT]).await.unwrap());
        }
        assert!(subject.ask_by(client, &fake, &[TEXT]).await.is_err());
    }
    fake.release_all();
    for pending in waiting {
        assert!(answers(pending).await.iter().all(Result::is_ok));
    }
}
