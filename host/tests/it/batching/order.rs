//! What goes together, and in which order.

use super::{Fake, OPTIONS, Options, Subject, answers, length};

/// Holds the only worker, so that what is asked next has to wait.
async fn occupy(subject: &Subject, fake: &Fake) -> Vec<predictor::Pending> {
    let pending = subject.ask(fake, &["first"]).await.unwrap();
    fake.batches(1);
    pending
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_texts() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::free());
    let long = "word ".repeat(100);
    let texts = ["a", &long, "", "bb", &long, "ccc"];
    let pending = subject.ask(&fake, &texts).await.unwrap();
    for (answer, text) in answers(pending).await.into_iter().zip(texts) {
        assert_eq!(answer.unwrap().scores, length(text));
    }
}

#[tokio::test]
async fn what_waits_together_goes_together() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let _first = occupy(&subject, &fake).await;
    let _a = subject.ask(&fake, &["a"]).await.unwrap();
    let _b = subject.ask(&fake, &["b", "c"]).await.unwrap();
    fake.release();
    assert_eq!(fake.batches(2)[1], ["a", "b", "c"]);
}

#[tokio::test]
async fn a_batch_is_bounded_in_texts_and_in_tokens() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let _first = occupy(&subject, &fake).await;
    let _many = subject.ask(&fake, &["a"; 20]).await.unwrap();
    for batch in 1..4 {
        fake.release();
        let batches = fake.batches(batch + 1);
        assert_eq!(batches[batch].len(), [8, 8, 4][batch - 1]);
    }
    // 102 tokens each: two fit into 256, padding included.
    let text = "word ".repeat(100);
    let _long = subject.ask(&fake, &[text.as_str(); 3]).await.unwrap();
    fake.release();
    assert_eq!(fake.batches(5)[4].len(), 2);
    fake.release();
    assert_eq!(fake.batches(6)[5].len(), 1);
}

#[tokio::test]
async fn texts_of_like_length_go_together() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let _first = occupy(&subject, &fake).await;
    let long = "word ".repeat(40);
    let texts = ["short", &long, "brief", &long, "small"];
    let _pending = subject.ask(&fake, &texts).await.unwrap();
    fake.release();
    assert_eq!(fake.batches(2)[1], ["short", "brief", "small"]);
    fake.release();
    assert_eq!(fake.batches(3)[2], [&*long, &*long]);
}

#[tokio::test]
async fn versions_do_not_mix() {
    let (subject, old, new) = (Subject::start(OPTIONS), Fake::held(), Fake::of(9));
    let _first = occupy(&subject, &old).await;
    let a = subject.ask(&old, &["a"]).await.unwrap();
    let b = subject.ask(&new, &["b"]).await.unwrap();
    let c = subject.ask(&old, &["c"]).await.unwrap();
    old.release_all();
    new.release_all();
    assert_eq!(new.batches(1), [["b"]]);
    for (pending, revision) in [(a, 1), (b, 9), (c, 1)] {
        let answer = answers(pending).await.remove(0).unwrap();
        assert_eq!(answer.revision.guest().0, [revision; 32]);
    }
    assert_eq!(old.batches(2)[1], ["a", "c"]);
}

/// A short request does not wait for all of a long one that was there before,
/// and the long one goes on meanwhile.
#[tokio::test]
async fn a_long_request_does_not_starve_a_short_one() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let long = "word ".repeat(200);
    let _long = subject.ask(&fake, &[long.as_str(); 50]).await.unwrap();
    fake.batches(1);
    let _short = subject.ask(&fake, &["short"]).await.unwrap();
    let turns: Vec<bool> = (1..4)
        .map(|batch| {
            fake.release();
            fake.batches(batch + 1)[batch] == ["short"]
        })
        .collect();
    assert!(turns.contains(&true), "{turns:?}");
    // Short requests without end do not starve the long one either.
    let mut begun = fake.batches(4).len();
    let mut shorts = Vec::new();
    let mut longs = 0;
    for _ in 0..200 {
        shorts.push(subject.ask(&fake, &["short"]).await.unwrap());
        fake.release();
        begun += 1;
        longs += usize::from(fake.batches(begun)[begun - 1] == [&*long]);
    }
    assert!((2..150).contains(&longs), "{longs}");
}

/// However many short requests are waiting all the time, a long text has its
/// turn after a few rounds of them.
#[tokio::test]
async fn a_long_text_is_not_passed_over_for_long() {
    const STANDING: usize = 40;
    const TEXT: &str = "eight words make a text of ten tokens";
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let long = "word ".repeat(600);
    let mut waiting = Vec::new();
    for _ in 0..STANDING {
        waiting.push(subject.ask(&fake, &[TEXT]).await.unwrap());
    }
    fake.batches(1);
    let _long = subject.ask(&fake, &[long.as_str()]).await.unwrap();
    let mut begun = 1;
    while fake.batches(begun)[begun - 1] != [long.as_str()] {
        // As many come as are answered.
        for _ in 0..fake.batches(begun)[begun - 1].len() {
            waiting.push(subject.ask(&fake, &[TEXT]).await.unwrap());
        }
        fake.release();
        begun += 1;
        assert!(begun < 10 * STANDING / OPTIONS.batch_texts, "still waiting");
    }
}

#[tokio::test]
async fn idle_workers_share_a_request() {
    let options = Options {
        workers: 4,
        ..OPTIONS
    };
    let (subject, fake) = (Subject::start(options), Fake::held());
    // Let all of them come to wait.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let _pending = subject.ask(&fake, &["a"; 8]).await.unwrap();
    let mut sizes: Vec<usize> = fake.batches(4).iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes.iter().sum::<usize>(), 8);
    assert_eq!(sizes, [2, 2, 2, 2]);
}

#[tokio::test]
async fn no_texts_need_no_worker() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    assert!(subject.ask(&fake, &[]).await.unwrap().is_empty());
}

/// The turns of one client are no more than those of another, however many requests it
/// has waiting.
#[tokio::test]
async fn nobody_waits_for_the_many_requests_of_one_client() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let long = "word ".repeat(600);
    let mut flood = Vec::new();
    for _ in 0..40 {
        flood.push(
            subject
                .ask_by(1, &fake, &[long.as_str(); 40])
                .await
                .unwrap(),
        );
    }
    fake.batches(1);
    for (client, begun) in [(2, 1), (3, 3), (2, 5)] {
        let waiting = subject.ask_by(client, &fake, &["short"; 3]).await.unwrap();
        fake.release();
        assert_eq!(fake.batches(begun + 1)[begun], ["short"; 3]);
        // The others go on too.
        fake.release();
        assert_eq!(fake.batches(begun + 2)[begun + 1], [&*long]);
        assert!(answers(waiting).await.iter().all(Result::is_ok));
    }
}

/// Texts of several clients share a batch.
#[tokio::test]
async fn clients_go_together() {
    let (subject, fake) = (Subject::start(OPTIONS), Fake::held());
    let _first = occupy(&subject, &fake).await;
    let _a = subject.ask_by(1, &fake, &["a", "b"]).await.unwrap();
    let _b = subject.ask_by(2, &fake, &["c"]).await.unwrap();
    fake.release();
    assert_eq!(fake.batches(2)[1], ["a", "b", "c"]);
}
