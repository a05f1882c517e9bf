//! What breaks on the way: each fault ends, in the right kind of error, or is overcome.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastsentiment_artifacts::{ArtifactError, Kind, PinnedReference, Registry};
use tempfile::TempDir;

use crate::faulty::{Action, Faulty, Request, answer};
use crate::server::Server;
use crate::{MOST, at, client, component, options, push_guest, push_model, reference};

const SIZE: usize = 3 << 20;

/// A registry with a guest, and a proxy in front of it that fails as the test says.
struct Setup {
    _server: Server,
    proxy: Faulty,
    guest: PinnedReference,
    component: Vec<u8>,
    _dir: TempDir,
    registry: Registry,
}

impl Setup {
    /// `script` gets each request, and how many like it came before.
    async fn new(script: impl Fn(&Request, usize) -> Action + Send + Sync + 'static) -> Self {
        Self::patient(script, Duration::from_secs(20)).await
    }

    /// With a time limit for silence.
    async fn patient(
        script: impl Fn(&Request, usize) -> Action + Send + Sync + 'static,
        idle: Duration,
    ) -> Self {
        let server = Server::plain();
        let component = component(SIZE);
        let guest = push_guest(&server, "guest", &component).await;
        let [manifests, blobs] = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let proxy = Faulty::start(&server.address, move |request| {
            let count = if request.is_blob() {
                &blobs
            } else {
                &manifests
            };
            script(request, count.fetch_add(1, Ordering::Relaxed))
        });
        let dir = TempDir::new().unwrap();
        let mut options = options(dir.path(), &[&proxy.address]);
        options.times.idle = idle;
        Self {
            guest: at(&proxy.address, &guest),
            registry: Registry::new(options).unwrap(),
            _server: server,
            proxy,
            component,
            _dir: dir,
        }
    }

    async fn succeeds(&self) {
        let guest = self.registry.pull_guest(&self.guest, None, MOST).await;
        assert!(guest.unwrap().component == self.component);
    }

    async fn fails(&self) -> ArtifactError {
        self.registry
            .pull_guest(&self.guest, None, MOST)
            .await
            .unwrap_err()
    }
}

/// Breaks the answers to requests for blobs only.
fn of_blobs(
    action: impl Fn(usize) -> Action + Send + Sync + 'static,
) -> impl Fn(&Request, usize) -> Action + Send + Sync + 'static {
    move |request, count| {
        if request.is_blob() {
            action(count)
        } else {
            Action::Forward
        }
    }
}

/// The positions from which a blob was asked for.
fn ranges(proxy: &Faulty) -> Vec<Option<String>> {
    let range = |request: &Request| request.header("range").map(str::to_owned);
    proxy.blobs().iter().map(range).collect()
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_broke() {
    // Each time it is half a MiB further, and there are three retries.
    let setup = Setup::new(of_blobs(|count| match count {
        0 | 1 => Action::Cut(1 << 19),
        _ => Action::Forward,
    }));
    let setup = setup.await;
    setup.succeeds().await;
    let ranges = ranges(&setup.proxy);
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[0], None);
    // What was on its way when the connection broke may be lost.
    let start = |at: usize| -> usize {
        let range = ranges[at].as_deref().unwrap();
        let start = range.strip_prefix("bytes=").unwrap().strip_suffix('-');
        start.unwrap().parse().unwrap()
    };
    assert!(0 < start(1) && start(1) <= 1 << 19, "{ranges:?}");
    assert!(start(1) < start(2) && start(2) <= 1 << 20, "{ranges:?}");
}

