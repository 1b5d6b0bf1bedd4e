//! A running worker process.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use container_resource::digest::Digest;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::OwnedSemaphorePermit;

use super::bounds::Budget;
use super::unpack::UnpackError;
use super::worker::{CONVERT, Verdict};
use crate::seal::Intact;
use crate::store::{Store, StoreError, Temporary};

/// Most bytes of a verdict.
const MAX_VERDICT: u64 = 64 * 1024;

/// Dropped, it is killed and its output removed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    image: Temporary,
    blob: Digest,
    size: u64,
    budget: Budget,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Running {
    /// Starts a run of `program` that may write as much as `budget` says.
    pub(super) fn start(
        program: &Path,
        store: &Store,
        blob: Digest,
        size: u64,
        budget: Budget,
        input: Stdio,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, UnpackError> {
        let directory = store.paths().layers();
        let image = Temporary::create(&directory).map_err(StoreError::file(&directory))?;
        let output = image.file().try_clone().map_err(UnpackError::Worker)?;
        let child = Command::new(program)
            .args([CONVERT, "--budget"])
            .arg(budget.bytes.to_string())
            .env_clear()
            .stdin(input)
            .stdout(Stdio::from(output))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(UnpackError::Worker)?;
        Ok(Self {
            child,
            image,
            blob,
            size,
            budget,
            _permit: permit,
        })
    }

    /// Where the compressed bytes go, once.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for the verdict and publishes the image of the layer with that diff id.
    pub async fn finish(mut self, store: &Store, diff_id: Digest) -> Result<Intact, UnpackError> {
        let found = self.converted().await?;
        if found != diff_id {
            return Err(UnpackError::DiffId {
                blob: self.blob,
                expected: diff_id,
                found,
            });
        }
        self.publish(store, diff_id).await
    }

    /// Waits for the verdict: the diff id of what was converted.
    pub(super) async fn converted(&mut self) -> Result<Digest, UnpackError> {
        drop(self.child.stdin.take());
        let blob = self.blob;
        match self.verdict().await? {
            Verdict::Refused(reason) => Err(UnpackError::Refused { blob, reason }),
            Verdict::TooLarge => Err(UnpackError::over(blob, self.size, self.budget)),
            Verdict::NoSpace => Err(UnpackError::NoSpace {
                blob,
                budget: self.budget,
            }),
            Verdict::Converted { blob: found, .. } if found != blob => Err(UnpackError::Blob {
                expected: blob,
                found,
            }),
            Verdict::Merged => Err(UnpackError::Refused {
                blob,
                reason: "the worker says nonsense".into(),
            }),
            Verdict::Converted {
                diff_id, entries, ..
            } => {
                tracing::info!(%blob, %diff_id, entries, "layer unpacked");
                Ok(diff_id)
            }
        }
    }

    /// Seals the image and gives it its name.
    pub(super) async fn publish(
        self,
        store: &Store,
        diff_id: Digest,
    ) -> Result<Intact, UnpackError> {
        let path = store.paths().layer(diff_id);
        let (image, seals, destination) = (self.image, Arc::clone(store.seals()), path.clone());
        let published = tokio::task::spawn_blocking(move || seals.publish(image, &destination))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        Ok(published.map_err(StoreError::file(&path))?)
    }

    async fn verdict(&mut self) -> Result<Verdict, UnpackError> {
        let blob = self.blob;
        let verdict = verdict(&mut self.child)
            .await
            .map_err(UnpackError::Worker)?;
        verdict.map_err(|status| match status.signal() {
            Some(libc::SIGXCPU) => UnpackError::TooSlow { blob },
            _ => UnpackError::Died { blob, status },
        })
    }
}

/// What a worker says when it is done; how it ended, if it says nothing.
pub(super) async fn verdict(child: &mut Child) -> io::Result<Result<Verdict, ExitStatus>> {
    let mut line = String::new();
    if let Some(stderr) = child.stderr.take() {
        // What is no text is no verdict either.
        let _ = BufReader::new(stderr.take(MAX_VERDICT))
            .read_line(&mut line)
            .await;
    }
    let status = child.wait().await?;
    Ok(serde_json::from_str(&line).map_err(|_| status))
}
