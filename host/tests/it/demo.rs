//! `fastsentiment demo`.

use crate::harness::{example_path, repository};
use crate::server_process::bare;

#[test]
fn the_tour_shows_what_it_promises_and_leaves_nothing_behind() {
    let guests = example_path("lexicon");
    assert_eq!(guests.parent(), example_path("fragile").parent());
    let dir = tempfile::tempdir().unwrap();
    let mut demo = bare();
    demo.args(["demo", "--no-pause", "--guests"]);
    // There the included model is found.
    demo.current_dir(repository());
    demo.arg(guests.parent().unwrap()).env("TMPDIR", dir.path());
    // What would change the server of everybody else does not change this one.
    demo.env("FASTSENTIMENT_MAX_TEXTS", "0")
        .env("REDIS_URL", "redis://127.0.0.1:1");
    let output = demo.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for words in [
        "\"predictions\":[[{\"label\":\"POSITIVE\"",
        "canary 50 %",
        "$ fastsentiment promote\n",
        "$ fastsentiment rollback\n",
        "A car crash, 1.  200 OK by ",
        "it is in quarantine, and ",
        "quarantined",
        "That was all.",
    ] {
        assert!(shown.contains(words), "no {words:?} in {shown}");
    }
    let shared = shown.lines().find(|line| line.starts_with("Of 40 texts"));
    assert!(shared.unwrap().matches(" by ").count() == 2, "{shown}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn without_its_guests_it_says_how_to_get_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = bare();
    demo.args(["demo", "--guests"]).arg(dir.path());
    let output = demo.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("which `make demo` builds"), "{said}");
}
