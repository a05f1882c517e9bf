//! An answer does not depend on who else was asking: the default model's
//! scores of a text are the same, to the last bit, in whatever company.

use futures_util::future::join_all;
use serde_json::Value;

use crate::harness::default_model;
use crate::server_process::ServerProcess;

/// Texts of 2 to 512 tokens, of all sorts.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        "a",
        "Loved it.",
        "It is not the worst phone I have owned, but nearly.",
        "\u{5f88}\u{597d}\u{ff01} tr\u{e8}s bien \u{1f600}",
        "!!!! ???? ....",
        "The soup was cold, the bread was stale and the bill was high.",
        "Every page of this book made me want to read the next.",
    ]
    .map(str::to_owned)
    .into();
    for words in [5, 17, 64, 100, 200, 333, 509, 510, 511, 5000] {
        texts.push("terrible ".repeat(words));
        texts.push("a wonderful day ".repeat(words / 3));
    }
    texts
}

#[tokio::test]
async fn scores_are_the_same_in_any_company() {
    let server = ServerProcess::start(&default_model());
    let texts = texts();
    let mut alone: Vec<Value> = Vec::new();
    for text in &texts {
        alone.extend(server.predict(std::slice::from_ref(text)).await);
    }
    assert_eq!(alone.len(), texts.len());
    // Not all the same anyway.
    assert!(alone.iter().any(|scores| *scores != alone[0]));

    // Together, in orders that give every text other neighbours.
    for step in [1, 5, 11, 27] {
        let order: Vec<usize> = (0..texts.len()).map(|at| at * step % texts.len()).collect();
        assert_company(&server, &texts, &alone, &order).await;
        let turned: Vec<usize> = order.into_iter().rev().collect();
        assert_company(&server, &texts, &alone, &turned).await;
    }
    // Beside itself.
    for at in [2, 9, texts.len() - 1] {
        assert_company(&server, &texts, &alone, &[at; 20]).await;
    }
    // Beside other requests.
    let requests = (0..texts.len()).map(|at| server.predict(std::slice::from_ref(&texts[at])));
    let answers: Vec<Value> = join_all(requests).await.concat();
    assert_eq!(answers, alone);
}

/// Asks for the texts of some places in one request.
async fn assert_company(
    server: &ServerProcess,
    texts: &[String],
    alone: &[Value],
    order: &[usize],
) {
    let asked: Vec<String> = order.iter().map(|at| texts[*at].clone()).collect();
    let found = server.predict(&asked).await;
    assert_eq!(found.len(), order.len());
    for (at, found) in order.iter().zip(&found) {
        let start: String = texts[*at].chars().take(40).collect();
        assert_eq!(*found, alone[*at], "{start:?} among {order:?}");
    }
}
