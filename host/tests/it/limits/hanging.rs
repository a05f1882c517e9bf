//! A guest that is trusted, and hangs on some texts.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::hostile_path;
use crate::harness::fixture;
use crate::server_process::ServerProcess;

/// As many texts hang as there are workers, and more. A call may take longer than the test.
#[tokio::test]
async fn texts_that_hang_keep_no_other_waiting() {
    let options = ["--cache-mib", "0"];
    let server = ServerProcess::of_guest(&fixture("tiny-bert"), hostile_path(), &options);
    let server = Arc::new(server);
    let mut hanging = JoinSet::new();
    for order in ["loop: 1", "loop: 2", "sleep: 1", "sleep: 2"] {
        let server = Arc::clone(&server);
        hanging.spawn(async move { server.post(&[format!("do {order}")]).await });
    }
    while server.metric("fastsentiment_busy_workers").await < 2.0 {
        tokio::task::yield_now().await;
    }
    for text in ["one", "two", "three", "four"] {
        let begun = Instant::now();
        let predictions = server.predict(&[text.to_owned()]).await;
        assert_eq!(predictions[0][0]["label"], "GOOD");
        println!("answered in {:?}", begun.elapsed());
    }
    assert!(hanging.try_join_next().is_none(), "none of them has ended");
    let aside = server.metric("fastsentiment_set_aside_texts_total").await;
    assert!(aside >= 1.0, "{aside}");
}
