//! Answers that are kept in this process.

use std::sync::Arc;

use cache::{Cache, Options};
use futures_util::FutureExt as _;
use predictor::{Caching, Pending, Predictor, Request, Source};
use prometheus::Registry;
use tokio::runtime::Handle;

use super::fake::{
    Fake, Setup, ask, ask_as, in_memory, metric, request, resolve, revision, scores,
};

const LOOKUPS: &str = "fastsentiment_cache_lookups_total";

fn cache() -> (Arc<Fake>, Registry, Cache) {
    let Setup {
        fake,
        registry,
        cache,
    } = Setup::new(&in_memory());
    (fake, registry, cache)
}

#[tokio::test]
async fn a_text_is_computed_once() {
    let (fake, registry, cache) = cache();
    assert_eq!(ask(&cache, &["a", "b"]).await, [Source::Computed; 2]);
    assert_eq!(
        ask(&cache, &["b", "c", "a"]).await,
        [Source::Memory, Source::Computed, Source::Memory]
    );
    assert_eq!(fake.calls(), [vec!["a", "b"], vec!["c"]]);
    let count = |result| {
        metric(
            &registry,
            LOOKUPS,
            &[("tier", "memory"), ("result", result)],
        )
    };
    assert_eq!((count("hit"), count("miss")), (2, 3));
    assert_eq!(
        metric(&registry, "fastsentiment_cache_memory_entries", &[]),
        3
    );
}

#[tokio::test]
async fn what_is_in_memory_is_there_at_once() {
    let (fake, _, cache) = cache();
    ask(&cache, &["a", "b"]).await;
    let pending = cache.predict(request(&["b", "a", "b"], Caching::Use));
    let pending = pending.now_or_never().expect("nothing to wait for");
    let pending = pending.unwrap();
    assert!(
        pending
            .iter()
            .all(|pending| matches!(pending, Pending::Ready(_)))
    );
    assert_eq!(fake.texts(), 2);
}

#[tokio::test]
async fn no_texts_need_nobody() {
    let (fake, _, cache) = cache();
    assert_eq!(ask(&cache, &[]).await, []);
    assert_eq!(fake.calls(), [[""; 0]; 0]);
}

#[tokio::test]
async fn a_text_that_comes_a_thousand_times_is_computed_once() {
    let (fake, registry, cache) = cache();
    let mut texts = vec!["again"; 1000];
    texts[500] = "once";
    assert_eq!(ask(&cache, &texts).await, [Source::Computed; 1000]);
    assert_eq!(fake.calls(), [["again", "once"]]);
    let joined = metric(&registry, "fastsentiment_cache_joined_texts_total", &[]);
    assert_eq!(joined, 998);
}

#[tokio::test]
async fn an_answer_is_for_the_version_that_made_it() {
    let (fake, _, cache) = cache();
    ask(&cache, &["a"]).await;
    let other = Request {
        scorer: revision(2),
        ..request(&["a"], Caching::Use)
    };
    let pending = cache.predict(other).await.unwrap();
    let answers = resolve(pending).await.unwrap();
    assert_eq!(answers[0].revision, *revision(2).revision());
    assert_eq!(answers[0].source, Source::Computed);
    assert_eq!(fake.texts(), 2);
    // Back to the first version, as after a rollback.
    assert_eq!(ask(&cache, &["a"]).await, [Source::Memory]);
}

#[tokio::test]
async fn engines_do_not_share_answers() {
    let fake = Arc::<Fake>::default();
    for engine in ["one", "two"] {
        let options = Options {
            engine: engine.into(),
            ..in_memory()
        };
        let runtime = Handle::current();
        let cache = Cache::start(&options, fake.clone(), &Registry::new(), &runtime);
        let cache = cache.unwrap();
        assert_eq!(ask(&cache, &["a"]).await, [Source::Computed]);
    }
}

#[tokio::test]
async fn a_request_can_ask_for_new_answers_or_leave_no_trace() {
    let (fake, _, cache) = cache();
    let bypass = ask_as(&cache, &["a", "a"], Caching::Bypass).await;
    assert_eq!(bypass, [Source::Computed; 2]);
    assert_eq!(fake.texts(), 2);
    assert_eq!(ask(&cache, &["a"]).await, [Source::Computed]);
    let bypass = ask_as(&cache, &["a"], Caching::Bypass).await;
    assert_eq!(bypass, [Source::Computed]);
    assert_eq!(fake.texts(), 4);

    let renewed = ask_as(&cache, &["a", "b", "a"], Caching::Renew).await;
    assert_eq!(renewed, [Source::Computed; 3]);
    assert_eq!(fake.calls().last().unwrap(), &["a", "b"]);
    assert_eq!(ask(&cache, &["a", "b"]).await, [Source::Memory; 2]);
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let (fake, _, cache) = cache();
    fake.fail(true);
    let pending = cache.predict(request(&["a", "a"], Caching::Use)).await;
    for pending in pending.unwrap() {
        assert!(resolve(vec![pending]).await.is_err());
    }
    fake.fail(false);
    assert_eq!(ask(&cache, &["a"]).await, [Source::Computed]);
    assert_eq!(fake.texts(), 2);
    assert_eq!(scores("a").len(), 2);
}
