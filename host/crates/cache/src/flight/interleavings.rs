//! Every order in which two or three callers of one text can take their steps.
//!
//! A step is a poll of a caller that was woken, its departure, or a decision of the layer
//! below: to accept or refuse the work, and to answer it. All locks are held within one
//! poll and never across two, so these are the orders that matter. Each order is a replay
//! from the start, and all of them are tried. (`loom` would do the same for threads, but
//! cannot see into the locks of `tokio` and `futures`.)

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use predictor::{Digest, ErrorKind, Revision, Source};

const KEY: Key = Digest([1; 32]);
/// The most callers.
const CALLERS: usize = 3;

/// Chooses among the possible steps: first as the last replay did, and at the end of that
/// differently.
#[derive(Default)]
struct Choices {
    /// The choice and the number of options, at each point.
    made: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    fn choose(&mut self, options: usize) -> usize {
        if self.at == self.made.len() {
            self.made.push((0, options));
        }
        let (choice, known) = self.made[self.at];
        assert_eq!(known, options, "a replay must be the same");
        self.at += 1;
        choice
    }

    /// Goes on to the next order; false once there is none.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((choice, options)) = self.made.pop() {
            if choice + 1 < options {
                self.made.push((choice + 1, options));
                return true;
            }
        }
        false
    }
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A decision that somebody waits for.
#[derive(Default)]
struct Gate<T> {
    decided: Option<T>,
    waiting: Option<Waker>,
}

/// What the layer below does for the callers that lead.
#[derive(Default)]
struct Below {
    /// Whether it takes the work of a caller on.
    accepts: [Gate<bool>; CALLERS],
    answers: [Gate<()>; CALLERS],
    computing: usize,
}

async fn pass<T: Copy>(gate: impl Fn(&mut Below) -> &mut Gate<T>, below: &Mutex<Below>) -> T {
    std::future::poll_fn(|context| {
        let mut below = below.lock().unwrap();
        let gate = gate(&mut below);
        match gate.decided {
            Some(decided) => Poll::Ready(decided),
            None => {
                gate.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// Counts a computation for as long as it lives.
struct Computing {
    below: Arc<Mutex<Below>>,
    number: usize,
}

impl Computing {
    fn begin(below: &Arc<Mutex<Below>>, number: usize) -> Self {
        let mut state = below.lock().unwrap();
        state.computing += 1;
        assert_eq!(state.computing, 1, "a text is computed twice at a time");
        drop(state);
        let below = Arc::clone(below);
        Self { below, number }
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        let mut below = self.below.lock().unwrap();
        below.computing -= 1;
        below.answers[self.number].waiting = None;
    }
}

fn answer() -> Answer {
    Answer {
        scores: [].into(),
        revision: Arc::new(Revision::new(KEY, KEY, Revision::NO_CONFIGURATION)),
        source: Source::Computed,
        work: None,
    }
}

/// What the cache does for one text.
async fn ask(number: usize, flights: Arc<Flights>, below: Arc<Mutex<Below>>) -> Landing {
    let (mut parts, reservation) = flights.claim(&[KEY], |_| None).await;
    match parts.remove(0) {
        Part::Found(_) => panic!("nothing is cached"),
        Part::Join(flight) => flight.await,
        Part::Lead => {
            let accepted = pass(|below| &mut below.accepts[number], &below).await;
            if !accepted {
                return Err(PredictError::new(
                    ErrorKind::Unavailable,
                    number.to_string(),
                ));
            }
            let computing = Computing::begin(&below, number);
            let future = async move {
                let below = Arc::clone(&computing.below);
                pass(|below| &mut below.answers[number], &below).await;
                drop(computing);
                Ok(answer())
            };
            let mut flights = reservation.launch(vec![future.boxed()]);
            flights.remove(0).await
        }
    }
}

/// A caller until it has its answer or leaves.
struct Caller {
    future: Pin<Box<dyn Future<Output = Landing>>>,
    woken: Arc<Flag>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Poll(usize),
    Leave(usize),
    Accept(usize, bool),
    Answer(usize),
}

/// How many callers there are, how many of them leave and how many are refused, at most.
#[derive(Clone, Copy)]
struct Scene {
    callers: usize,
    leave: usize,
    refused: usize,
}

/// Plays one order to its end.
fn play(scene: Scene, choices: &mut Choices) {
    let flights = Arc::<Flights>::default();
    let below = Arc::<Mutex<Below>>::default();
    let mut callers: [Option<Caller>; CALLERS] = std::array::from_fn(|number| {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let future = ask(number, Arc::clone(&flights), Arc::clone(&below)).boxed();
        (number < scene.callers).then_some(Caller { future, woken })
    });
    let Scene {
        mut leave,
        mut refused,
        ..
    } = scene;
    while callers.iter().any(Option::is_some) {
        let mut steps = Vec::new();
        for (number, caller) in callers.iter().enumerate() {
            let Some(caller) = caller else { continue };
            if caller.woken.0.load(Ordering::SeqCst) {
                steps.push(Step::Poll(number));
            }
            if leave > 0 {
                steps.push(Step::Leave(number));
            }
        }
        {
            let state = below.lock().unwrap();
            for (number, caller) in callers.iter().enumerate() {
                if state.accepts[number].waiting.is_some() && caller.is_some() {
                    steps.push(Step::Accept(number, true));
                    if refused > 0 {
                        steps.push(Step::Accept(number, false));
                    }
                }
                if state.answers[number].waiting.is_some() {
                    steps.push(Step::Answer(number));
                }
            }
        }
        let is_leave = |step: &Step| matches!(step, Step::Leave(_));
        assert!(!steps.iter().all(is_leave), "a caller waits for ever");
        let step = steps[choices.choose(steps.len())];
        match step {
            Step::Leave(number) => {
                leave -= 1;
                callers[number] = None;
            }
            Step::Accept(number, accepted) => {
                refused -= usize::from(!accepted);
                let mut below = below.lock().unwrap();
                let gate = &mut below.accepts[number];
                gate.decided = Some(accepted);
                gate.waiting.take().unwrap().wake();
            }
            Step::Answer(number) => {
                let mut below = below.lock().unwrap();
                let gate = &mut below.answers[number];
                gate.decided = Some(());
                gate.waiting.take().unwrap().wake();
            }
            Step::Poll(number) => {
                let caller = callers[number].as_mut().unwrap();
                caller.woken.0.store(false, Ordering::SeqCst);
                let waker = Waker::from(Arc::clone(&caller.woken));
                let polled = caller
                    .future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker));
                if let Poll::Ready(landing) = polled {
                    if let Err(error) = landing {
                        assert_eq!(error.message, number.to_string(), "another's refusal");
                    }
                    callers[number] = None;
                }
            }
        }
    }
    assert!(
        flights.lock().by_key.is_empty(),
        "an entry outlives its callers"
    );
    assert_eq!(
        below.lock().unwrap().computing,
        0,
        "work outlives its callers"
    );
}

/// Plays every order. Returns how many there are.
fn play_all(scene: Scene) -> u64 {
    let mut choices = Choices::default();
    let mut orders = 0;
    loop {
        play(scene, &mut choices);
        orders += 1;
        if !choices.advance() {
            return orders;
        }
    }
}

#[test]
fn no_order_of_steps_computes_twice_or_leaves_anybody_waiting() {
    let scene = |callers, leave, refused| Scene {
        callers,
        leave,
        refused,
    };
    let orders = play_all(scene(2, 2, 2)) + play_all(scene(3, 2, 1));
    assert!(orders > 50_000, "{orders}");
}
