//! Pushing guests and models, for those who have no other tool at hand.
//!
//! What is pushed depends on the files alone: equal files get an equal digest, whoever
//! pushes them and when.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use predictor::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use crate::client::{Access, Body, Call, Client, location};
use crate::download::CONTENT_DIGEST;
use crate::error::ArtifactError;
use crate::manifest::{
    Descriptor, EMPTY_CONFIG, MODEL_LAYER, MODEL_TYPE, MOST_FILES, Manifest, OCI_MANIFEST, TITLE,
    WASM_CONFIG, WASM_LAYER, is_file_name,
};
use crate::reference::{PinnedReference, Place, Reference, ReferenceError, parse_digest};
use crate::registry::Registry;

/// When an artifact was made, as far as its configuration says: always the same, so that
/// equal guests are equal artifacts.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// A blob that is to be in a registry.
struct Upload {
    descriptor: Descriptor,
    digest: Digest,
    body: Body,
}

impl Registry {
    /// Pushes a guest, as a Wasm artifact that `wkg`, `oras` and others read as well.
    ///
    /// # Errors
    ///
    /// If the file is not a component, or the registry does not take it.
    pub async fn push_guest(
        &self,
        reference: &Reference,
        file: &Path,
    ) -> Result<PinnedReference, ArtifactError> {
        let path = file.to_owned();
        let (config, layer) = blocking(file, move || guest(&path)).await?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: Some(config.descriptor.clone()),
            layers: vec![layer.descriptor.clone()],
        };
        self.push(reference, &manifest, &[config, layer]).await
    }

    /// Pushes the files of a model directory, one layer for each. Hidden files and
    /// subdirectories are left out, as in loading.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the registry does not take it.
    pub async fn push_model(
        &self,
        reference: &Reference,
        dir: &Path,
    ) -> Result<PinnedReference, ArtifactError> {
        let path = dir.to_owned();
        let layers = blocking(dir, move || model(&path)).await?;
        let config = of_bytes(EMPTY_CONFIG, b"{}".to_vec());
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            artifact_type: Some(MODEL_TYPE.to_owned()),
            config: Some(config.descriptor.clone()),
            layers: layers
                .iter()
                .map(|layer| layer.descriptor.clone())
                .collect(),
        };
        let mut blobs = vec![config];
        blobs.extend(layers);
        self.push(reference, &manifest, &blobs).await
    }

    async fn push(
        &self,
        reference: &Reference,
        manifest: &Manifest,
        blobs: &[Upload],
    ) -> Result<PinnedReference, ArtifactError> {
        if reference.digest().is_some() {
            return Err(ReferenceError::Pinned(reference.to_string()).into());
        }
        let client = &self.client;
        let place = reference.place();
        let manifest = serde_json::to_vec(manifest).map_err(|error| ArtifactError::Push {
            path: PathBuf::new(),
            reason: error.to_string(),
        })?;
        let digest = Digest::of(&manifest);
        let manifest = Bytes::from(manifest);
        let pushed = async {
            for blob in blobs {
                client.retry(|| client.push_blob(place, blob)).await?;
            }
            let tag = reference.tag();
            let push = || client.push_manifest(place, tag, &manifest, &digest);
            client.retry(push).await
        };
        self.limited(reference, pushed).await?;
        Ok(reference.pin(digest))
    }
}

impl Client {
    /// Uploads a blob in one piece, if the registry does not have it.
    async fn push_blob(&self, place: &Place, blob: &Upload) -> Result<(), ArtifactError> {
        let digest = format!("sha256:{}", blob.digest);
        let url = self.url(place, &format!("blobs/{digest}"))?;
        let known = self
            .send(&Call::new(Method::HEAD, url, place, Access::Push))
            .await?;
        if known.status() == StatusCode::OK {
            return Ok(());
        }
        if known.status() != StatusCode::NOT_FOUND {
            known.success(&digest).await?;
        }
        let url = self.url(place, "blobs/uploads/")?;
        let call = Call::new(Method::POST, url.clone(), place, Access::Push);
        let begun = self.send(&call).await?.success(&place.to_string()).await?;
        let mut target = location(&begun, &url)?;
        target.query_pairs_mut().append_pair("digest", &digest);
        let mut call = Call::new(Method::PUT, target, place, Access::Push);
        let kind = HeaderValue::from_static("application/octet-stream");
        call.headers.insert(CONTENT_TYPE, kind);
        call.body = blob.body.clone();
        self.send(&call).await?.success(&digest).await?;
        Ok(())
    }

