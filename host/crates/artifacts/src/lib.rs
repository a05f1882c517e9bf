//! Guests and models as artifacts in OCI registries, and signatures.
//!
//! A [`Registry`] resolves a [`Reference`] (`oci://registry/repository[:tag][@sha256:...]`)
//! to a [`PinnedReference`], pulls what it names, and pushes. A [`Trust`] holds the public
//! keys that an artifact, or a file, must be signed by.
//!
//! # Artifacts
//!
//! A **guest** is a Wasm artifact as the CNCF's Wasm working group defines it: a manifest
//! with one layer of type `application/wasm`. `wkg oci push`, `oras push` and
//! [`Registry::push_guest`] make them. The layer may also have the older types
//! `application/vnd.wasm.content.layer.v1+wasm` (`wasm-to-oci`, early wasmCloud) and
//! `application/vnd.module.wasm.content.layer.v1+wasm` (Istio). The configuration, which
//! differs between tools, is not read.
//!
//! A **model** is a manifest with one layer for each file of its directory, named by the
//! annotation `org.opencontainers.image.title`, as `oras push` makes it. One layer for each
//! file and not a tar, because then nothing has to be unpacked: there are no links, modes or
//! paths to be checked, a file is on disk as the registry has it, its digest can be checked
//! there, and models that share files share them in the registry. A model directory is flat.
//!
//! An index of several manifests is refused.
//!
//! # Bounds
//!
//! A registry, and everything between it and here, is untrusted. A manifest has at most
//! 4 MiB and a model 256 files; the caller limits the size of an artifact, which is checked
//! before anything is downloaded, and while it is. Connections, silence and whole calls are
//! limited in time, redirects, retries and waits in number and length. Bytes count once
//! their SHA-256 is right, and what is kept on disk is read and checked again before it is
//! used. Failures are [`Kind::Passing`] or [`Kind::Final`].
//!
//! # Signatures
//!
//! Of an artifact: cosign's, which are artifacts of their own beside it (tag
//! `sha256-<digest>.sig`, or Sigstore bundles that refer to it). They are checked before the
//! artifact's manifest is fetched. Of a file: the detached signature `<file>.sig` that
//! `cosign sign-blob` writes. As with cosign
//! and a key, a signature says nothing about the name or the age of an artifact: whoever
//! can write to a registry can offer anything that a trusted key has ever signed. References
//! with digests prevent that.
//!
//! # Why not `oci-client`
//!
//! It verifies digests in streams and knows `Range`. But it reads manifests, errors and
//! tokens whole, however long they are, retries nothing, and leaves redirects to `reqwest`;
//! its TLS is a feature of `reqwest`, which with it panics in every client of the process
//! that has not chosen a provider first. `oci-wasm` needs another version of it, and
//! `oci-spec` builds some 15 crates for the five fields that are read here.
//!
//! The `sigstore` crate would verify the same signatures with a second TLS library and a
//! client for certificate authorities and transparency logs. Here `rustls-webpki` does, which
//! verifies the signatures of TLS connections.
//!
//! This crate must not know what guests and models mean, or which revision is live.

mod client;
mod credentials;
mod download;
mod error;
mod manifest;
mod options;
mod push;
mod reference;
mod registry;
mod signatures;
mod small_file;
mod statement;
mod store;
mod trust;

pub use error::{ArtifactError, Fault, Kind};
pub use options::{Options, Proxies, Retries, Times};
pub use reference::{PinnedReference, Reference, ReferenceError, SCHEME};
pub use registry::{Guest, Model, Registry};
pub use trust::{SignedBy, Trust, TrustError};
