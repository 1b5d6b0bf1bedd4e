//! Signals, and the size of a terminal: what a process is told while it runs.

use container_api::Error;
use container_api::guest::{ResizeRequest, SignalRequest};

use super::Container;
use crate::stdio::TerminalSize;

impl Container {
    /// Sends `signal` (1 to 64, as on the guest's architecture) to the process `id`, the first one where that is empty.
    ///
    /// # Errors
    /// When the container does not run, or has no such process.
    pub async fn signal(&self, id: &str, signal: i32) -> Result<(), Error> {
        if id.is_empty() && signal == libc::SIGKILL && self.waits_for_room() {
            // Its guest would hear of it when there is room.
            self.kill_machine.notify_one();
            return Ok(());
        }
        self.send(id, signal, false).await
    }

    /// Sends `signal` to every process.
    pub(super) async fn signal_all(&self, signal: i32) -> Result<(), Error> {
        self.send("", signal, true).await
    }

    async fn send(&self, id: &str, signal: i32, all: bool) -> Result<(), Error> {
        let request = SignalRequest {
            process: self.id_in_guest(id),
            signal,
            all,
        };
        let mut guest = self.guest()?.calls();
        self.ask(guest.signal(request)).await?;
        Ok(())
    }

    /// Gives the terminal of the process `id`, the first one where that is empty, another `size`.
    ///
    /// # Errors
    /// When the container does not run, or the process has no terminal.
    pub async fn resize(&self, id: &str, size: TerminalSize) -> Result<(), Error> {
        let request = ResizeRequest {
            process: self.id_in_guest(id),
            rows: size.rows.into(),
            columns: size.columns.into(),
        };
        let mut guest = self.guest()?.calls();
        self.ask(guest.resize(request)).await?;
        Ok(())
    }
}