    async fn push_manifest(
        &self,
        place: &Place,
        tag: &str,
        manifest: &Bytes,
        digest: &Digest,
    ) -> Result<(), ArtifactError> {
        let url = self.url(place, &format!("manifests/{tag}"))?;
        let mut call = Call::new(Method::PUT, url, place, Access::Push);
        call.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(OCI_MANIFEST));
        call.body = Body::Bytes(manifest.clone());
        let answer = self.send(&call).await?.success(&place.to_string()).await?;
        let said = answer.header(CONTENT_DIGEST).map(parse_digest);
        match said {
            Some(Ok(actual)) if actual != *digest => Err(ArtifactError::Digest {
                what: format!("the manifest that {} has stored", answer.host()),
                expected: *digest,
                actual,
            }),
            _ => Ok(()),
        }
    }
}

/// The configuration and the layer of a guest.
fn guest(path: &Path) -> io::Result<(Upload, Upload)> {
    let component = std::fs::read(path)?;
    let (imports, exports) = interface(&component).map_err(io::Error::other)?;
    let layer = of_bytes(WASM_LAYER, component);
    let config = json!({
        "created": CREATED,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer.descriptor.digest],
        "component": {"imports": imports, "exports": exports},
    });
    Ok((of_bytes(WASM_CONFIG, serde_json::to_vec(&config)?), layer))
}

/// The names of what a component imports and exports.
fn interface(component: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    if !Parser::is_component(component) {
        return Err("it is not a WebAssembly component".to_owned());
    }
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| error.to_string())? {
            Payload::Version { encoding, .. } => {
                depth += 1;
                if depth == 1 && encoding != Encoding::Component {
                    return Err("it is not a WebAssembly component".to_owned());
                }
            }
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import.map_err(|error| error.to_string())?;
                    imports.push(import.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.map_err(|error| error.to_string())?;
                    exports.push(export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// The layers of a model, in the order of their names.
fn model(dir: &Path) -> io::Result<Vec<Upload>> {
    let mut layers = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let path = dir.join(&name);
        if name.as_encoded_bytes().starts_with(b".") || !path.metadata()?.is_file() {
            continue;
        }
        let name = name.to_str().filter(|name| is_file_name(name));
        let name = name.ok_or_else(|| {
            let name = path.display();
            io::Error::other(format!("{name} has a name that not every system allows"))
        })?;
        layers.insert(name.to_owned(), of_file(&path, name)?);
    }
    if !(1..=MOST_FILES).contains(&layers.len()) {
        let given = layers.len();
        return Err(io::Error::other(format!(
            "it has {given} files, and a model has 1 to {MOST_FILES}"
        )));
    }
    Ok(layers.into_values().collect())
}

fn of_bytes(media_type: &str, bytes: Vec<u8>) -> Upload {
    let digest = Digest::of(&bytes);
    Upload {
        descriptor: Descriptor {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{digest}"),
            size: bytes.len() as u64,
            annotations: None,
        },
        digest,
        body: Body::Bytes(bytes.into()),
    }
}

fn of_file(path: &Path, name: &str) -> io::Result<Upload> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut chunk = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        hash.update(&chunk[..read]);
    }
    let digest = Digest(hash.finalize().into());
    Ok(Upload {
        descriptor: Descriptor {
            media_type: MODEL_LAYER.to_owned(),
            digest: format!("sha256:{digest}"),
            size,
            annotations: Some(BTreeMap::from([(TITLE.to_owned(), name.to_owned())])),
        },
        digest,
        body: Body::File(path.to_owned(), size),
    })
}

/// Reads files on a thread that serves no sockets.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ArtifactError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(io::Error::other).and_then(|done| done);
    done.map_err(|error| ArtifactError::Push {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
