//! Pulling, pushing and signatures against a real registry, and against servers that break
//! and lie in every way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod bundles;
mod faults;
mod faulty;
mod hostile;
mod logins;
mod pulls;
mod server;
mod signatures;
mod signer;
mod tools;

use std::path::Path;
use std::time::Duration;

use fastsentiment_artifacts::{Options, PinnedReference, Proxies, Reference, Registry};
use tempfile::TempDir;
use testing::PATIENCE;

use server::Server;

/// The largest artifact that tests accept, in bytes.
const MOST: u64 = 64 << 20;

/// Options under which faults are noticed soon.
fn options(store: &Path, plain_http: &[&str]) -> Options {
    let mut options = Options::new(store.join("store"));
    options.plain_http = plain_http.iter().map(|&host| host.to_owned()).collect();
    options.proxies = Proxies::Explicit {
        proxy: String::new(),
        except: String::new(),
    };
    options.times.idle = Duration::from_secs(20);
    options.times.total = PATIENCE;
    options.retries.times = 3;
    options.retries.first = Duration::from_millis(1);
    options.retries.longest = Duration::from_millis(50);
    options
}

/// A client with a directory of its own, for hosts over plain HTTP.
fn client(plain_http: &[&str]) -> (TempDir, Registry) {
    let dir = TempDir::new().unwrap();
    let registry = Registry::new(options(dir.path(), plain_http)).unwrap();
    (dir, registry)
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// The same artifact, as another address offers it.
fn at(address: &str, pinned: &PinnedReference) -> PinnedReference {
    let text = pinned.to_string();
    let (_, rest) = text["oci://".len()..].split_once('/').unwrap();
    format!("oci://{address}/{rest}").parse().unwrap()
}

/// A component that holds some bytes, which do not compress.
fn component(size: usize) -> Vec<u8> {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    // A custom section with the name `x`: its length in LEB128.
    component.push(0);
    let mut left = size + 2;
    while left >= 128 {
        component.push(u8::try_from(left % 128).unwrap() | 128);
        left /= 128;
    }
    component.push(u8::try_from(left).unwrap());
    component.extend(b"\x01x");
    let mut state = 1_u32;
    component.extend((0..size).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    }));
    component
}

/// Pushes a guest to a registry over plain HTTP.
async fn push_guest(server: &Server, name: &str, component: &[u8]) -> PinnedReference {
    let (dir, registry) = client(&[&server.address]);
    let path = dir.path().join("guest.wasm");
    std::fs::write(&path, component).unwrap();
    let target = reference(&format!("oci://{}/{name}", server.address));
    registry.push_guest(&target, &path).await.unwrap()
}

/// Pushes a model to a registry over plain HTTP.
async fn push_model(server: &Server, name: &str, files: &[(&str, &[u8])]) -> PinnedReference {
    let (dir, registry) = client(&[&server.address]);
    let model = dir.path().join("model");
    write_files(&model, files);
    let target = reference(&format!("oci://{}/{name}", server.address));
    registry.push_model(&target, &model).await.unwrap()
}

fn write_files(dir: &Path, files: &[(&str, &[u8])]) {
    std::fs::create_dir(dir).unwrap();
    for (name, contents) in files {
        std::fs::write(dir.join(name), contents).unwrap();
    }
}
