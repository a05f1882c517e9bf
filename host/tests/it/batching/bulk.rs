//! Bulk requests in the queue: beside other requests, and when there is too much to
//! do.

use std::sync::Arc;
use std::time::Duration;

use batcher::{Batcher, Metrics};
use predictor::LongTexts;
use prometheus::Registry;
use rollout::Rollout;
use service::{Bulk, Limits, Service};
use tokio::time::timeout;

use super::{Fake, OPTIONS, Options};
use crate::harness::PATIENCE;

/// A service above a batcher of one worker, whose batches are texts.
fn service(fake: &Fake, queue_tokens: u64, limits: Limits) -> Arc<Service> {
    let registry = Registry::new();
    let options = Options {
        batch_texts: 1,
        queue_tokens,
        ..OPTIONS
    };
    let batcher = Batcher::start(options, Metrics::new(&registry).unwrap()).unwrap();
    let (rollout, _) = Rollout::start(
        Arc::new(fake.clone()),
        Arc::new(batcher),
        rollout::Options {
            probation: Duration::ZERO,
            failures: 0,
        },
        rollout::Metrics::new(&registry).unwrap(),
        &tokio::runtime::Handle::current(),
    );
    let metrics = service::Metrics::new(&registry).unwrap();
    Arc::new(Service::new(rollout, limits, metrics))
}

/// Takes all answers, each of which has to be there.
async fn drain(mut bulk: Bulk<usize>) -> usize {
    let mut expected = 0;
    while let Some((number, answer)) = timeout(PATIENCE, bulk.next()).await.unwrap() {
        assert_eq!(number, expected);
        let answer = answer.unwrap().unwrap();
        let length = format!("bulk {number}").len() as f32;
        assert!((answer.scores[0].score - length).abs() < 1e-6);
        expected += 1;
    }
    expected
}

/// As many texts as there is room for.
fn fill(bulk: &mut Bulk<usize>) -> usize {
    for number in 0.. {
        if !bulk.has_room() {
            return number;
        }
        bulk.push(format!("bulk {number}"), LongTexts::default(), number);
    }
    unreachable!("it has room without end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_request_waits_for_a_few_texts_only() {
    let fake = Fake::held();
    // Of ten bulk requests, too, since they share what there is for them.
    let service = service(&fake, 16_384, Limits::default());
    let mut draining = Vec::new();
    for _ in 0..10 {
        let mut bulk = service.bulk(service::Options::default());
        let given = fill(&mut bulk);
        assert!((1024..=1280).contains(&given), "{given}");
        draining.push((given, tokio::spawn(drain(bulk))));
    }
    fake.batches(1);
    // Until all that may be under way is.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = Arc::clone(&service);
    let asked = tokio::spawn(async move {
        let texts = vec!["somebody".to_owned()];
        asked.predict(texts, service::Options::default()).await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    for released in 1.. {
        assert!(released < 12, "bulk requests are before it");
        fake.release();
        let batches = fake.batches(released + 1);
        if batches.iter().any(|batch| batch[0] == "somebody") {
            break;
        }
    }
    fake.release_all();
    assert!(asked.await.unwrap().is_ok());
    for (given, draining) in draining {
        assert_eq!(draining.await.unwrap(), given);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_there_is_too_much_to_do_for_is_offered_again() {
    let fake = Fake::held();
    // Two chunks are more than may wait.
    let service = service(&fake, 300, Limits::default());
    let mut bulk = service.bulk(service::Options::default());
    let given = fill(&mut bulk);
    let draining = tokio::spawn(drain(bulk));
    fake.batches(1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    fake.release_all();
    assert_eq!(draining.await.unwrap(), given);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_is_not_answered_in_time_fails_alone() {
    let fake = Fake::held();
    let limits = Limits {
        deadline: Duration::from_millis(200),
        ..Limits::default()
    };
    let service = service(&fake, 16_384, limits);
    let mut bulk = service.bulk(service::Options::default());
    bulk.push("late".to_owned(), LongTexts::default(), 0);
    let (_, answer) = timeout(PATIENCE, bulk.next()).await.unwrap().unwrap();
    assert!(answer.unwrap().unwrap_err().message.contains("200ms"));
    fake.release_all();
    bulk.pass(1);
    bulk.push("in time".to_owned(), LongTexts::default(), 2);
    assert_eq!(bulk.next().await.unwrap().0, 1);
    let (number, answer) = timeout(PATIENCE, bulk.next()).await.unwrap().unwrap();
    assert!(number == 2 && answer.unwrap().is_ok());
    assert!(bulk.is_empty() && bulk.next().await.is_none());
}

/// Dropped, nothing of it is done any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_request_that_is_dropped_leaves_the_queue() {
    let fake = Fake::held();
    let service = service(&fake, 16_384, Limits::default());
    let mut bulk = service.bulk(service::Options::default());
    fill(&mut bulk);
    fake.batches(1);
    drop(bulk);
    fake.until(|state| state.abandoned == 1);
    let texts = vec!["somebody".to_owned()];
    fake.release_all();
    let asked = service.predict(texts, service::Options::default());
    assert!(timeout(PATIENCE, asked).await.unwrap().is_ok());
    // Each chunk may have had one that was being taken out.
    assert!(fake.batches(2).len() <= 6, "{:?}", fake.batches(2));
}

/// The chunks of a client are not behind all those of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_take_turns() {
    let fake = Fake::held();
    let limits = Limits {
        bulk_chunks: 1,
        ..Limits::default()
    };
    let service = service(&fake, 16_384, limits);
    let bulk_of = |client: u8| {
        let mut options = service::Options::default();
        options.request.client = std::net::IpAddr::from([10, 0, 0, client]).into();
        let mut bulk = service.bulk(options);
        let given = fill(&mut bulk);
        (given, tokio::spawn(drain(bulk)))
    };
    let mut draining: Vec<_> = (0..10).map(|_| bulk_of(1)).collect();
    fake.batches(1);
    // Until all that may be under way is.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (given, asked) = bulk_of(2);
    tokio::time::sleep(Duration::from_millis(200)).await;
    fake.release_all();
    assert_eq!(asked.await.unwrap(), given);
    let finished = draining.iter().filter(|(_, task)| task.is_finished());
    assert_eq!(finished.count(), 0, "the other client was served first");
    for (given, task) in draining.drain(..) {
        assert_eq!(task.await.unwrap(), given);
    }
}
