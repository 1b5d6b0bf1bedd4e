//! Records what a VMM and its guest say.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::task::JoinHandle;

use crate::console::{self, BoundedFile, Recording, Tail};

/// How long the last output of an ended VMM is awaited. Its descriptors are closed by then.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// A task that records one of the VMM's outputs.
#[derive(Debug)]
pub(crate) struct Recorder {
    task: Option<JoinHandle<Tail>>,
    tail: Tail,
    file: Arc<Recording>,
}

impl Recorder {
    pub(crate) fn start(
        stream: impl AsyncRead + Unpin + Send + 'static,
        file: Option<BoundedFile>,
    ) -> Self {
        let file = Arc::new(Recording::new(file));
        let task = tokio::spawn(console::record(stream, Arc::clone(&file)));
        Self {
            task: Some(task),
            tail: Tail::default(),
            file,
        }
    }

    pub(crate) fn record_into(&self, file: BoundedFile) {
        self.file.replace(file);
    }

    /// Writes `note` into the file, where there is one.
    pub(crate) fn note(&self, note: &[u8]) {
        self.file.append(note);
    }

    /// The end of the output, when the VMM has closed it.
    pub(crate) async fn finish(&mut self) -> &Tail {
        if let Some(task) = &mut self.task {
            match tokio::time::timeout(DRAIN_LIMIT, &mut *task).await {
                Ok(tail) => self.tail = tail.unwrap_or_default(),
                Err(_) => task.abort(),
            }
            self.task = None;
        }
        &self.tail
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
