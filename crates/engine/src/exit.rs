//! How a virtual machine ended, and who ended it.

use std::process::ExitStatus;

use crate::process::describe;
use crate::recorder::Recorder;

/// What Linux prints first when it gives up (`kernel/panic.c`).
const PANIC: &str = "Kernel panic - not syncing";

/// Lines of the console or of the VMM's messages that explain a failure.
const EXPLANATION_LINES: usize = 10;

/// How a virtual machine ended.
#[derive(Debug, Clone)]
pub struct VmExit {
    /// Exit status of the VMM.
    pub status: ExitStatus,
    /// Who ended it.
    pub cause: ExitCause,
    /// The last lines of whatever explains the end: the guest's console, or the VMM's messages.
    pub explanation: Vec<String>,
}

/// Who ended a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitCause {
    /// The guest switched itself off, or asked for a reset.
    Guest,
    /// The guest's kernel panicked, with this message.
    Panic(String),
    /// The VMM was killed by a signal or failed.
    Vmm,
    /// The VMM made this system call, which it has no use for, and was killed.
    Forbidden(String),
}

impl std::fmt::Display for VmExit {
    /// One line, such as "the VMM was killed by signal 9".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            ExitCause::Guest => f.write_str("the guest switched itself off"),
            ExitCause::Panic(message) => write!(f, "the guest's kernel panicked: {message}"),
            ExitCause::Forbidden(call) => write!(
                f,
                "the VMM made the system call {call}, which it has no use for, and was ended"
            ),
            ExitCause::Vmm => {
                write!(f, "the VMM {}", describe(self.status))?;
                self.explanation
                    .last()
                    .map_or(Ok(()), |line| write!(f, ": {line}"))
            }
        }
    }
}

/// Explains the end of a VMM by what it and its guest have said.
pub(crate) async fn explain(
    status: ExitStatus,
    forbidden: Option<&str>,
    console: &mut Recorder,
    messages: &mut Recorder,
) -> VmExit {
    let console = console.finish().await;
    if !status.success() {
        let cause = forbidden.map_or(ExitCause::Vmm, |call| ExitCause::Forbidden(call.to_owned()));
        return VmExit {
            status,
            cause,
            explanation: messages.finish().await.last_lines(EXPLANATION_LINES),
        };
    }
    let cause = console.find_last(PANIC).map_or(ExitCause::Guest, |line| {
        let message = line[PANIC.len()..].trim_start_matches([':', ' ']);
        ExitCause::Panic(message.to_owned())
    });
    VmExit {
        status,
        cause,
        explanation: console.last_lines(EXPLANATION_LINES),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    async fn exit(status: i32, console: &'static str, messages: &'static str) -> VmExit {
        let mut console = Recorder::start(console.as_bytes(), None);
        let mut messages = Recorder::start(messages.as_bytes(), None);
        explain(
            ExitStatus::from_raw(status),
            None,
            &mut console,
            &mut messages,
        )
        .await
    }

    #[tokio::test]
    async fn the_cause_is_told_from_status_and_output() {
        let text = "[ 0.5] Kernel panic - not syncing: No working init found.\n[ 0.6] ---[ end ]\n";
        assert_eq!(
            exit(0, text, "").await.to_string(),
            "the guest's kernel panicked: No working init found."
        );
        assert_eq!(
            exit(0, "all well\n", "warning").await.cause,
            ExitCause::Guest
        );
        assert_eq!(
            exit(9, text, "").await.to_string(),
            "the VMM was killed by signal 9"
        );
        assert_eq!(
            exit(1 << 8, "", "vmm: first\nvmm: out of memory\n")
                .await
                .to_string(),
            "the VMM exited with status 1: vmm: out of memory"
        );
    }
}