#[tokio::test]
async fn a_download_that_makes_progress_may_break_often() {
    let setup = Setup::new(of_blobs(|_| Action::Cut(1 << 18)));
    // It never comes a whole MiB further at a time, so this is a matter of retries.
    let error = setup.await.fails().await;
    assert!(
        matches!(error, ArtifactError::Unreachable { .. }),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Passing);

    let server = Server::plain();
    let component = component(9 << 20);
    let guest = push_guest(&server, "guest", &component).await;
    let (size, more) = (component.len(), (3 << 20) / 2);
    let proxy = Faulty::start(&server.address, move |request| {
        let range = request.header("range");
        let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let start: usize = start.map_or(0, |start| start.parse().unwrap());
        if request.is_blob() && start + more < size {
            Action::Cut(more)
        } else {
            Action::Forward
        }
    });
    let (_dir, registry) = client(&[&proxy.address]);
    let pulled = registry
        .pull_guest(&at(&proxy.address, &guest), None, MOST)
        .await;
    assert!(pulled.unwrap().component == component);
    assert!(proxy.blobs().len() > 5, "{}", proxy.blobs().len());
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_sends_everything_again() {
    let whole = component(SIZE);
    let length = format!("Content-Length: {}", whole.len());
    let setup = Setup::new(of_blobs(move |count| match count {
        0 => Action::Cut(1 << 20),
        _ => answer("200 OK", &[&length], &whole),
    }));
    let setup = setup.await;
    setup.succeeds().await;
    assert_eq!(setup.proxy.blobs().len(), 2);
}

#[tokio::test]
async fn another_part_than_was_asked_for_is_refused() {
    let setup = Setup::new(of_blobs(|count| match count {
        0 => Action::Cut(1 << 20),
        _ => answer(
            "206 Partial Content",
            &["Content-Range: bytes 0-9/10"],
            &[0; 10],
        ),
    }));
    let error = setup.await.fails().await;
    assert!(matches!(error, ArtifactError::Malformed { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Final);
}

#[tokio::test]
async fn a_body_that_stalls_is_asked_for_again() {
    let soon = Duration::from_secs(1);
    let once = of_blobs(|count| match count {
        0 => Action::Stall(1 << 20),
        _ => Action::Forward,
    });
    let setup = Setup::patient(once, soon).await;
    setup.succeeds().await;
    assert!(setup.proxy.blobs().len() > 1);

    let always = of_blobs(|_| Action::Stall(0));
    let setup = Setup::patient(always, soon).await;
    let error = setup.fails().await;
    assert!(matches!(error, ArtifactError::Silent { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Passing);
    assert_eq!(setup.proxy.blobs().len(), 4);
}

#[tokio::test]
async fn a_body_that_drips_is_limited_by_the_whole_time() {
    let proxy = Faulty::alone(|_| {
        Action::Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n".to_vec())
    });
    let dir = TempDir::new().unwrap();
    let mut options = options(dir.path(), &[&proxy.address]);
    options.times.total = Duration::from_secs(1);
    let registry = Registry::new(options).unwrap();
    let pinned = format!("oci://{}/x@sha256:{}", proxy.address, "0".repeat(64));
    let error = registry
        .pull_guest(&pinned.parse().unwrap(), None, MOST)
        .await
        .unwrap_err();
    assert!(matches!(error, ArtifactError::TimedOut { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Passing);
}

#[tokio::test]
async fn nothing_that_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (_dir, registry) = client(&[&address]);
    let error = registry
        .resolve(&reference(&format!("oci://{address}/x:v1")))
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, ArtifactError::Unreachable { .. }),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Passing);
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn a_registry_that_asks_to_be_spared_is_asked_again_as_often_as_is_allowed() {
    for status in [
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Unavailable",
    ] {
        // An hour is longer than the client waits.
        let busy = move || answer(status, &["Retry-After: 3600"], b"");
        let setup = Setup::new(move |_, count| if count < 2 { busy() } else { Action::Forward });
        let setup = setup.await;
        setup.succeeds().await;
        assert_eq!(setup.proxy.seen().len(), 2 + 1 + 2 + 1);

        let setup = Setup::new(move |_, _| busy()).await;
        let error = setup.fails().await;
        assert!(
            matches!(error, ArtifactError::Unavailable { .. }),
            "{error}"
        );
        assert_eq!(error.kind(), Kind::Passing);
        assert_eq!(setup.proxy.seen().len(), 4);
    }
}

#[tokio::test]
async fn what_the_registry_does_not_have_or_refuses_is_final_and_says_why_in_its_words() {
    let words = br#"{"errors":[{"code":"DENIED","message":"not\u001b[31m \u202efor you"}]}"#;
    for (status, is_expected) in [
        (
            "404 Not Found",
            (|e| matches!(e, ArtifactError::NotFound { .. })) as fn(&_) -> _,
        ),
        ("403 Forbidden", |e| {
            matches!(e, ArtifactError::Denied { status: 403, .. })
        }),
        ("400 Bad Request", |e| {
            matches!(e, ArtifactError::Rejected { status: 400, .. })
        }),
    ] {
        let setup = Setup::new(move |_, _| answer(status, &[], words)).await;
        let error = setup.fails().await;
        assert!(is_expected(&error), "{error}");
        assert_eq!(error.kind(), Kind::Final);
        let said = "DENIED not\\u{1b}[31m \\u{202e}for you";
        assert!(error.to_string().contains(said), "{error}");
        // It is not asked again.
        assert_eq!(setup.proxy.seen().len(), 1);
    }
}

#[tokio::test]
async fn an_error_whose_words_do_not_end_is_an_error_all_the_same() {
    let head = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    let setup = Setup::new(|_, _| Action::Endless(head.to_vec())).await;
    let error = setup.fails().await;
    assert!(matches!(error, ArtifactError::Rejected { .. }), "{error}");
    assert!(setup.proxy.sent() < 32 << 20, "{}", setup.proxy.sent());
}

#[tokio::test]
async fn bytes_of_another_digest_are_not_taken() {
    let mut wrong = component(SIZE);
    wrong[SIZE / 2] ^= 1;
    let setup = Setup::new(of_blobs(move |_| answer("200 OK", &[], &wrong))).await;
    let error = setup.fails().await;
    assert!(matches!(error, ArtifactError::Digest { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Final);
    assert_eq!(setup.proxy.blobs().len(), 1);

    // A manifest is not what its digest says either.
    let setup = Setup::new(|_, _| answer("200 OK", &[], b"{\"schemaVersion\":2}")).await;
    let error = setup.fails().await;
    assert!(matches!(error, ArtifactError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn a_body_of_another_length_is_not_taken() {
    let whole = component(SIZE);
    let short = whole[..SIZE / 2].to_vec();
    let long = [&whole[..], b"x"].concat();
    let chunked = |body: &[u8]| {
        let mut framed = format!("{:x}\r\n", body.len()).into_bytes();
        framed.extend(body);
        framed.extend(b"\r\n0\r\n\r\n");
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        [head.as_bytes(), &framed].concat()
    };
    let (chunked_short, chunked_long) = (chunked(&short), chunked(&long));
    for (index, expected) in ["shorter", "longer", "shorter", "longer"]
        .iter()
        .enumerate()
    {
        let bodies = [short.clone(), long.clone()];
        let raw = [chunked_short.clone(), chunked_long.clone()];
        let setup = Setup::new(of_blobs(move |_| match index {
            0 | 1 => answer("200 OK", &[], &bodies[index]),
            _ => Action::Answer(raw[index - 2].clone()),
        }));
        let error = setup.await.fails().await;
        assert!(
            matches!(&error, ArtifactError::Length { fault, .. } if fault == expected),
            "{index}: {error}"
        );
        assert_eq!(error.kind(), Kind::Final);
    }
}

#[tokio::test]
async fn a_body_without_an_end_is_not_read_to_its_end() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n";
    let unannounced = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    for (at_blob, head) in [
        (true, announced),
        (true, unannounced),
        (false, announced),
        (false, unannounced),
    ] {
        let setup = Setup::new(move |request, _| {
            if request.is_blob() == at_blob {
                Action::Endless(head.as_bytes().to_vec())
            } else {
                Action::Forward
            }
        });
        let setup = setup.await;
        let error = setup.fails().await;
        if at_blob {
            assert!(matches!(error, ArtifactError::Length { .. }), "{error}");
        } else {
            assert!(matches!(error, ArtifactError::TooLarge { .. }), "{error}");
        }
        assert_eq!(error.kind(), Kind::Final);
        assert!(setup.proxy.sent() < 64 << 20, "{}", setup.proxy.sent());
    }
}

#[tokio::test]
async fn what_is_downloaded_of_a_model_is_kept_when_the_rest_fails() {
    let server = Server::plain();
    let files: &[(&str, &[u8])] = &[("a", b"first"), ("b", b"second")];
    let model = push_model(&server, "model", files).await;
    let count = AtomicUsize::new(0);
    let proxy = Faulty::start(&server.address, move |request| {
        if request.is_blob() && count.fetch_add(1, Ordering::Relaxed) == 1 {
            answer("403 Forbidden", &[], b"")
        } else {
            Action::Forward
        }
    });
    let (_dir, registry) = client(&[&proxy.address]);
    let model = at(&proxy.address, &model);
    let error = registry.pull_model(&model, None, MOST).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Denied { .. }), "{error}");
    let pulled = registry.pull_model(&model, None, MOST).await.unwrap();
    assert_eq!(std::fs::read(pulled.dir().join("a")).unwrap(), b"first");
    assert_eq!(std::fs::read(pulled.dir().join("b")).unwrap(), b"second");
    // Each file came once, and the second one was refused once.
    assert_eq!(proxy.blobs().len(), 3);
}
