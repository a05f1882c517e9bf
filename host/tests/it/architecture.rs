//! The walls between the layers: who may name whom.

mod imports;

use std::path::{Path, PathBuf};

use imports::violations;

use crate::harness::repository;

/// The most lines of a source file.
const MAX_LINES: usize = 400;

/// Every Rust file below a directory.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn no_layer_names_what_it_must_not_know() {
    let src = repository().join("host/src");
    let files = sources(&src);
    assert!(
        files.len() > 20,
        "{} files in {}",
        files.len(),
        src.display()
    );
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(&src).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        found.extend(violations(path, &text));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let mut long = Vec::new();
    for dir in ["host/src", "host/tests", "guest"] {
        for file in sources(&repository().join(dir)) {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            if lines > MAX_LINES {
                long.push(format!("{}: {lines} lines", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

/// The check itself: a violation is found in every way that Rust has to name a
/// thing.
#[test]
fn a_planted_violation_is_found() {
    let planted = [
        ("http/routes.rs", "use crate::guest::Pool;"),
        ("http/routes.rs", "fn f() { crate::nn::Model::load() }"),
        ("http/routes.rs", "use super::super::guest;"),
        ("http/routes.rs", "use super::super::{predictor, app::App};"),
        ("http/mod.rs", "use super::guest;"),
        (
            "http/routes.rs",
            "mod tests { use super::super::super::cache; }",
        ),
        ("http.rs", "use super::guest;"),
        ("service.rs", "use crate::{predictor::Score, http};"),
        (
            "service.rs",
            "use crate::{\n    predictor::{Score, Version},\n    guest::{Guest, Pool},\n};",
        ),
        ("service.rs", "use crate::*;"),
        ("service.rs", "use crate as all;"),
        ("service.rs", "use super::{self as all};"),
        ("service.rs", "use crate::{self as all};"),
        (
            "service.rs",
            "macro_rules! m { () => { $crate::guest::load() } }",
        ),
        ("predictor.rs", "use crate::service::Service;"),
        ("cache/redis.rs", "use crate::guest::Guest;"),
        ("batcher.rs", "use crate::cache::Cache;"),
        ("nn/model.rs", "use crate::predictor::Score;"),
        ("nn/model.rs", "type Up = crate :: guest :: Guest;"),
        ("guest/pool.rs", "use crate::service::Service;"),
        ("guest/pool.rs", "use ort::session::Session;"),
        ("guest/pool.rs", "pub(in crate::nn) fn f() {}"),
        ("nn/model.rs", "use hyper::Request;"),
        ("service.rs", "use {ort::Error, std::fmt};"),
        ("service.rs", "fn f() { ::wasmtime::Engine::default(); }"),
        ("app.rs", "use wasmtime::Engine;"),
        ("app.rs", "use wasmtime_wasi_nn::Graph;"),
        ("app.rs", "extern crate anyhow;"),
        ("http/mod.rs", "fn f() -> anyhow::Result<()> { Ok(()) }"),
        ("service.rs", "use http::StatusCode;"),
        ("service.rs", "use redis::Client;"),
        ("http/mod.rs", "use {redis::cmd, std::fmt};"),
        ("app.rs", "fn f() { moka::sync::Cache::new(1) }"),
        ("http/server.rs", "use tokio_rustls::TlsAcceptor;"),
        ("guest/call.rs", "use clap::Parser;"),
        ("cli/mod.rs", "use wasmtime::Engine;"),
        ("main.rs", "use hyper::Request;"),
        ("metrics.rs", "fn a_layer_that_is_not_in_the_table() {}"),
    ];
    for (path, text) in planted {
        assert_ne!(violations(Path::new(path), text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn what_only_looks_like_a_violation_is_none() {
    let allowed = [
        (
            "http/routes.rs",
            "use crate::service::Service; use crate::predictor::{self, Score};",
        ),
        (
            "http/routes.rs",
            "use super::problem; use http::Method; use hyper::Request;",
        ),
        (
            "http/routes.rs",
            "// use crate::guest::Pool;\n/* ort /* nested */ clap */",
        ),
        (
            "http/routes.rs",
            r##"const A: &str = "crate::guest"; const B: &str = r#"ort::"crate::nn"#;"##,
        ),
        (
            "http/routes.rs",
            "const Q: char = '\"'; use crate::service::Limits; const R: u8 = b'\\'';",
        ),
        (
            "http/routes.rs",
            "mod tests { use super::super::problem; use super::*; }",
        ),
        (
            "http/routes.rs",
            "fn f<'a>(guest: &'a str) -> &'a str { guest }",
        ),
        (
            "guest/pool.rs",
            "use super::call::Guest; use super::super::predictor::Score;",
        ),
        (
            "guest/pool.rs",
            "use wasmtime::Store; use crate::guest::artifact;",
        ),
        (
            "nn/mod.rs",
            "use ort::session::Session; use crate::nn::model;",
        ),
        (
            "app.rs",
            "use crate::guest::{self, Guest}; use crate::{nn, http::serve};",
        ),
        (
            "cli/serve.rs",
            "use fastsentiment::http::{self}; fn f() { http::serve(); }",
        ),
        ("cli/serve.rs", "use anyhow::Context; use super::options;"),
        (
            "cli/options.rs",
            "fn f(&self) { let redis = self.redis(); redis }",
        ),
        ("cache/shared/link.rs", "use redis::Client; use moka::sync;"),
        ("lib.rs", "pub mod http; pub mod guest;"),
    ];
    for (path, text) in allowed {
        assert_eq!(violations(Path::new(path), text), [""; 0], "{path}: {text}");
    }
}
