//! A running virtual machine.

use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::console::{self, BoundedFile, Recording, Tail};
use crate::device::Disk;
use crate::engine::StartError;
use crate::process::{VmmProcess, describe};
use crate::qemu::device::disk::exchange::{Backends, ExchangeError};
use crate::qemu::qmp::{Qmp, QmpError};

/// How long the VMM may take over a control command.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// How long the last output of an ended VMM is awaited. Its descriptors are closed by then.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// What Linux prints first when it gives up (`kernel/panic.c`).
const PANIC: &str = "Kernel panic - not syncing";

/// Lines of the console or of the VMM's messages that explain a failure.
const EXPLANATION_LINES: usize = 10;

/// A virtual machine and its VMM process. Dropping it kills both.
#[derive(Debug)]
pub struct Vm {
    process: VmmProcess,
    pub(crate) control: Qmp,
    channel: Option<UnixStream>,
    console: Recorder,
    messages: Recorder,
    disks: Backends,
    moments: Moments,
    exit: Option<VmExit>,
    pub(crate) late_devices: u32,
}

/// When the phases of a start ended.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// The VMM's process was started.
    pub spawned: Instant,
    /// The VMM answered: the machine is complete and executes the guest.
    pub running: Instant,
}

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

/// The parts of a VM that has just been spawned.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) process: VmmProcess,
    pub(crate) control: UnixStream,
    pub(crate) channel: UnixStream,
    pub(crate) console: Recorder,
    pub(crate) messages: Recorder,
    /// See [`crate::qemu::arguments::CommandLine::paused`].
    pub(crate) paused: bool,
    /// See [`crate::qemu::arguments::CommandLine::state`].
    pub(crate) state: Option<RawFd>,
    pub(crate) disks: Backends,
    pub(crate) at: Instant,
}

impl Spawned {
    /// Waits until the VMM answers on its control connection, for at most `limit`, and lets the machine run.
    pub(crate) async fn answer(mut self, limit: Duration) -> Result<Vm, StartError> {
        let (process, paused) = (&self.process, self.paused);
        let answered = async {
            let control = Qmp::negotiate(self.control, limit).await?;
            process.machine_runs();
            if paused {
                control.execute("cont", Value::Null, limit).await?;
            }
            Ok(control)
        };
        match answered.await {
            Ok(control) => Ok(Vm {
                process: self.process,
                control,
                channel: Some(self.channel),
                console: self.console,
                messages: self.messages,
                disks: self.disks,
                moments: Moments {
                    spawned: self.at,
                    running: Instant::now(),
                },
                exit: None,
                late_devices: 0,
            }),
            Err(error @ QmpError::Timeout { .. }) => Err(StartError::Silent(error)),
            Err(error) => {
                // The connection was closed, so the process is about to end.
                let exit = tokio::time::timeout(DRAIN_LIMIT, async {
                    let status = self.process.wait().await.ok()?;
                    let forbidden = self.process.forbidden();
                    Some(explain(status, forbidden, &mut self.console, &mut self.messages).await)
                });
                match exit.await.ok().flatten() {
                    Some(exit) => Err(StartError::Died(exit.to_string())),
                    None => Err(StartError::Silent(error)),
                }
            }
        }
    }
}

impl Vm {
    /// Takes the guest channel: what the guest reads from and writes to its virtio-serial port.
    /// `None` if it has been taken before.
    pub fn take_channel(&mut self) -> Option<UnixStream> {
        self.channel.take()
    }

    /// Process id of the VMM.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How many devices the guest does not know of, as they were put on transports that were empty when it was saved. It finds
    /// them when it binds their driver (`/sys/bus/platform/drivers/virtio-mmio/bind`), in the order of the transports'
    /// names. 0 in a machine that was booted.
    pub fn late_devices(&self) -> u32 {
        self.late_devices
    }

    /// When the phases of the start ended.
    pub fn moments(&self) -> Moments {
        self.moments
    }

    /// Waits for the end of the machine. May be cancelled, and asked again.
    ///
    /// # Errors
    /// Only if the process can't be waited for, which the kernel doesn't do.
    pub async fn wait(&mut self) -> io::Result<VmExit> {
        if let Some(exit) = &self.exit {
            return Ok(exit.clone());
        }
        let status = self.process.wait().await?;
        let forbidden = self.process.forbidden();
        let exit = explain(status, forbidden, &mut self.console, &mut self.messages).await;
        Ok(self.exit.insert(exit).clone())
    }

