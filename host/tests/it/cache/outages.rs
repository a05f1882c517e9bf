//! Redis is not there, goes away, hangs, or is slow: requests are answered as
//! without it, and soon do not ask it at all, until it is back.

use std::time::Duration;

use predictor::{Predictor, Source};

use super::fake::{Setup, ask, until, with_redis};
use super::proxy::{Answers, Proxy};
use crate::redis_server::{RedisCluster, RedisServer, free_port};

/// Texts that nobody has asked for: of these, each request has one.
fn fresh(number: usize) -> String {
    format!("fresh {number}")
}

/// Asks for a text that is nowhere, many times over: every one is computed.
async fn computes(setup: &Setup, label: &str) {
    for number in 0..100 {
        let text = format!("{label} {}", fresh(number));
        assert_eq!(setup.ask(&[&text]).await, [Source::Computed]);
    }
}

/// Waits until both breakers are closed, and shows that Redis is used again.
async fn is_used_again(setup: &Setup, url: &str) {
    setup.until_open(false).await;
    let written = setup.metric("fastsentiment_redis_written_texts_total", &[]);
    setup.ask(&["after the outage"]).await;
    setup.until_written(written + 1).await;
    let other = Setup::connected(url).await;
    assert_eq!(other.ask(&["after the outage"]).await, [Source::Shared]);
}

#[tokio::test]
async fn a_server_that_is_absent_at_the_start_is_found_when_it_comes() {
    let mut redis = RedisServer::start();
    redis.kill();
    let setup = Setup::new(&with_redis(&redis.url()));
    computes(&setup, "absent").await;
    until("it was tried", || {
        setup.errors("connect", "unreachable") >= 2
    })
    .await;
    // It was told of once, as open from the start, however often it was tried.
    assert_eq!(setup.in_redis("skipped"), 100);
    assert_eq!(setup.transitions("read", "open"), 0);
    redis.restart();
    is_used_again(&setup, &redis.url()).await;
    assert_eq!(setup.transitions("read", "closed"), 1);
}

#[tokio::test]
async fn a_server_that_is_killed_is_used_again_after_its_restart() {
    let mut redis = RedisServer::start();
    let setup = Setup::connected(&redis.url()).await;
    setup.ask(&["before"]).await;
    redis.kill();
    computes(&setup, "killed").await;
    setup.until_open(true).await;
    assert_eq!(setup.transitions("read", "open"), 1);
    assert_eq!(setup.ask(&["before"]).await, [Source::Memory]);
    // At most the first one was for nothing.
    assert!(setup.in_redis("error") <= 1);
    assert!(setup.in_redis("skipped") >= 98);
    redis.restart();
    is_used_again(&setup, &redis.url()).await;
    assert_eq!(setup.transitions("read", "open"), 1);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_comes_back() {
    let redis = RedisServer::start();
    let setup = Setup::new(&with_redis(&redis.url()));
    setup.until_open(false).await;
    redis.freeze();
    computes(&setup, "hung").await;
    // Three requests in a row paid the time-out, and no more of them. A check
    // may have been one of those.
    assert!(setup.is_open("read"));
    assert!(setup.in_redis("error") <= 3);
    assert!(setup.in_redis("skipped") >= 97);
    assert_eq!(setup.errors("read", "timeout"), 3);
    assert_eq!(setup.transitions("read", "open"), 1);
    redis.thaw();
    until("reads are used again", || !setup.is_open("read")).await;
    is_used_again(&setup, &redis.url()).await;
}

#[tokio::test]
async fn many_at_once_pay_one_time_out() {
    let redis = RedisServer::start();
    let setup = Setup::new(&with_redis(&redis.url()));
    setup.until_open(false).await;
    redis.freeze();
    let asking = (0..200).map(|number| {
        let cache = &setup.cache;
        async move { ask(cache, &[&fresh(number)]).await }
    });
    for sources in futures_util::future::join_all(asking).await {
        assert_eq!(sources, [Source::Computed]);
    }
    assert!(setup.is_open("read"));
    assert_eq!(setup.transitions("read", "open"), 1);
    redis.thaw();
    setup.until_open(false).await;
}

/// Callers that wait for less than the time-out find the fault all the same.
#[tokio::test]
async fn a_server_that_hangs_is_given_up_without_anybody_waiting() {
    let redis = RedisServer::start();
    let setup = Setup::new(&with_redis(&redis.url()));
    setup.until_open(false).await;
    redis.freeze();
    for number in 0..3 {
        let impatient = Duration::from_millis(1);
        let _ = tokio::time::timeout(impatient, ask(&setup.cache, &[&fresh(number)])).await;
    }
    until("the breaker is open", || setup.is_open("read")).await;
}

#[tokio::test]
async fn a_server_that_hangs_from_the_start_delays_nobody() {
    let redis = RedisServer::start();
    redis.freeze();
    let setup = Setup::new(&with_redis(&redis.url()));
    computes(&setup, "hung").await;
    assert_eq!(setup.in_redis("skipped"), 100);
    until("it was tried", || setup.errors("connect", "timeout") >= 1).await;
    redis.thaw();
    is_used_again(&setup, &redis.url()).await;
}

#[tokio::test]
async fn a_server_that_is_slow_is_given_up_until_it_is_quick() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port, Answers::Pass).await;
    let setup = Setup::new(&with_redis(&proxy.url()));
    setup.until_open(false).await;
    proxy.answer(Answers::Late(Duration::from_millis(200)));
    computes(&setup, "slow").await;
    assert!(setup.is_open("read"));
    assert!(setup.in_redis("error") <= 3);
    // Writes have more time, and go on.
    setup.until_written(1).await;
    // It is slow still, whenever it is tried.
    until("it was tried", || setup.errors("connect", "timeout") >= 1).await;
    assert!(setup.is_open("read"));
    proxy.answer(Answers::Pass);
    is_used_again(&setup, &redis.url()).await;
}

