//! Equal texts that are asked for at the same time.

use std::sync::Arc;

use cache::{Cache, Options};
use futures_util::FutureExt as _;
use predictor::{Caching, ErrorKind, Pending, Predictor, Source};
use prometheus::Registry;
use tokio::runtime::Handle;

use super::fake::{Fake, Setup, ask, in_memory, metric, request, resolve, until};

fn cache() -> (Arc<Fake>, Registry, Arc<Cache>) {
    let Setup {
        fake,
        registry,
        cache,
    } = Setup::new(&in_memory());
    (fake, registry, Arc::new(cache))
}

/// A request that has been taken on.
async fn taken_on(cache: &Cache, texts: &[&str]) -> Vec<Pending> {
    cache.predict(request(texts, Caching::Use)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_at_the_same_time_share_one_computation() {
    let (fake, registry, cache) = cache();
    fake.answer(false);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { ask(&*cache, &["a", "b", "a"]).await })
        })
        .collect();
    let joined = || metric(&registry, "fastsentiment_cache_joined_texts_total", &[]);
    // All but the first "a" and the first "b".
    until("all have joined", || joined() == 148).await;
    fake.answer(true);
    for task in tasks {
        assert_eq!(task.await.unwrap(), [Source::Computed; 3]);
    }
    assert_eq!(fake.texts(), 2, "{:?}", fake.calls());
    assert_eq!(ask(&*cache, &["a", "b"]).await, [Source::Memory; 2]);
}

#[tokio::test]
async fn a_follower_goes_on_when_the_leader_leaves() {
    let (fake, _, cache) = cache();
    fake.answer(false);
    let leader = taken_on(&cache, &["a"]).await;
    let follower = taken_on(&cache, &["a", "b"]).await;
    drop(leader);
    assert_eq!(fake.waiting(), 2);
    fake.answer(true);
    assert_eq!(resolve(follower).await.unwrap().len(), 2);
    assert_eq!(fake.calls(), [["a"], ["b"]]);
    assert_eq!(ask(&*cache, &["a"]).await, [Source::Memory]);
}

#[tokio::test]
async fn what_nobody_waits_for_is_given_up() {
    let (fake, _, cache) = cache();
    fake.answer(false);
    let leader = taken_on(&cache, &["a"]).await;
    let mut follower = taken_on(&cache, &["a"]).await;
    // One has been polled and the other has not.
    if let Pending::Later(answer) = &mut follower[0] {
        assert!(answer.now_or_never().is_none());
    }
    drop(leader);
    drop(follower);
    assert_eq!(fake.waiting(), 0, "the work below goes on");
    // Whoever comes next leads anew.
    fake.answer(true);
    assert_eq!(ask(&*cache, &["a"]).await, [Source::Computed]);
    assert_eq!(fake.texts(), 2);
}

#[tokio::test]
async fn a_failure_is_for_all_who_wait_and_for_nobody_after_them() {
    let (fake, _, cache) = cache();
    fake.answer(false);
    fake.fail(true);
    let leader = taken_on(&cache, &["a"]).await;
    let follower = taken_on(&cache, &["a"]).await;
    fake.fail(false);
    fake.answer(true);
    for waiting in [leader, follower] {
        let error = resolve(waiting).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Failed);
    }
    assert_eq!(ask(&*cache, &["a"]).await, [Source::Computed]);
    assert_eq!(fake.texts(), 2);
}

#[tokio::test]
async fn a_refusal_is_for_the_one_who_was_refused() {
    let (fake, _, cache) = cache();
    fake.accept(false);
    fake.refuse(true);
    let mut first = cache.predict(request(&["a", "b"], Caching::Use));
    assert!((&mut first).now_or_never().is_none());
    // It waits for the first one, and asks nobody meanwhile.
    let mut second = cache.predict(request(&["b", "c"], Caching::Use));
    assert!((&mut second).now_or_never().is_none());
    assert_eq!(fake.calls(), [["a", "b"]]);
    fake.refuse(false);
    fake.accept(true);
    let error = first.await.err().unwrap();
    assert!(matches!(error.kind, ErrorKind::Overloaded { .. }));
    assert_eq!(resolve(second.await.unwrap()).await.unwrap().len(), 2);
    assert_eq!(fake.calls(), [["a", "b"], ["b", "c"]]);
}

#[tokio::test]
async fn a_leader_who_leaves_before_it_was_taken_on_is_replaced() {
    let (fake, _, cache) = cache();
    fake.accept(false);
    let mut first = cache.predict(request(&["a"], Caching::Use));
    assert!((&mut first).now_or_never().is_none());
    let mut second = cache.predict(request(&["a"], Caching::Use));
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    fake.accept(true);
    assert_eq!(resolve(second.await.unwrap()).await.unwrap().len(), 1);
    assert_eq!(fake.texts(), 2);
}

#[tokio::test]
async fn whoever_waits_for_a_leader_to_be_taken_on_joins_it() {
    let (fake, registry, cache) = cache();
    fake.accept(false);
    let mut first = cache.predict(request(&["a", "b"], Caching::Use));
    assert!((&mut first).now_or_never().is_none());
    let mut second = cache.predict(request(&["b", "a"], Caching::Use));
    assert!((&mut second).now_or_never().is_none());
    fake.accept(true);
    let first = first.await.unwrap();
    let second = second.await.unwrap();
    assert_eq!(resolve(first).await.unwrap().len(), 2);
    assert_eq!(resolve(second).await.unwrap().len(), 2);
    assert_eq!(fake.texts(), 2);
    let joined = metric(&registry, "fastsentiment_cache_joined_texts_total", &[]);
    assert_eq!(joined, 2);
}

/// Requests of overlapping texts, with waiters that leave at any time: every
/// answer is right, and nothing is left over at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_in_a_crowd() {
    let fake = Arc::<Fake>::default();
    let tiny = Options {
        memory_bytes: 2000,
        ..in_memory()
    };
    let runtime = Handle::current();
    let cache = Cache::start(&tiny, fake.clone(), &Registry::new(), &runtime).unwrap();
    let cache = Arc::new(cache);
    let tasks: Vec<_> = (0_usize..8)
        .map(|task| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move {
                for round in 0..300 {
                    let texts: Vec<String> = (0..6)
                        .map(|at| format!("{}", (task * round + at) % 23))
                        .collect();
                    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                    if (task + round) % 3 == 0 {
                        drop(taken_on(&cache, &texts).await);
                    } else {
                        ask(&*cache, &texts).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(fake.waiting(), 0);
}
