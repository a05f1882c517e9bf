//! Each way in which a file can change, with events and without.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use super::*;
use std::path::Path;

const PATIENCE: Duration = Duration::from_secs(60);

/// A file that is followed as long as this is there.
struct Followed {
    news: Receiver<News>,
    wanted: Arc<AtomicBool>,
}

fn follow(path: &Path, patience: Duration, signs: Signs) -> Followed {
    let pace = Pace {
        poll: Duration::from_millis(50),
        settle: Duration::from_millis(100),
        patience,
    };
    let wanted = Arc::new(AtomicBool::new(true));
    let (tell, news) = channel();
    let watch = Watch::new(path.to_owned(), 64, pace, signs);
    let is_wanted = Arc::clone(&wanted);
    std::thread::spawn(move || {
        watch.run(
            || is_wanted.load(Ordering::Relaxed),
            |news| drop(tell.send(news)),
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
    fn next(&self) -> News {
        self.news.recv_timeout(PATIENCE).unwrap()
    }

    /// The next content; the same one may be told of once more.
    fn content(&self, expected: &str) {
        assert_eq!(self.next(), content(expected));
    }

    /// Passes over a content that is told of once more.
    fn next_but(&self, known: &str) -> News {
        loop {
            let next = self.next();
            if next != content(known) {
                return next;
            }
        }
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

/// Runs a scenario with a file that holds `first`, with events and without.
fn each_way(scenario: impl Fn(&Path, &Followed)) {
    for signs in [Signs::start(), Signs::none()] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest.wasm");
        fs::write(&path, "first").unwrap();
        let followed = follow(&path, PATIENCE, signs);
        followed.content("first");
        scenario(&path, &followed);
    }
}

#[test]
fn a_file_that_is_replaced_is_told_of() {
    each_way(|path, followed| {
        replace(path, "second");
        assert_eq!(followed.next_but("first"), content("second"));
        // Of the same size.
        replace(path, "THIRD!");
        assert_eq!(followed.next_but("second"), content("THIRD!"));
    });
}

#[test]
fn the_last_of_many_contents_is_told_of_last() {
    each_way(|path, followed| {
        for number in 0..50 {
            replace(path, &format!("content {number}"));
        }
        while followed.next() != content("content 49") {}
    });
}

#[test]
fn a_file_that_vanishes_and_returns_is_told_of() {
    each_way(|path, followed| {
        let beside = path.with_extension("away");
        fs::rename(path, &beside).unwrap();
        assert_eq!(followed.next_but("first"), News::Gone);
        fs::rename(&beside, path).unwrap();
        followed.content("first");
    });
}

#[test]
fn a_directory_that_vanishes_and_returns_is_followed() {
    for signs in [Signs::start(), Signs::none()] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some/where/guest.wasm");
        let parent = path.parent().unwrap();
        // Not there yet.
        let followed = follow(&path, PATIENCE, signs);
        for text in ["first", "second"] {
            fs::create_dir_all(parent).unwrap();
            fs::write(&path, text).unwrap();
            followed.content(text);
            fs::remove_dir_all(dir.path().join("some")).unwrap();
            assert_eq!(followed.next_but(text), News::Gone);
        }
    }
}

#[test]
fn what_is_no_component_is_told_of_once_and_then_what_is() {
    each_way(|path, followed| {
        replace(path, &"x".repeat(65));
        assert_eq!(followed.next_but("first"), News::Unfit(Unfit::TooLarge));
        replace(path, &"x".repeat(64));
        assert_eq!(followed.next(), content(&"x".repeat(64)));
        fs::remove_file(path).unwrap();
        assert_eq!(followed.next_but(&"x".repeat(64)), News::Gone);
        fs::create_dir(path).unwrap();
        assert!(matches!(followed.next(), News::Unfit(Unfit::Unreadable(_))));
    });
}

/// What Kubernetes does to a mounted volume: a new directory, and one link that is
/// replaced. The file's own link is never touched.
#[test]
fn a_link_on_the_way_that_is_replaced_is_told_of() {
    for signs in [Signs::start(), Signs::none()] {
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
        let followed = follow(&path, PATIENCE, signs);
        followed.content("content 1");
        for number in 2..6 {
            publish(number);
            let before = format!("content {}", number - 1);
            assert_eq!(
                followed.next_but(&before),
                content(&format!("content {number}"))
            );
        }
    }
}

/// The writer takes its time between its writes, longer than a file has to stay
/// as it is, and is not mistaken for done before it closes the file.
#[cfg(target_os = "linux")]
#[test]
fn a_slow_writer_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest.wasm");
    fs::write(&path, "first").unwrap();
    let followed = follow(&path, PATIENCE, Signs::start());
    followed.content("first");
    for new in [false, true] {
        if new {
            fs::remove_file(&path).unwrap();
            assert_eq!(followed.next(), News::Gone);
        }
        // This empties a file that is there.
        let mut file = fs::File::create(&path).unwrap();
        for part in ["one ", "two ", "three"] {
            std::thread::sleep(Duration::from_millis(400));
            file.write_all(part.as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(400));
        drop(file);
        followed.content("one two three");
    }
}

#[test]
fn a_writer_that_never_closes_the_file_is_not_waited_for_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("guest.wasm");
    let followed = follow(&path, Duration::from_millis(500), Signs::start());
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"whole").unwrap();
    while followed.next() != content("whole") {}
}
