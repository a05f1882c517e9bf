//! Many requests at once, while versions change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rollout::{Share, TrialKind, Trust};

use super::fake::{
    FORGIVING, Fake, Mode, STRICT, Setup, begin, numbered, refs, resolve, revision, versions,
};
use crate::cache::fake::until;
use crate::harness::PATIENCE;

/// Asks for texts that nobody else asks for, again and again, until it is told to
/// stop; every text must be answered, by the version that its answer names.
fn client(
    setup: &Setup,
    number: usize,
    stop: &Arc<AtomicBool>,
    answered: &Arc<AtomicUsize>,
) -> tokio::task::JoinHandle<()> {
    let rollout = Arc::clone(&setup.rollout);
    let (stop, answered) = (Arc::clone(stop), Arc::clone(answered));
    tokio::spawn(async move {
        let mut round = 0;
        while !stop.load(Ordering::SeqCst) {
            round += 1;
            let texts: Vec<String> = numbered(1 + number % 9)
                .into_iter()
                .map(|text| format!("{text} of {number} in {round}"))
                .collect();
            let texts = refs(&texts);
            let pending = begin(&rollout, &texts).await;
            versions(&texts, resolve(pending).await);
            answered.fetch_add(texts.len(), Ordering::SeqCst);
        }
    })
}

struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Clients {
    fn start(setup: &Setup) -> Self {
        let (stop, answered) = (Arc::default(), Arc::default());
        let clients = (0..64).map(|number| client(setup, number, &stop, &answered));
        Self {
            tasks: clients.collect(),
            stop,
            answered,
        }
    }

    /// Lets some hundred more texts be answered.
    async fn go_on(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        let answered = || self.answered.load(Ordering::SeqCst) > before + 300;
        until("clients are answered", answered).await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.tasks {
            tokio::time::timeout(PATIENCE, client)
                .await
                .unwrap()
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_fails_when_versions_fall() {
    let good = Fake::new(1, Mode::Good);
    let mut setup = Setup::new(&good, STRICT);
    let clients = Clients::start(&setup);
    for (round, mode) in (2..).zip([Mode::Fail, Mode::TimeOut, Mode::Panic, Mode::Forget]) {
        clients.go_on().await;
        let bad = Fake::new(round, Mode::Good);
        setup.rollout.activate(bad.clone(), Trust::OnProbation);
        clients.go_on().await;
        assert!(setup.stands());
        bad.turn(mode);
        // Ten good calls are needed to make up for a failure: soon there are too
        // many.
        let fall = setup.fall().await;
        assert_eq!(
            (&*fall.revision, &*fall.live),
            (&revision(round), &revision(1))
        );
        assert_eq!(setup.live(), 1);
    }
    clients.go_on().await;
    clients.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_fails_when_versions_change_all_the_time() {
    let fakes = [1, 2, 3].map(|number| Fake::new(number, Mode::Good));
    let mut setup = Setup::new(&fakes[0], FORGIVING);
    let clients = Clients::start(&setup);
    for round in 0..200 {
        let fake = fakes[round % 3].clone();
        match round % 5 {
            0 | 2 => setup.rollout.activate(fake, Trust::OnProbation),
            1 => setup.rollout.activate(fake, Trust::Trusted),
            3 => {
                let trial = [TrialKind::Canary, TrialKind::Shadow][round % 2];
                let share = Share::new(0.5).unwrap();
                setup.rollout.begin_trial(fake, trial, share);
            }
            _ => {
                setup.rollout.end_trial();
            }
        }
        if round % 20 == 0 {
            clients.go_on().await;
        }
    }
    clients.stop().await;
    assert!(setup.stands());
}

/// Whoever makes a version live just as the one before it falls has the last word.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fall_takes_nothing_from_another_version() {
    let (good, best) = (Fake::new(1, Mode::Good), Fake::new(9, Mode::Good));
    let mut setup = Setup::new(&good, STRICT);
    let clients = Clients::start(&setup);
    for round in 0..100 {
        let bad = Fake::new(2 + round % 5, Mode::Fail);
        setup.rollout.activate(bad, Trust::OnProbation);
        if round % 3 == 0 {
            setup.fall().await;
            assert_eq!(setup.live(), 1);
        }
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let trust = [
            Trust::OnProbation,
            Trust::Trusted,
            Trust::Trusted,
            Trust::Trusted,
        ];
        setup
            .rollout
            .activate(best.clone(), trust[round as usize % 4]);
        assert_eq!(setup.live(), 9, "nothing but a fall of its own ends it");
        setup.rollout.activate(good.clone(), Trust::Trusted);
        assert_eq!(setup.live(), 1);
        while setup.demotions.try_recv().is_ok() {}
    }
    clients.stop().await;
    assert_eq!(setup.live(), 1);
}
