//! Redis answers, but with errors or nonsense.

use std::time::Duration;

use predictor::{Caching, Digest, Predictor as _, Source};
use sha2::{Digest as _, Sha256};

use super::fake::{Setup, request, resolve, until, with_certified_redis, with_redis};
use super::proxy::{Answers, Proxy};
use crate::redis_server::{RedisServer, free_port};

/// Waits until writes are given up; asks for something new until then.
async fn until_writes_fail(setup: &Setup, kind: &str) {
    for number in 0.. {
        if setup.is_open("write") {
            break;
        }
        let text = format!("{kind} {number}");
        assert_eq!(setup.ask(&[&text]).await, [Source::Computed]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let errors = setup.errors("write", kind) + setup.errors("connect", kind);
    assert!(errors > 0, "not for {kind}");
}

#[tokio::test]
async fn a_full_server_is_still_read() {
    let redis = RedisServer::with(&["--maxmemory-policy", "noeviction"]);
    let one = Setup::connected(&redis.url()).await;
    one.ask(&["a"]).await;
    one.until_written(1).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);

    until_writes_fail(&one, "out_of_memory").await;
    assert_eq!(one.transitions("write", "open"), 1);
    assert_eq!(one.transitions("read", "open"), 0);
    let two = Setup::patient(&redis.url());
    until("it can be read", || !two.is_open("read")).await;
    assert_eq!(
        two.ask(&["a", "new"]).await,
        [Source::Shared, Source::Computed]
    );
    assert!(two.is_open("write"));
    let unavailable = [("reason", "unavailable")];
    let dropped = || two.metric("fastsentiment_redis_dropped_writes_total", &unavailable);
    assert_eq!(dropped(), 1);
    // Lookups go on, and no write is tried.
    let sets = redis.calls("set");
    for number in 0..50 {
        one.ask(&[&format!("while full {number}")]).await;
    }
    assert!(!one.is_open("read"));
    let tried = redis.calls("set") - sets;
    assert_eq!(tried % 32, 0, "a write of a request was tried");

    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    one.until_open(false).await;
    let written = one.metric("fastsentiment_redis_written_texts_total", &[]);
    one.ask(&["there is room"]).await;
    one.until_written(written + 1).await;
}

#[tokio::test]
async fn a_replica_is_read_and_not_written_to() {
    let primary = RedisServer::start();
    let port = primary.port.to_string();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
    let one = Setup::connected(&primary.url()).await;
    one.ask(&["a"]).await;
    one.until_written(1).await;
    let copied = || replica.command(&["DBSIZE"]) != "0";
    until("the replica has the answer", copied).await;
    let keys = || replica.command(&["KEYS", "test:*"]);
    until("probes have gone", || keys().lines().count() == 1).await;

    let two = Setup::patient(&replica.url());
    until("it can be read", || !two.is_open("read")).await;
    assert_eq!(two.ask(&["a"]).await, [Source::Shared]);
    assert_eq!(two.ask(&["b"]).await, [Source::Computed]);
    assert!(two.is_open("write"));
    until("it was tried", || two.errors("connect", "read_only") > 0).await;
    // It takes the place of its primary.
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    two.until_open(false).await;
    two.ask(&["c"]).await;
    two.until_written(1).await;
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_is_still_read() {
    let redis = RedisServer::start();
    let setup = Setup::connected(&redis.url()).await;
    let nowhere = free_port().to_string();
    redis.command(&["REPLICAOF", "127.0.0.1", &nowhere]);
    until_writes_fail(&setup, "read_only").await;
    assert!(!setup.is_open("read"));
    assert_eq!(setup.transitions("write", "open"), 1);
}

#[tokio::test]
async fn a_wrong_password_is_tried_until_it_is_right() {
    let redis = RedisServer::start();
    redis.command(&["CONFIG", "SET", "requirepass", "right"]);
    let url = format!("redis://:hidden-word@127.0.0.1:{}", redis.port);
    let options = with_redis(&url);
    let setup = Setup::new(&options);
    until("it was tried", || {
        setup.errors("connect", "not_allowed") >= 2
    })
    .await;
    assert_eq!(setup.ask(&["a"]).await, [Source::Computed]);
    assert_eq!(setup.in_redis("skipped"), 1);
    let told = options.redis.unwrap().reach().await.unwrap_err();
    assert!(told.contains("authentication failed"), "{told}");
    assert!(!told.contains("hidden-word"), "{told}");
    let set = ["-a", "right", "CONFIG", "SET", "requirepass", "hidden-word"];
    redis.command(&set);
    setup.until_open(false).await;
}

#[tokio::test]
async fn a_user_who_may_not_write_can_read() {
    let redis = RedisServer::start();
    redis.command(&[
        "ACL", "SETUSER", "reader", "on", ">word", "~test:*", "+mget", "+client",
    ]);
    let url = format!("redis://reader:word@127.0.0.1:{}", redis.port);
    let setup = Setup::patient(&url);
    until("it can be read", || !setup.is_open("read")).await;
    until("it was tried", || {
        setup.errors("connect", "not_allowed") > 0
    })
    .await;
    assert_eq!(setup.ask(&["a"]).await, [Source::Computed]);
    assert_eq!(setup.in_redis("miss"), 1);
    assert!(setup.is_open("write"));
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_not_used() {
    let redis = RedisServer::with_tls();
    let stranger = RedisServer::with_tls();
    let port = redis.port;
    let certified = format!("rediss://localhost:{port}");
    for (url, authority) in [
        // By the system's authorities, by another one, and for another name.
        (&certified, None),
        (&certified, Some(stranger.authority())),
        (
            &format!("rediss://127.0.0.2:{port}"),
            Some(redis.authority()),
        ),
        // And a client that does not speak TLS.
        (&format!("redis://localhost:{port}"), None),
    ] {
        let setup = Setup::new(&with_certified_redis(url, authority.as_deref()));
        let errors = || setup.metric("fastsentiment_redis_errors_total", &[]);
        until("it was tried", || errors() >= 2).await;
        assert_eq!(setup.ask(&["a"]).await, [Source::Computed]);
        assert_eq!(setup.in_redis("skipped"), 1, "{url}");
    }
}

/// What is not a Redis at all may say anything.
#[tokio::test]
async fn nonsense_is_not_waited_for() {
    let nobody = free_port();
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\xff\xfe\x00\r\n",
        b"*2147483647\r\n",
        b"*9223372036854775807\r\n$-1\r\n",
        b"%9223372036854775807\r\n",
        b"$9223372036854775807\r\n",
        b"|1\r\n",
        b"-ERR you said hidden-word\r\n-ERR hidden-word\r\n-ERR hidden-word\r\n",
        b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        b"\r\n\r\n\r\n",
    ] {
        let proxy = Proxy::start(nobody, Answers::Replaced(nonsense.to_vec())).await;
        let url = proxy.url().replace("redis://", "redis://:hidden-word@");
        let options = with_redis(&url);
        let setup = Setup::new(&options);
        assert_eq!(setup.ask(&["a"]).await, [Source::Computed]);
        let reason = options.redis.unwrap().reach().await.unwrap_err();
        assert!(!reason.contains("hidden-word"), "{reason}");
        assert!(reason.len() < 300 && !reason.contains('\n'), "{reason}");
        let errors = || setup.metric("fastsentiment_redis_errors_total", &[]);
        until("it was tried", || errors() > 0).await;
        assert_eq!(setup.ask(&["b"]).await, [Source::Computed]);
        assert_eq!(setup.in_redis("skipped"), 2);
    }
}

#[tokio::test]
async fn nonsense_in_the_middle_is_not_taken_for_an_answer() {
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"*1\r\n$1\r\n",
        b"*1\r\n*0\r\n",
        b"*2\r\n$-1\r\n$-1\r\n",
        b"$5\r\nwrong\r\n",
        b"*2147483647\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
    ] {
        let redis = RedisServer::start();
        let proxy = Proxy::start(redis.port, Answers::Pass).await;
        let setup = Setup::new(&with_redis(&proxy.url()));
        setup.until_open(false).await;
        proxy.answer(Answers::Replaced(nonsense.to_vec()));
        for number in 0..10 {
            let text = format!("text {number}");
            assert_eq!(setup.ask(&[&text]).await, [Source::Computed]);
        }
        let named = String::from_utf8_lossy(nonsense);
        assert_eq!(setup.in_redis("hit"), 0, "{named}");
        assert!(
            setup.in_redis("error") >= 1 || named.contains("*1\r\n*0"),
            "{named}"
        );
        proxy.answer(Answers::Pass);
        setup.until_open(false).await;
    }
}

/// Whatever is asked: the replies to `MGET` and `SET` here, and to what a new connection
/// says first.
#[tokio::test]
async fn a_reply_without_end_is_cut_off() {
    for begin in [
        "$1073741824\r\n",
        "*1\r\n$1073741824\r\n",
        "*2147483647\r\n$1073741824\r\n",
        "+",
        "-ERR ",
        "=1073741824\r\ntxt:",
    ] {
        let redis = RedisServer::start();
        let proxy = Proxy::start(redis.port, Answers::Pass).await;
        // No time-out ends it.
        let setup = Setup::connected(&proxy.url()).await;
        proxy.answer(Answers::Endless(begin.as_bytes().to_vec()));
        assert_eq!(setup.ask(&["a"]).await, [Source::Computed]);
        setup.until_open(true).await;
        assert!(setup.errors("read", "protocol") > 0, "{begin:?}");
        // A pipeline only says that the connection has ended.
        assert!(setup.errors("write", "unreachable") > 0, "{begin:?}");
        // What the system holds between the two is not small.
        let (taken, connections) = (proxy.taken(), proxy.connections());
        assert!(taken < connections * (32 << 20), "{begin:?}: {taken}");
        proxy.answer(Answers::Pass);
        setup.until_open(false).await;
        assert_eq!(setup.ask(&["b"]).await, [Source::Computed]);
    }
}

/// An answer that no guest may give, with a checksum that is right.
#[tokio::test]
async fn a_value_that_breaks_the_contract_is_no_answer() {
    let redis = RedisServer::start();
    let setup = Setup::connected(&redis.url()).await;
    setup.ask(&["a"]).await;
    setup.until_written(1).await;
    let keys = || redis.command(&["KEYS", "test:*"]);
    until("probes have gone", || keys().lines().count() == 1).await;
    let key = keys();
    for label in ["HI\u{1b}H", "\u{202e}HI", "H\u{200b}H", "H\u{2028}"] {
        redis.command(&["EVAL", SET_HEXADECIMAL, "1", &key, &value(&key, label)]);
        let two = Setup::connected(&redis.url()).await;
        assert_eq!(two.ask(&["a"]).await, [Source::Computed], "{label:?}");
        let corrupt = two.metric("fastsentiment_redis_corrupt_values_total", &[]);
        assert_eq!(corrupt, 1, "{label:?}");
        two.until_written(1).await;
    }
    // Such a value is read if its label is one.
    redis.command(&["EVAL", SET_HEXADECIMAL, "1", &key, &value(&key, "HIGH")]);
    let two = Setup::connected(&redis.url()).await;
    let pending = two.cache.predict(request(&["a"], Caching::Use));
    let answers = resolve(pending.await.unwrap()).await.unwrap();
    assert_eq!(answers[0].source, Source::Shared);
    assert_eq!(&*answers[0].scores[0].label, "HIGH");
}

/// Sets a key to what its hexadecimal digits stand for: an argument of a command has no
/// zero bytes.
const SET_HEXADECIMAL: &str = "return redis.call('SET', KEYS[1], \
     (ARGV[1]:gsub('..', function(byte) return string.char(tonumber(byte, 16)) end)))";

/// The value of a key, in hexadecimal digits: one label and a half, with the checksum.
fn value(name: &str, label: &str) -> String {
    let key: Digest = name.strip_prefix("test:").unwrap().parse().unwrap();
    let mut bytes = vec![1, 1, 0];
    bytes.extend(u16::try_from(label.len()).unwrap().to_le_bytes());
    bytes.extend(label.as_bytes());
    bytes.extend(0.5_f32.to_le_bytes());
    let sum = Sha256::new().chain_update(key.0).chain_update(&bytes);
    bytes.extend(&sum.finalize()[..8]);
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}
