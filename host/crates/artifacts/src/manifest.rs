//! What a manifest says: which files an artifact consists of.
//!
//! This module must not know where manifests come from. They are untrusted: nothing here
//! grows with what they claim, and a name cannot lead out of a directory.

use std::collections::{BTreeMap, HashSet};

use predictor::Digest;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::error::{Fault, quoted};
use crate::reference::parse_digest;

/// The largest manifest that is read, in bytes: what registries should accept at least
/// (OCI distribution specification).
pub(crate) const MOST_MANIFEST: usize = 4 << 20;

/// How many files a model may have.
pub(crate) const MOST_FILES: usize = 256;

/// The longest file name, in bytes.
const MOST_NAME: usize = 255;

/// What the one file of a guest is called.
pub(crate) const GUEST: &str = "guest.wasm";

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The configuration of a Wasm artifact, as the Wasm working group of the CNCF defines it.
pub(crate) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
pub(crate) const WASM_LAYER: &str = "application/wasm";

/// The types that a guest's layer may have: the present one; that of `wasm-to-oci`, and of
/// `oras` and wasmCloud in earlier years; and that of Solo.io's specification, which Istio
/// reads.
const WASM_LAYERS: [&str; 3] = [
    WASM_LAYER,
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];

/// The configuration of an artifact that has none.
pub(crate) const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const MODEL_TYPE: &str = "application/vnd.fastsentiment.model.v1";
pub(crate) const MODEL_LAYER: &str = "application/octet-stream";

/// A layer's file name, as `oras` sets it.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";

/// What `oras` sets on a directory, which it packs.
const UNPACK: &str = "io.deis.oras.content.unpack";

/// The part of a manifest that is written and read here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Descriptor>,
    pub(crate) layers: Vec<Descriptor>,
}

/// A reference of a manifest to a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }
}

/// A file of an artifact: a blob, and the name that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Blob {
    pub(crate) fn of(layer: &Descriptor, name: &str) -> Result<Self, Fault> {
        let digest = parse_digest(&layer.digest);
        Ok(Self {
            name: name.to_owned(),
            digest: digest.map_err(|_| Fault::LayerDigest(quoted(&layer.digest)))?,
            size: layer.size,
        })
    }
}

/// Which artifacts a manifest may describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Guest,
    Model,
}

impl Sort {
    /// The files of an artifact of this sort.
    pub(crate) fn files(self, manifest: &[u8]) -> Result<Vec<Blob>, Fault> {
        let manifest = parse(manifest)?;
        match self {
            Self::Guest => guest(&manifest),
            Self::Model => model(&manifest),
        }
    }
}

/// Parses a manifest.
pub(crate) fn parse(manifest: &[u8]) -> Result<Manifest, Fault> {
    /// What tells an index from a manifest. Something that is both is an attack on whoever
    /// reads the other half.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        media_type: Option<String>,
        manifests: Option<IgnoredAny>,
    }
    let unreadable = |error: serde_json::Error| Fault::Manifest(quoted(&error.to_string()));
    let shape: Shape = serde_json::from_slice(manifest).map_err(unreadable)?;
    let is_index = matches!(shape.media_type.as_deref(), Some(OCI_INDEX | DOCKER_LIST));
    if is_index || shape.manifests.is_some() {
        return Err(Fault::Index);
    }
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(unreadable)?;
    if manifest.schema_version != 2 {
        let version = manifest.schema_version;
        return Err(Fault::Manifest(format!(
            "its schema version is {version}, not 2"
        )));
    }
    Ok(manifest)
}

fn guest(manifest: &Manifest) -> Result<Vec<Blob>, Fault> {
    let [layer] = manifest.layers.as_slice() else {
        return Err(Fault::Layers(manifest.layers.len()));
    };
    if !WASM_LAYERS.contains(&layer.media_type.as_str()) {
        return Err(Fault::MediaType(quoted(&layer.media_type)));
    }
    Ok(vec![Blob::of(layer, GUEST)?])
}

fn model(manifest: &Manifest) -> Result<Vec<Blob>, Fault> {
    let given = manifest.layers.len();
    if !(1..=MOST_FILES).contains(&given) {
        let most = MOST_FILES;
        return Err(Fault::Files { given, most });
    }
    let mut names = HashSet::new();
    let file = |layer: &Descriptor| {
        let name = layer.annotation(TITLE).ok_or(Fault::NoName)?;
        if layer.annotation(UNPACK) == Some("true") {
            return Err(Fault::Packed(quoted(name)));
        }
        if !is_file_name(name) {
            return Err(Fault::Name(quoted(name)));
        }
        // On some file systems, these would be one.
        if !names.insert(name.to_lowercase()) {
            return Err(Fault::Duplicate(quoted(name)));
        }
        Blob::of(layer, name)
    };
    manifest.layers.iter().map(file).collect()
}

/// Whether a name is that of a visible file in a directory, on every system.
pub(crate) fn is_file_name(name: &str) -> bool {
    (1..=MOST_NAME).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(['/', '\\', ':'])
        && quoted_fully(name)
}

/// Whether all characters of a name can be seen.
fn quoted_fully(name: &str) -> bool {
    name.chars()
        .all(|character| quoted(&character.to_string()) == character.to_string())
}

#[cfg(test)]
mod tests;
