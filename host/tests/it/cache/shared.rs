//! Answers that several processes share.

use std::path::Path;

use cache::{Options, Secret};
use predictor::{Caching, Source};

use super::fake::{Setup, ask_as, until, with_certified_redis};
use crate::harness::PATIENCE;
use crate::redis_server::{RedisCluster, RedisServer};

/// What one process has computed another one finds, and then has itself.
async fn two_share(url: &str, authority: Option<&Path>) {
    let texts: Vec<String> = (0..100).map(|number| format!("text {number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut options = with_certified_redis(url, authority);
    options.redis.as_mut().unwrap().timeout = PATIENCE;
    let one = Setup::new(&options);
    let two = Setup::new(&options);
    one.until_open(false).await;
    two.until_open(false).await;
    assert_eq!(one.ask(&texts).await, [Source::Computed; 100]);
    one.until_written(100).await;
    assert_eq!(two.ask(&texts).await, [Source::Shared; 100]);
    assert_eq!(two.ask(&texts).await, [Source::Memory; 100]);
    assert_eq!(two.fake.texts(), 0);
    assert_eq!(one.in_redis("miss"), 100);
    assert_eq!(two.in_redis("hit"), 100);
    assert_eq!(one.metric("fastsentiment_redis_errors_total", &[]), 0);
    assert_eq!(
        two.metric("fastsentiment_redis_corrupt_values_total", &[]),
        0
    );
}

#[tokio::test]
async fn through_a_plain_server() {
    let redis = RedisServer::start();
    two_share(&redis.url(), None).await;
    let keys = redis.command(&["KEYS", "*"]);
    let keys: Vec<&str> = keys.lines().filter(|key| !key.contains("probe")).collect();
    assert_eq!(keys.len(), 100);
    for key in keys {
        assert!(key.starts_with("test:") && key.len() == 5 + 64, "{key}");
        let ttl: u64 = redis.command(&["TTL", key]).parse().unwrap();
        assert!((1..=600).contains(&ttl), "{ttl}");
    }
}

#[tokio::test]
async fn through_a_database_with_a_user_and_a_password() {
    let redis = RedisServer::with_user("fast", "p@ss/word#1");
    let url = format!("redis://fast:p%40ss%2Fword%231@127.0.0.1:{}/3", redis.port);
    two_share(&url, None).await;
    assert!(redis.command(&["INFO", "keyspace"]).contains("db3:keys=1"));
}

#[tokio::test]
async fn through_tls() {
    let redis = RedisServer::with_tls();
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rediss://{host}:{}", redis.port);
        two_share(&url, Some(&redis.authority())).await;
        redis.command(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn through_a_socket() {
    let redis = RedisServer::on_socket();
    two_share(&format!("unix://{}", redis.socket().display()), None).await;
}

#[tokio::test]
async fn through_a_cluster() {
    let cluster = RedisCluster::start();
    two_share(&cluster.url(), None).await;
    for node in &cluster.nodes {
        let keys = node.command(&["KEYS", "test:*"]).lines().count();
        assert!(keys > 10, "{keys} keys at a node");
    }
}

#[tokio::test]
async fn a_request_costs_one_lookup_and_one_write() {
    let redis = RedisServer::start();
    let setup = Setup::connected(&redis.url()).await;
    setup.ask(&["warm"]).await;
    setup.until_written(1).await;
    redis.command(&["CONFIG", "RESETSTAT"]);
    let writes = "fastsentiment_redis_write_duration_seconds";
    assert_eq!(setup.samples(writes), 1);
    // Some are in memory, and some come twice.
    let texts = ["warm", "a", "b", "a", "c", "d", "warm"];
    setup.ask(&texts).await;
    setup.until_written(5).await;
    assert_eq!(redis.calls("set"), 4);
    assert_eq!(setup.samples(writes), 2);
    // The connections are tried every 10 seconds, each by a lookup.
    assert!((1..=3).contains(&redis.calls("mget")));
    assert_eq!(
        setup.samples("fastsentiment_redis_lookup_duration_seconds"),
        2
    );
    // What is in memory costs nothing.
    setup.ask(&texts).await;
    assert_eq!(
        setup.samples("fastsentiment_redis_lookup_duration_seconds"),
        2
    );
}

#[tokio::test]
async fn redis_alone_is_a_cache_too() {
    let redis = RedisServer::start();
    let mut options = with_certified_redis(&redis.url(), None);
    options.redis.as_mut().unwrap().timeout = PATIENCE;
    let setup = Setup::new(&Options {
        memory_bytes: 0,
        ..options
    });
    setup.until_open(false).await;
    assert_eq!(setup.ask(&["a", "a"]).await, [Source::Computed; 2]);
    setup.until_written(1).await;
    assert_eq!(setup.ask(&["a", "a"]).await, [Source::Shared; 2]);
    assert_eq!(setup.ask(&["a"]).await, [Source::Shared]);
    assert_eq!(setup.fake.texts(), 1);
}

#[tokio::test]
async fn new_answers_replace_old_ones_and_private_ones_leave_no_trace() {
    let redis = RedisServer::start();
    let one = Setup::connected(&redis.url()).await;
    ask_as(&one.cache, &["a"], Caching::Bypass).await;
    ask_as(&one.cache, &["b"], Caching::Renew).await;
    one.until_written(1).await;
    let two = Setup::connected(&redis.url()).await;
    assert_eq!(
        two.ask(&["a", "b"]).await,
        [Source::Computed, Source::Shared]
    );
    // It is written again, though it is there.
    ask_as(&two.cache, &["b"], Caching::Renew).await;
    two.until_written(2).await;
    assert_eq!(one.in_redis("hit") + one.in_redis("miss"), 0);
}

#[tokio::test]
async fn values_that_are_no_answers_are_misses_and_are_replaced() {
    let redis = RedisServer::start();
    let texts = ["a", "b", "c", "d", "e"];
    let one = Setup::connected(&redis.url()).await;
    one.ask(&texts).await;
    one.until_written(5).await;
    let keys = redis.command(&["KEYS", "test:*"]);
    let mut keys = keys.lines().filter(|key| !key.contains("probe"));
    let (first, second) = (keys.next().unwrap(), keys.next().unwrap());
    // The value of another key, a piece of one, nothing, and another type.
    redis.command(&["COPY", second, first, "REPLACE"]);
    redis.command(&["SETRANGE", second, "3", "x"]);
    redis.command(&["SET", keys.next().unwrap(), ""]);
    let list = keys.next().unwrap();
    redis.command(&["DEL", list]);
    redis.command(&["RPUSH", list, "x"]);

    let two = Setup::connected(&redis.url()).await;
    let sources = two.ask(&texts).await;
    let shared = sources.iter().filter(|source| **source == Source::Shared);
    assert_eq!(shared.count(), 1, "{sources:?}");
    assert_eq!(two.fake.texts(), 4);
    // MGET tells nothing of what is of another type.
    let corrupt = two.metric("fastsentiment_redis_corrupt_values_total", &[]);
    assert_eq!(corrupt, 3);
    assert!(!two.is_open("read"));
    two.until_written(4).await;
    let three = Setup::connected(&redis.url()).await;
    assert_eq!(three.ask(&texts).await, [Source::Shared; 5]);
}

/// Servers with a key believe only each other, and do not say which texts were asked.
#[tokio::test]
async fn with_a_key_only_values_of_servers_that_know_it_are_used() {
    let redis = RedisServer::start();
    let connected = async |secret: Option<&[u8; 32]>| {
        let mut options = with_certified_redis(&redis.url(), None);
        let shared = options.redis.as_mut().unwrap();
        shared.timeout = PATIENCE;
        shared.secret = secret.map(|secret| Secret::new(secret).unwrap());
        let setup = Setup::new(&options);
        setup.until_open(false).await;
        setup
    };
    let (ours, theirs) = (
        b"a secret that all servers know..",
        b"another, that an attacker knows.",
    );
    let texts = ["a", "b", "c", "d"];
    let one = connected(Some(ours)).await;
    assert_eq!(one.ask(&texts).await, [Source::Computed; 4]);
    one.until_written(4).await;
    let two = connected(Some(ours)).await;
    assert_eq!(two.ask(&texts).await, [Source::Shared; 4]);
    // Nobody else finds these values; and what they write is not found by those who know.
    for secret in [None, Some(theirs)] {
        let other = connected(secret).await;
        assert_eq!(other.ask(&texts).await, [Source::Computed; 4], "{secret:?}");
        other.until_written(4).await;
    }
    let names = redis.command(&["KEYS", "test:*"]);
    let names: Vec<&str> = names
        .lines()
        .filter(|name| !name.contains("probe"))
        .collect();
    assert_eq!(names.len(), 12);
    // An attacker puts the values that he can make under all names.
    let lengths: Vec<usize> = names
        .iter()
        .map(|name| redis.command(&["STRLEN", name]).parse().unwrap())
        .collect();
    let plain = *lengths.iter().min().unwrap();
    let forged = names
        .iter()
        .zip(&lengths)
        .find(|(_, length)| **length == plain);
    let forged = *forged.unwrap().0;
    for name in names.iter().filter(|name| **name != forged) {
        redis.command(&["COPY", forged, name, "REPLACE"]);
    }
    let three = connected(Some(ours)).await;
    assert_eq!(three.ask(&texts).await, [Source::Computed; 4]);
    let corrupt = three.metric("fastsentiment_redis_corrupt_values_total", &[]);
    assert_eq!(corrupt, 4);
}

/// Nothing is left behind that would keep a connection for nobody.
#[tokio::test]
async fn connections_end_with_the_cache() {
    let redis = RedisServer::start();
    let clients = || redis.info("clients", "connected_clients");
    let setup = Setup::connected(&redis.url()).await;
    setup.ask(&["a"]).await;
    setup.until_written(1).await;
    assert_eq!(clients(), 3);
    let Setup { cache, .. } = setup;
    drop(cache);
    // The one that asks.
    until("the connections have ended", || clients() == 1).await;
}
