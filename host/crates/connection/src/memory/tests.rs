use super::*;

use tokio::time::{sleep, timeout};

const MEMORY: usize = 8 << 20;

fn used(memory: &Memory) -> usize {
    memory.0.used.load(Ordering::Relaxed)
}

/// A request of this size that waits for its client.
fn slow(memory: &Memory, shares: &Arc<Shares>, bytes: usize) -> (Reservation, Waiting) {
    let mut reservation = memory.begin_for(Arc::clone(shares), 0).unwrap();
    reservation.take(bytes).unwrap();
    let waiting = reservation.wait();
    (reservation, waiting)
}

async fn is_evicted(waiting: &Waiting) -> bool {
    timeout(Duration::ZERO, waiting.evicted()).await.is_ok()
}

#[test]
fn memory_is_reserved_and_released() {
    let memory = Memory::new(2 * OVERHEAD + 100);
    let mut first = memory.begin(100).unwrap();
    first.take(60).unwrap();
    let mut second = memory.begin(40).unwrap();
    assert_eq!(second.take(41), Err(NoRoom));
    second.take(40).unwrap();
    assert!(memory.begin(0).is_err());
    drop(first);
    second.take(60).unwrap();
    second.set(OVERHEAD).unwrap();
    second.share().take(100).unwrap();
    assert!(memory.begin(101).is_err());
    drop(memory.begin(0).unwrap());
    drop(second);
    assert_eq!(used(&memory), 0);
}

#[test]
fn an_announcement_reserves_nothing() {
    let memory = Memory::new(2 * OVERHEAD + 100);
    let _first = memory.begin(100).unwrap();
    assert!(memory.begin(100).is_ok());
}

#[tokio::test]
async fn the_slowest_gives_way() {
    let memory = Memory::new(MEMORY);
    let own = || Arc::<Shares>::default();
    let (first, dripping) = slow(&memory, &own(), 2 << 20);
    let (second, steady) = slow(&memory, &own(), 2 << 20);
    let (third, silent) = slow(&memory, &own(), 2 << 20);
    let mut new = memory.begin(0).unwrap();
    // None of them is slow yet.
    assert_eq!(new.take(2 << 20), Err(NoRoom));
    sleep(GRACE).await;
    dripping.received(1);
    steady.received(1 << 20);
    new.take(2 << 20).unwrap();
    assert!(is_evicted(&silent).await);
    assert!(!is_evicted(&dripping).await);
    new.take(2 << 20).unwrap();
    assert!(is_evicted(&dripping).await);
    assert!(!is_evicted(&steady).await);
    new.take(2 << 20).unwrap();
    assert!(is_evicted(&steady).await);
    // Those that gave way are gone from the books, whenever their tasks end.
    assert_eq!(used(&memory), OVERHEAD + (6 << 20));
    drop((first, second, third));
    assert_eq!(used(&memory), OVERHEAD + (6 << 20));
    drop(new);
    assert_eq!(used(&memory), 0);
}

#[tokio::test]
async fn who_does_not_wait_for_a_client_stays() {
    let memory = Memory::new(MEMORY);
    let (working, waiting) = slow(&memory, &Arc::default(), 4 << 20);
    sleep(GRACE * 2).await;
    drop(waiting);
    let mut new = memory.begin(0).unwrap();
    assert_eq!(new.take(4 << 20), Err(NoRoom));
    drop(working);
    new.take(4 << 20).unwrap();
}

#[tokio::test]
async fn a_connection_and_a_peer_have_their_share_and_no_more() {
    let memory = Memory::new(MEMORY);
    let peer = Arc::<AtomicUsize>::default();
    let connections: [_; 4] = std::array::from_fn(|_| Shares::of_connection(Arc::clone(&peer)));
    let (_lasting, lasting) = slow(&memory, &Arc::default(), 1 << 20);
    let mut held = Vec::new();
    for shares in &connections[..3] {
        held.push(slow(&memory, shares, 1 << 20));
        // A quarter is used up by two of them.
        let mut second = memory.begin_for(Arc::clone(shares), 0).unwrap();
        assert_eq!(second.take(1 << 20), Err(NoRoom));
        second.take(SMALL - OVERHEAD).unwrap();
    }
    sleep(GRACE).await;
    // Within a connection the slowest is its own.
    let (_new, _) = slow(&memory, &connections[0], 1 << 20);
    assert!(is_evicted(&held[0].1).await);
    assert!(!is_evicted(&lasting).await);
    // Within a peer it is one of its own.
    let _large = slow(&memory, &connections[3], 3 << 20);
    let evicted = [is_evicted(&held[1].1).await, is_evicted(&held[2].1).await];
    assert!(evicted.contains(&true));
    assert!(!is_evicted(&lasting).await);
}

#[test]
fn small_requests_have_memory_of_their_own() {
    let memory = Memory::new(MEMORY);
    let mut large = memory.begin(0).unwrap();
    large.take(5 << 20).unwrap();
    let mut second = memory.begin(0).unwrap();
    second.take(2 << 20).unwrap_err();
    second.take((2 << 20) - (64 << 10)).unwrap();
    let small: Vec<_> = std::iter::from_fn(|| memory.begin(1000).ok()).collect();
    assert!(small.len() >= MEMORY / 8 / OVERHEAD);
}

#[test]
fn a_request_may_take_everything_if_it_is_alone() {
    let memory = Memory::new(MEMORY);
    let mut reservation = memory.begin(MEMORY - OVERHEAD).unwrap();
    reservation.take(MEMORY - OVERHEAD).unwrap();
}

#[test]
fn peers_are_hosts_and_networks_of_ipv6() {
    for (address, peer) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
    ] {
        assert_eq!(peer_of(address.parse().unwrap()).to_string(), peer);
    }
}
