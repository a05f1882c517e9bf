//! Times and shares in documents.

use super::*;

#[test]
fn every_time_can_be_written() {
    let long = Duration::from_secs(1 << 40);
    for (moment, written) in [
        (UNIX_EPOCH, "1970-01-01T00:00:00Z"),
        (
            UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            "2027-01-15T08:00:00Z",
        ),
        (UNIX_EPOCH - Duration::from_secs(1), "1970-01-01T00:00:00Z"),
        (UNIX_EPOCH + long, "9999-12-31T23:59:59Z"),
    ] {
        assert_eq!(time(moment), written);
    }
}

#[test]
fn nothing_compared_is_no_agreement() {
    let compared = |texts, agreed| {
        Comparison::from(rollout::Comparison {
            texts,
            agreed,
            ..rollout::Comparison::default()
        })
    };
    assert_eq!(compared(0, 0).agreement, None);
    assert_eq!(compared(4, 3).agreement, Some(0.75));
}
