//! Each way in which a file can change.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

const PACE: Pace = Pace {
    poll: Duration::from_millis(50),
    first_retry: Duration::from_millis(60),
    longest_retry: Duration::from_millis(200),
};

/// A file that is followed as long as this is there.
struct Followed {
    news: Receiver<(News, bool)>,
    wanted: Arc<AtomicBool>,
}

/// Follows a file, and settles all of its news.
fn follow(path: &Path) -> Followed {
    follow_with(path, |_| Outcome::Settled)
}

fn follow_with(path: &Path, outcome: impl Fn(&News) -> Outcome + Send + 'static) -> Followed {
    let wanted = Arc::new(AtomicBool::new(true));
    let (tell, news) = channel();
    let model = path.with_file_name("model");
    let configuration = path.with_file_name("guest.toml");
    let beside = move || Beside {
        model: fs::read(&model).ok().map(|model| Digest::of(&model)),
        configuration: file::Stamp::of(&configuration).ok(),
    };
    let watch = Watch::new(path.to_owned(), 64, beside, PACE);
    let is_wanted = Arc::clone(&wanted);
    std::thread::spawn(move || {
        watch.run(
            || is_wanted.load(Ordering::Relaxed),
            |news, again| {
                tell.send((news.clone(), again)).unwrap();
                outcome(&news)
            },
        );
    });
    Followed { news, wanted }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
    }
}

impl Followed {
    /// The next news, which are no second attempt.
    fn next(&self) -> News {
        let (news, again) = self.news.recv_timeout(PATIENCE).unwrap();
        assert!(!again, "{news:?}");
        news
    }

    fn content(&self, expected: &str) {
        assert_eq!(self.next(), content(expected));
    }
}

fn content(text: &str) -> News {
    News::Content(text.as_bytes().to_vec())
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// Runs a scenario with a file that holds `first`, which is known.
fn with_file(scenario: impl Fn(&Path, &Followed)) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest.wasm");
    fs::write(&path, "first").unwrap();
    let followed = follow(&path);
    followed.content("first");
    scenario(&path, &followed);
}

#[test]
fn a_file_that_is_replaced_is_told_of() {
    with_file(|path, followed| {
        replace(path, "second");
        followed.content("second");
        // Of the same size.
        replace(path, "THIRD!");
        followed.content("THIRD!");
    });
}

#[test]
fn a_change_of_the_model_is_told_of() {
    with_file(|path, followed| {
        let model = path.with_file_name("model");
        fs::write(&model, "1").unwrap();
        followed.content("first");
        fs::write(&model, "2").unwrap();
        followed.content("first");
        fs::remove_file(&model).unwrap();
        followed.content("first");
        fs::write(&model, "3").unwrap();
        replace(path, "second");
        while followed.next() != content("second") {}
    });
}

#[test]
fn the_last_of_many_contents_is_told_of_last() {
    with_file(|path, followed| {
        for number in 0..50 {
            replace(path, &format!("content {number}"));
        }
        while followed.next() != content("content 49") {}
    });
}

#[test]
fn a_file_that_vanishes_and_returns_is_told_of() {
    with_file(|path, followed| {
        let beside = path.with_extension("away");
        fs::rename(path, &beside).unwrap();
        assert_eq!(followed.next(), News::Gone);
        fs::rename(&beside, path).unwrap();
        followed.content("first");
    });
}

#[test]
fn a_directory_that_vanishes_and_returns_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some/where/guest.wasm");
    let parent = path.parent().unwrap();
    // Not there yet.
    let followed = follow(&path);
    for text in ["first", "second"] {
        fs::create_dir_all(parent).unwrap();
        fs::write(&path, text).unwrap();
        followed.content(text);
        fs::remove_dir_all(dir.path().join("some")).unwrap();
        assert_eq!(followed.next(), News::Gone);
    }
}

#[test]
fn what_is_no_component_is_told_of_once_and_then_what_is() {
    with_file(|path, followed| {
        replace(path, &"x".repeat(65));
        assert_eq!(followed.next(), News::Unfit(Unfit::TooLarge));
        replace(path, &"x".repeat(64));
        assert_eq!(followed.next(), content(&"x".repeat(64)));
        fs::remove_file(path).unwrap();
        assert_eq!(followed.next(), News::Gone);
        fs::create_dir(path).unwrap();
        assert!(matches!(followed.next(), News::Unfit(Unfit::Unreadable(_))));
    });
}

/// What Kubernetes does to a mounted volume: a new directory, and one link that is
/// replaced. The file's own link is never touched.
#[test]
fn a_link_on_the_way_that_is_replaced_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let publish = |number: u32| {
        let new = dir.path().join(format!("..2026_{number}"));
        fs::create_dir(&new).unwrap();
        fs::write(new.join("guest.wasm"), format!("content {number}")).unwrap();
        let link = dir.path().join("..data_tmp");
        symlink(new.file_name().unwrap(), &link).unwrap();
        fs::rename(&link, dir.path().join("..data")).unwrap();
        // The old directory goes.
        let _ = fs::remove_dir_all(dir.path().join(format!("..2026_{}", number - 1)));
    };
    publish(1);
    let path = dir.path().join("guest.wasm");
    symlink("..data/guest.wasm", &path).unwrap();
    let followed = follow(&path);
    followed.content("content 1");
    for number in 2..6 {
        publish(number);
        followed.content(&format!("content {number}"));
    }
}

/// A content that is still growing is not told of, or is followed by the whole.
#[test]
fn what_a_slow_writer_has_written_last_is_told_of_last() {
    with_file(|path, followed| {
        // This empties the file.
        let mut file = fs::File::create(path).unwrap();
        for part in ["one ", "two ", "three"] {
            std::thread::sleep(PACE.poll);
            file.write_all(part.as_bytes()).unwrap();
        }
        while followed.next() != content("one two three") {}
    });
}

#[test]
fn what_fails_for_a_while_is_tried_again_until_it_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest.wasm");
    fs::write(&path, "first").unwrap();
    let attempts = std::sync::atomic::AtomicUsize::new(0);
    let followed = follow_with(&path, move |news| {
        assert_ne!(*news, content("panic"), "this is what panics");
        match attempts.fetch_add(1, Ordering::Relaxed) {
            0..4 => Outcome::TryAgain,
            _ => Outcome::Settled,
        }
    });
    followed.content("first");
    for _ in 0..4 {
        let again = followed.news.recv_timeout(PATIENCE).unwrap();
        assert_eq!(again, (content("first"), true));
    }
    // Another content is a first attempt; one that panics is one that fails.
    replace(&path, "panic");
    followed.content("panic");
    let again = followed.news.recv_timeout(PATIENCE).unwrap();
    assert_eq!(again, (content("panic"), true));
    replace(&path, "second");
    loop {
        match followed.news.recv_timeout(PATIENCE).unwrap() {
            (news, false) if news == content("second") => break,
            other => assert_eq!(other, (content("panic"), true)),
        }
    }
}
