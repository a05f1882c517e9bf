use super::*;
use predictor::{Digest, ErrorKind};

const KEYS: [Key; 2] = [Digest([1; 32]), Digest([2; 32])];

fn entries(flights: &Flights) -> usize {
    flights.lock().by_key.len()
}

/// Reserves both keys, of which nobody else has any.
fn reserve(flights: &Arc<Flights>) -> Reservation {
    let claim = flights.claim(&KEYS, |_| None).now_or_never();
    let (parts, reservation) = claim.expect("nobody has reserved them");
    assert!(parts.iter().all(|part| matches!(part, Part::Lead)));
    reservation
}

fn failing() -> BoxFuture<Landing> {
    std::future::ready(Err(PredictError::new(ErrorKind::Failed, "as told"))).boxed()
}

#[test]
fn no_entry_outlives_what_it_stands_for() {
    let flights = Arc::<Flights>::default();
    drop(reserve(&flights));
    assert_eq!(entries(&flights), 0, "given up before it was taken on");

    let never = || std::future::pending().boxed();
    let launched = reserve(&flights).launch(vec![never(), never()]);
    assert_eq!(entries(&flights), 2);
    let follower = launched[1].clone();
    drop(launched);
    assert_eq!(entries(&flights), 1, "one has a follower");
    drop(follower);
    assert_eq!(entries(&flights), 0, "nobody waits");

    let launched = reserve(&flights).launch(vec![failing(), failing()]);
    for flight in &launched {
        assert!(flight.clone().now_or_never().unwrap().is_err());
    }
    assert_eq!(entries(&flights), 0, "they have landed, and are still held");

    // Fewer were taken on than were asked for.
    let launched = reserve(&flights).launch(vec![never()]);
    assert_eq!(entries(&flights), 1);
    drop(launched);
    assert_eq!(entries(&flights), 0);
}

#[test]
fn what_was_computed_meanwhile_is_found() {
    let flights = Arc::<Flights>::default();
    let scores: Scores = [].into();
    let find = |key: &Key| (*key == KEYS[0]).then(|| Arc::clone(&scores));
    let claim = flights.claim(&KEYS, find).now_or_never();
    let (parts, _reservation) = claim.unwrap();
    assert!(matches!(parts[..], [Part::Found(_), Part::Lead]));
    assert_eq!(entries(&flights), 1);
}
