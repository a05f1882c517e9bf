//! The rollout over a real guest that misbehaves in every way it can.

use std::sync::Arc;

use predictor::ErrorKind;
use rollout::Trust;

use super::fake::{FORGIVING, Fake, Mode, STRICT, Setup, resolve, revision, versions};
use crate::hostile::{hostile, load_text, tight};

async fn guest() -> Arc<sandbox::Guest> {
    // Loading has an executor of its own.
    let load = || load_text(&tight(), &hostile()).unwrap();
    Arc::new(tokio::task::spawn_blocking(load).await.unwrap())
}

#[tokio::test]
async fn whatever_a_guest_does_the_version_before_answers() {
    let good = Fake::new(1, Mode::Good);
    let mut setup = Setup::new(&good, FORGIVING);
    let guest = guest().await;
    let hostile = Arc::clone(guest.revision());
    setup.rollout.activate(guest, Trust::OnProbation);
    let answer = resolve(setup.begin(&["count"]).await).await.remove(0);
    assert_eq!(answer.unwrap().revision, hostile);
    // A loop without end, more memory than there may be, a trap, recursion
    // without end, no number, too many answers, no label, nonsense, errors.
    let texts = [
        "loop", "memory", "trap", "stack", "nan", "wrong", "empty", "out", "jump", "1",
    ];
    for text in texts {
        let answers = resolve(setup.begin(&[text]).await).await;
        assert_eq!(versions(&[text], answers), [1]);
    }
    assert!(setup.rollout.tally(&hostile).failures >= texts.len() as u64);
    let error = resolve(setup.begin(&["invalid"]).await).await.remove(0);
    let kind = error.unwrap_err().kind;
    assert!(matches!(kind, ErrorKind::InvalidText { .. }), "{kind:?}");
    assert!(setup.stands());
}

#[tokio::test]
async fn a_guest_that_traps_falls() {
    let good = Fake::new(1, Mode::Good);
    let mut setup = Setup::new(&good, STRICT);
    let guest = guest().await;
    let hostile = Arc::clone(guest.revision());
    setup.rollout.activate(guest, Trust::OnProbation);
    for number in 0..4 {
        let text = format!("trap {number}");
        let answers = resolve(setup.begin(&[&text]).await).await;
        assert_eq!(versions(&[&text], answers), [1]);
    }
    let fall = setup.fall().await;
    assert_eq!((&fall.revision, &*fall.live), (&hostile, &revision(1)));
    assert!(fall.reason.contains("unreachable"), "{}", fall.reason);
}
