//! One output stream of a process: to its log and to every attached client.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use container_resource::log::Stream;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{LogFile, Sink};

/// The log that both streams of a process write to.
pub type SharedLog = Arc<std::sync::Mutex<LogFile>>;

/// Where one output stream goes.
#[derive(Debug)]
pub struct Fanout {
    stream: Stream,
    log: Option<SharedLog>,
    sinks: Mutex<Vec<Sink>>,
    lost: CancellationToken,
}

impl Fanout {
    /// Output of `stream`, written to `log` if there is one.
    pub fn new(stream: Stream, log: Option<SharedLog>) -> Self {
        Self {
            stream,
            log,
            sinks: Mutex::new(Vec::new()),
            lost: CancellationToken::new(),
        }
    }

    /// Adds a client, which sees what is written from now on.
    pub async fn attach(&self, sink: Sink) {
        self.sinks.lock().await.push(sink);
    }

    /// Lets go of clients that have gone.
    pub async fn sweep(&self) {
        self.sinks.lock().await.retain(|sink| !sink.is_gone());
    }

    /// To be cancelled when the client that started the process cannot take its output any more.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Writes `data` to the log alone.
    pub fn note(&self, data: &[u8]) {
        if let Some(log) = &self.log {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = log.append(self.stream, data) {
                // The container's output must reach its clients even where the disk is full.
                tracing::warn!("cannot write the log: {error:#}");
            }
        }
    }

    /// Writes `data` everywhere. A slow client slows the process down; one that has gone is forgotten.
    pub async fn write(&self, data: Bytes) {
        self.note(&data);
        let mut sinks = self.sinks.lock().await;
        let mut index = 0;
        while index < sinks.len() {
            if sinks[index].send(data.clone()).await {
                index += 1;
            } else {
                sinks.swap_remove(index);
            }
        }
    }

    /// Waits until every client has everything.
    pub async fn finish(&self) {
        for sink in std::mem::take(&mut *self.sinks.lock().await) {
            sink.finish().await;
        }
    }
}
