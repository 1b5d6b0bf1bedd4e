//! A further client of a process.

use container_api::Error;

use super::Container;
use crate::stdio::Stdio;

impl Container {
    /// Gives the output of the process `id`, the first one where that is empty, to `stdio`, too, and what is read there to its input.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn attach(&self, id: &str, stdio: Stdio) -> Result<(), Error> {
        let size = stdio.size;
        self.process(id)?.attach(stdio).await?;
        if let (Some(size), true) = (size, self.configuration.init_process.terminal) {
            self.resize(id, size).await?;
        }
        Ok(())
    }
}
