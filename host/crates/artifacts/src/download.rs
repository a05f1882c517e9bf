//! Downloads manifests and blobs, and checks each byte of them.
//!
//! A blob goes to disk while it comes, and gets its name there only when its size and its
//! digest are right. If the connection breaks, the rest is asked for (`Range`).

use std::io;

use backon::ExponentialBackoff;
use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::{HeaderMap, Method, StatusCode};
use predictor::Digest;
use private_dir::PrivateDir;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::client::{Access, Answer, Call, Client};
use crate::error::ArtifactError;
use crate::manifest::{Blob, DOCKER_LIST, DOCKER_MANIFEST, MOST_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::reference::{Place, Reference, parse_digest};
use crate::store::UNFINISHED;

/// What a registry says the digest of its answer is.
pub(crate) const CONTENT_DIGEST: &str = "docker-content-digest";

/// How many chunks may wait for the disk.
const WAITING: usize = 16;

/// A download that came this much further before it broke again has all its retries anew.
const PROGRESS: u64 = 1 << 20;

/// What a writer is told.
enum Step {
    Write(Bytes),
    Finish,
}

impl Client {
    /// The digest that a tag stands for at the moment.
    pub(crate) async fn digest_of(&self, reference: &Reference) -> Result<Digest, ArtifactError> {
        let place = reference.place();
        let answer = self
            .manifest_call(Method::HEAD, place, reference.tag())
            .await?;
        let said = answer.header(CONTENT_DIGEST).map(parse_digest);
        if let Some(Ok(digest)) = said {
            return Ok(digest);
        }
        // Registries need not say it.
        let answer = self
            .manifest_call(Method::GET, place, reference.tag())
            .await?;
        Ok(Digest::of(&answer.read(MOST_MANIFEST).await?))
    }

    /// The manifest with a digest.
    pub(crate) async fn manifest(
        &self,
        place: &Place,
        digest: &Digest,
    ) -> Result<Vec<u8>, ArtifactError> {
        let manifest = self
            .tagged_manifest(place, &format!("sha256:{digest}"))
            .await?;
        let what = || format!("the manifest of {place}@sha256:{digest}");
        check_digest(what, digest, Digest::of(&manifest))?;
        Ok(manifest)
    }

    /// The manifest that a tag or a digest stands for, which is not checked.
    pub(crate) async fn tagged_manifest(
        &self,
        place: &Place,
        tag: &str,
    ) -> Result<Vec<u8>, ArtifactError> {
        let answer = self.manifest_call(Method::GET, place, tag).await?;
        answer.read(MOST_MANIFEST).await
    }

    async fn manifest_call(
        &self,
        method: Method,
        place: &Place,
        tag: &str,
    ) -> Result<Answer, ArtifactError> {
        let url = self.url(place, &format!("manifests/{tag}"))?;
        let mut call = Call::new(method, url, place, Access::Pull);
        for accepted in [OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST] {
            call.headers
                .append(ACCEPT, HeaderValue::from_static(accepted));
        }
        let separator = if tag.contains(':') { '@' } else { ':' };
        let what = format!("{place}{separator}{tag}");
        self.send(&call).await?.success(&what).await
    }

    /// A small blob.
    pub(crate) async fn small_blob(
        &self,
        place: &Place,
        blob: &Blob,
        most: usize,
    ) -> Result<Vec<u8>, ArtifactError> {
        let bytes = self.blob_call(place, blob, 0).await?.read(most).await?;
        check_digest(|| name(place, blob), &blob.digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Downloads a blob to a file of a directory.
    pub(crate) async fn download(
        &self,
        place: &Place,
        blob: &Blob,
        dir: &PrivateDir,
    ) -> Result<(), ArtifactError> {
        let (steps, mut inbox) = mpsc::channel(WAITING);
        let (file, target) = (blob.name.clone(), dir.clone());
        let writer = tokio::task::spawn_blocking(move || {
            target.write(&file, UNFINISHED, |file| {
                loop {
                    match inbox.blocking_recv() {
                        Some(Step::Write(bytes)) => io::Write::write_all(file, &bytes)?,
                        Some(Step::Finish) => return Ok(()),
                        // The download has failed, which its error says, or was dropped.
                        None => return Err(io::ErrorKind::Interrupted.into()),
                    }
                }
            })
        });
        let mut download = Download {
            client: self,
            place,
            blob,
            steps,
            hash: Sha256::new(),
            have: 0,
        };
        let fetched = download.run().await;
        drop(download);
        let written = writer
            .await
            .map_err(io::Error::other)
            .and_then(|written| written);
        match fetched {
            Err(Break::Failed(error)) => Err(error),
            Ok(()) | Err(Break::NotWritten) => written.map_err(|error| ArtifactError::Store {
                path: dir.path().to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// Asks for a blob, from a position on.
    async fn blob_call(
        &self,
        place: &Place,
        blob: &Blob,
        from: u64,
    ) -> Result<Answer, ArtifactError> {
        let url = self.url(place, &format!("blobs/sha256:{}", blob.digest))?;
        let mut call = Call::new(Method::GET, url, place, Access::Pull);
        if from > 0 {
            let range = format!("bytes={from}-");
            if let Ok(range) = HeaderValue::try_from(range) {
                call.headers.insert(RANGE, range);
            }
        }
        self.send(&call).await?.success(&name(place, blob)).await
    }
}

/// Why a download does not go on.
enum Break {
    /// The registry or the network has failed.
    Failed(ArtifactError),
    /// The writer has failed, and says why.
    NotWritten,
}

impl From<ArtifactError> for Break {
    fn from(error: ArtifactError) -> Self {
        Self::Failed(error)
    }
}

/// A blob on its way to disk.
struct Download<'a> {
    client: &'a Client,
    place: &'a Place,
    blob: &'a Blob,
    steps: mpsc::Sender<Step>,
    /// Over the bytes that came so far, and how many they are.
    hash: Sha256,
    have: u64,
}

impl Download<'_> {
    /// Downloads everything.
    async fn run(&mut self) -> Result<(), Break> {
        let mut waits: ExponentialBackoff = self.client.waits();
        let mut had = 0;
        while let Err(stop) = self.proceed().await {
            let Break::Failed(error) = stop else {
                return Err(stop);
            };
            if self.have >= had + PROGRESS {
                waits = self.client.waits();
            }
            had = self.have;
            self.client.wait(error, &mut waits).await?;
        }
        let actual = Digest(self.hash.clone().finalize().into());
        check_digest(|| name(self.place, self.blob), &self.blob.digest, actual)?;
        let finished = self.steps.send(Step::Finish).await;
        finished.map_err(|_| Break::NotWritten)
    }

    /// Downloads what is missing, until the connection breaks.
    async fn proceed(&mut self) -> Result<(), Break> {
        let size = self.blob.size;
        let asked = self.client.blob_call(self.place, self.blob, self.have);
        let mut answer = asked.await?;
        // A server need not know ranges: then everything comes again.
        let mut skip = self.have;
        if answer.status() == StatusCode::PARTIAL_CONTENT {
            if start(answer.headers()) != Some(self.have) {
                let reason = "it sends another part of a blob than it was asked for";
                return Err(Break::Failed(ArtifactError::Malformed {
                    host: answer.host().to_owned(),
                    reason: reason.to_owned(),
                }));
            }
            skip = 0;
        }
        let announced = answer.header(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.parse().ok());
        let announced = announced.map(|length: u64| length.saturating_add(self.have - skip));
        if let Some(length) = announced.filter(|length| *length != size) {
            return Err(self.length(length).into());
        }
        while let Some(mut bytes) = answer.next().await? {
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip -= known as u64;
            let bytes = bytes.split_off(known);
            if bytes.len() as u64 > size - self.have {
                return Err(self.length(u64::MAX).into());
            }
            self.hash.update(&bytes);
            self.have += bytes.len() as u64;
            let sent = self.steps.send(Step::Write(bytes)).await;
            sent.map_err(|_| Break::NotWritten)?;
        }
        if self.have < size {
            return Err(self.length(self.have).into());
        }
        Ok(())
    }

    /// The error of a blob that has another size than it should.
    fn length(&self, actual: u64) -> ArtifactError {
        ArtifactError::Length {
            what: name(self.place, self.blob),
            expected: self.blob.size,
            fault: if actual < self.blob.size {
                "shorter"
            } else {
                "longer"
            },
        }
    }
}

/// Where a part of a blob begins.
fn start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    start.parse().ok()
}

fn name(place: &Place, blob: &Blob) -> String {
    format!("{} of {place} (sha256:{})", blob.name, blob.digest)
}

fn check_digest(
    what: impl FnOnce() -> String,
    expected: &Digest,
    actual: Digest,
) -> Result<(), ArtifactError> {
    if actual == *expected {
        return Ok(());
    }
    Err(ArtifactError::Digest {
        what: what(),
        expected: *expected,
        actual,
    })
}
