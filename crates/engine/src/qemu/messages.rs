//! What QEMU says on its standard error.

use std::process::ExitStatus;

use crate::exit::{self, VmExit};
use crate::recorder::Recorder;

/// What it says of each machine and explains nothing: of one with a spare NIC (`net/hub.c`), and of one that sees no `/dev/null` by which to
/// try locks (`util/osdep.c`).
const UNIMPORTANT: [&str; 2] = ["is not connected to host network", "for OFD lock probing"];

/// Explains the end of QEMU by what it and its guest have said.
pub(super) async fn explain(
    status: ExitStatus,
    forbidden: Option<&str>,
    console: &mut Recorder,
    messages: &mut Recorder,
) -> VmExit {
    let mut exit = exit::explain(status, forbidden, console, messages).await;
    if !status.success() {
        exit.explanation
            .retain(|line| !UNIMPORTANT.iter().any(|words| line.contains(words)));
    }
    exit
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[tokio::test]
    async fn what_it_says_of_every_machine_explains_nothing() {
        let warning = "qemu: warning: hub 3 is not connected to host network\n\
                       qemu: Failed to open /dev/null for OFD lock probing: No such file or directory\n";
        let mut console = Recorder::start(&b""[..], None);
        let mut messages = Recorder::start(warning.as_bytes(), None);
        let status = ExitStatus::from_raw(9);
        let exit = explain(status, None, &mut console, &mut messages).await;
        assert_eq!(exit.to_string(), "the VMM was killed by signal 9");
    }
}
