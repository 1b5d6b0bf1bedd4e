use std::sync::Arc;

use container_api::api::ResizeRequest;
use rustix::termios::Winsize;
use tokio::sync::Notify;

use super::foreground::ProcessRef;
use super::terminal;
use crate::connection::Containers;

/// Keeps a process's terminal as large as this one. One size after the other is handed on: however fast they come, the
/// last one stays.
#[derive(Debug)]
pub struct Resizer(Arc<Notify>);

impl Resizer {
    /// For the terminal of `process`, which had the size `told` when it was started.
    pub fn new(mut containers: Containers, process: ProcessRef, told: Option<Winsize>) -> Self {
        let changed = Arc::new(Notify::new());
        let noticed = changed.clone();
        tokio::spawn(async move {
            let mut told = told.map(pair);
            loop {
                if let Some(size) = terminal::size()
                    .map(pair)
                    .filter(|size| told != Some(*size))
                {
                    told = Some(size);
                    let (rows, columns) = size;
                    let ProcessRef { id, process, .. } = process.clone();
                    let request = ResizeRequest {
                        id,
                        process,
                        rows,
                        columns,
                    };
                    // The process may be ending just now.
                    let _ = containers.resize(request).await;
                    continue;
                }
                noticed.notified().await;
            }
        });
        Self(changed)
    }

    /// The terminal may have another size.
    pub fn look(&self) {
        self.0.notify_one();
    }
}

fn pair(size: Winsize) -> (u32, u32) {
    (size.ws_row.into(), size.ws_col.into())
}