    /// Ends the machine at once. What the guest has flushed to its disks is safe, the rest is lost.
    /// [`Vm::wait`] tells when it is over.
    pub fn kill(&self) -> io::Result<()> {
        self.process.kill()
    }

    /// Stops the virtual CPUs.
    pub async fn pause(&self) -> Result<(), QmpError> {
        self.control
            .execute("stop", Value::Null, COMMAND_LIMIT)
            .await
            .map(drop)
    }

    /// Lets the virtual CPUs run again.
    pub async fn resume(&self) -> Result<(), QmpError> {
        self.control
            .execute("cont", Value::Null, COMMAND_LIMIT)
            .await
            .map(drop)
    }

    /// Puts each of `disks` in the place of the present one of its role. The guest, which must not have them mounted,
    /// notices nothing: size and access of each have to be the same. After an error the machine is of no use.
    pub async fn exchange_disks(
        &mut self,
        disks: impl IntoIterator<Item = &Disk>,
    ) -> Result<(), ExchangeError> {
        self.disks.exchange(&self.control, disks).await
    }

    /// Closes what [`Vm::exchange_disks`] has put aside, which takes as long as the exchange. Not to be done while the
    /// machine is paused: its VMM would keep the files open.
    pub async fn close_exchanged_disks(&mut self) -> Result<(), QmpError> {
        self.disks.close_replaced(&self.control).await
    }

    /// Records the guest's console from now on in `file`, kept under [`crate::console::CAPACITY`] bytes.
    pub fn record_console(&self, file: &Path) -> io::Result<()> {
        self.console.record_into(BoundedFile::create(file)?);
        Ok(())
    }

    /// Writes `note` into the record of the guest's console, where there is one.
    pub fn note_on_console(&self, note: &[u8]) {
        self.console.file.append(note);
    }

    /// What the machine costs the host: see [`HostMemory`].
    pub fn host_memory(&self) -> io::Result<u64> {
        HostMemory::open(self)?.bytes()
    }
}

/// What a machine costs the host: its VMM's proportional set size, guest memory included. The kernel's answer stays open,
/// for a process that will not be let near another one's any more.
#[derive(Debug)]
pub struct HostMemory(File);

impl HostMemory {
    /// Prepares to ask about `vm`.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn open(vm: &Vm) -> io::Result<Self> {
        File::open(format!("/proc/{}/smaps_rollup", vm.pid())).map(Self)
    }

    /// What it costs now, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn bytes(&self) -> io::Result<u64> {
        // The whole answer has less than a kilobyte.
        let mut text = [0; 4096];
        let mut length = 0;
        while length < text.len() {
            let offset = u64::try_from(length).map_err(io::Error::other)?;
            match self.0.read_at(&mut text[length..], offset)? {
                0 => break,
                read => length += read,
            }
        }
        parse_pss(&String::from_utf8_lossy(&text[..length]))
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// The `Pss:` line of a `smaps_rollup` (Documentation/filesystems/proc.rst), in bytes.
fn parse_pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

async fn explain(
    status: ExitStatus,
    forbidden: Option<&str>,
    console: &mut Recorder,
    messages: &mut Recorder,
) -> VmExit {
    let console = console.finish().await;
    if !status.success() {
        let cause = forbidden.map_or(ExitCause::Vmm, |call| ExitCause::Forbidden(call.to_owned()));
        let explanation = messages.finish().await.last_lines(EXPLANATION_LINES);
        return VmExit {
            status,
            cause,
            explanation,
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

    /// The end of the output, when the VMM has closed it.
    async fn finish(&mut self) -> &Tail {
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
            exit(1 << 8, "", "qemu: first\nqemu: out of memory\n")
                .await
                .to_string(),
            "the VMM exited with status 1: qemu: out of memory"
        );
    }

    #[test]
    fn pss_is_read_in_bytes() {
        let rollup = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:   123 kB\n";
        assert_eq!(parse_pss(rollup), Some(123 * 1024));
        assert_eq!(parse_pss("Rss: 1 kB\n"), None);
        let own = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        assert!(parse_pss(&own).unwrap() > 100_000);
    }
}
