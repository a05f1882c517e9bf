//! What the rollout tells of the versions.

use rollout::{Share, Tally, TrialKind, Trust};

use super::fake::{Fake, Mode, STRICT, Setup, revision};
use crate::cache::fake::metric;

const OLD: (&str, &str) = ("guest", "010101010101");
const NEW: (&str, &str) = ("guest", "020202020202");

/// How many series have a label of this value.
fn series(setup: &Setup, (label, value): (&str, &str)) -> usize {
    let families = setup.registry.gather();
    let metrics = families
        .iter()
        .flat_map(prometheus::proto::MetricFamily::get_metric);
    let has = |metric: &&prometheus::proto::Metric| {
        let mut pairs = metric.get_label().iter();
        pairs.any(|pair| pair.name() == label && pair.value() == value)
    };
    metrics.filter(has).count()
}

#[tokio::test]
async fn versions_are_counted_until_they_are_forgotten() {
    let (old, new) = (Fake::new(1, Mode::Good), Fake::new(2, Mode::Good));
    let mut setup = Setup::new(&old, STRICT);
    let count = |setup: &Setup, name: &str, labels: &[(&str, &str)]| {
        let name = format!("fastsentiment_{name}");
        metric(&setup.registry, &name, labels)
    };
    let model = ("model", "000000000000");
    assert_eq!(count(&setup, "live_version_info", &[OLD, model]), 1);
    assert_eq!(setup.rollout.tally(&revision(2)), Tally::default());
    assert_eq!(series(&setup, NEW), 0, "to look makes no series");

    setup.ask(&["a", "b", "c"]).await;
    setup
        .rollout
        .begin_trial(new.clone(), TrialKind::Canary, Share::ALL);
    let trial = [NEW, ("trial", "canary")];
    assert_eq!(count(&setup, "trial_share_ratio", &trial), 1);
    setup.ask(&["a"]).await;
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    assert_eq!(count(&setup, "trial_share_ratio", &[]), 0);
    assert_eq!(count(&setup, "live_version_info", &[NEW, model]), 1);
    assert_eq!(
        series(&setup, OLD),
        series(&setup, NEW) - 1,
        "it is live no more"
    );
    new.turn(Mode::Fail);
    for number in 0..4 {
        setup.ask(&[&format!("text {number}")]).await;
    }
    setup.fall().await;
    assert_eq!(count(&setup, "version_texts_total", &[OLD]), 7);
    assert_eq!(count(&setup, "version_texts_total", &[NEW]), 1);
    assert_eq!(count(&setup, "version_failures_total", &[OLD]), 0);
    assert_eq!(count(&setup, "version_failures_total", &[NEW]), 4);
    assert_eq!(count(&setup, "version_rescued_texts_total", &[NEW]), 4);
    assert_eq!(count(&setup, "version_falls_total", &[]), 1);
    assert_eq!(count(&setup, "live_version_info", &[OLD, model]), 1);
    assert_eq!(count(&setup, "live_version_info", &[]), 1);
    let tally = setup.rollout.tally(&revision(2));
    assert_eq!(
        tally,
        Tally {
            texts: 1,
            failures: 4
        }
    );

    setup.rollout.forget(&revision(2));
    assert_eq!(series(&setup, NEW), 0);
    assert_eq!(setup.rollout.tally(&revision(2)), Tally::default());
    assert_eq!(setup.rollout.tally(&revision(1)).texts, 7);
    setup.rollout.forget(&revision(2));
    // Known again, it begins anew.
    new.turn(Mode::Good);
    setup.rollout.activate(new.clone(), Trust::OnProbation);
    setup.ask(&["d"]).await;
    assert_eq!(count(&setup, "version_texts_total", &[NEW]), 1);
}