#[tokio::test]
async fn a_connection_that_is_lost_on_the_way_is_replaced() {
    let redis = RedisServer::start();
    let proxy = Proxy::start(redis.port, Answers::Pass).await;
    let setup = Setup::connected(&proxy.url()).await;
    proxy.answer(Answers::Cut);
    assert_eq!(setup.ask(&["lost"]).await, [Source::Computed]);
    assert_eq!(setup.in_redis("error"), 1);
    assert!(setup.is_open("read"));
    computes(&setup, "lost").await;
    let connections = proxy.connections();
    proxy.answer(Answers::Pass);
    is_used_again(&setup, &redis.url()).await;
    assert!(proxy.connections() > connections);
}

#[tokio::test]
async fn a_cluster_that_loses_a_node_is_used_again_when_it_is_back() {
    let mut cluster = RedisCluster::start();
    let mut options = with_redis(&cluster.url());
    options.redis.as_mut().unwrap().timeout = Duration::from_secs(2);
    let setup = Setup::new(&options);
    setup.until_open(false).await;
    cluster.nodes[2].kill();
    let texts: Vec<String> = (0..50).map(fresh).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_eq!(setup.ask(&texts).await, [Source::Computed; 50]);
    computes(&setup, "without a node").await;
    assert!(setup.is_open("read"));
    cluster.nodes[2].restart();
    is_used_again(&setup, &cluster.url()).await;
}

#[tokio::test]
async fn nothing_waits_for_redis_at_the_start() {
    // An address from which nothing comes back, not even a refusal.
    let setup = Setup::new(&with_redis("redis://192.0.2.1:6379"));
    computes(&setup, "nowhere").await;
    let nobody = format!("redis://name.invalid:{}", free_port());
    let setup = Setup::new(&with_redis(&nobody));
    computes(&setup, "nobody").await;
    until("it was tried", || {
        setup.errors("connect", "unreachable") >= 1
    })
    .await;
    // Requests can still be taken on while the cache is being dropped.
    let pending = setup
        .cache
        .predict(super::fake::request(&["last"], predictor::Caching::Use));
    drop(setup.cache);
    assert_eq!(pending.await.unwrap().len(), 1);
}
