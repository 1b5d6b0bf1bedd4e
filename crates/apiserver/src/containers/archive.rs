//! Operations on a container's files, whether it runs or not.
//!
//! One that does not run gets a machine for as long as somebody works on its files: with its disks, started as every other, in which
//! nothing of it runs. So no process of the host reads a guest's file system, and there is one way to all containers' files.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use container_api::{Error, Kind, runtime};
use container_archive::operation::{Subject, Task};
use rustix::process::Signal;
use tokio::sync::OwnedMutexGuard;

use super::absent_mounts;
use super::follow::remove_sockets;
use super::helper::{Helper, Lent};
use super::hold::copy_held;
use super::start::Booting;
use super::{Containers, Entry, not_found};
use crate::disk_usage;

/// How long the machine may take to write everything out and go, when nobody works on the files any more.
const CLOSING: Duration = Duration::from_secs(30);

/// A container that does not run, with a machine for its files. Nobody starts or deletes it meanwhile.
#[derive(Debug)]
pub struct Opened {
    helper: Helper,
    users: usize,
    _operation: OwnedMutexGuard<()>,
}

impl Opened {
    /// Ends the machine, whatever is done with it.
    pub async fn kill(&self) -> std::io::Result<()> {
        self.helper.kill().await
    }
}

impl Containers {
    /// Does what `words` ask for with the files of the container `id`, with the client's streams; gives the exit code.
    pub async fn archive(
        self: &Arc<Self>,
        id: &str,
        words: Vec<Bytes>,
        lent: Option<Lent>,
    ) -> Result<i32, Error> {
        let entry = self.get(id)?;
        if let Some(helper) = running(&entry) {
            let task = Task::parse(&words);
            if task.is_some_and(|task| task.operation.wants_standstill()) {
                return self.archive_of_a_moment(&entry, &helper, words, lent).await;
            }
            return with_way_out(&entry, operate(&helper, words, lent).await);
        }
        if let (Some(task), Some(configuration)) = (Task::parse(&words), entry.readable()) {
            if task.subject == Subject::Root {
                absent_mounts::check(&configuration, &task.operation)?;
            }
        }
        match self.open(&entry).await? {
            Way::Running(helper) => with_way_out(&entry, operate(&helper, words, lent).await),
            Way::Opened(helper) => {
                let done = operate(&helper, words, lent).await;
                let closed = close(&entry).await;
                let code = done?;
                closed?;
                Ok(code)
            }
        }
    }

    /// Does it with a copy of the writable layer in a machine of its own: the container stands still only while the copy is made.
    async fn archive_of_a_moment(
        &self,
        entry: &Entry,
        helper: &Helper,
        words: Vec<Bytes>,
        lent: Option<Lent>,
    ) -> Result<i32, Error> {
        let upper = entry.bundle.upper();
        self.reserve.check_for(disk_usage::of_file(&upper))?;
        let transient = self.transient_like(entry)?;
        let copy = transient.bundle().upper();
        let copied = copy_held(entry, helper, Subject::Root, &upper, &copy).await;
        let done = match copied {
            Ok(()) => self.run_transient(&transient, words, lent).await,
            Err(error) => {
                Err(error.context(format_args!("stop container {} for a moment", entry.id)))
            }
        };
        self.remove_transient(transient.bundle().directory());
        done
    }

    /// A machine for the files of `entry`.
    async fn open(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<Way, Error> {
        let mut opened = entry.opened.lock().await;
        if let Some(opened) = opened.as_mut() {
            opened.users += 1;
            return Ok(Way::Opened(opened.helper.clone()));
        }
        let operation = entry.operation.clone().lock_owned().await;
        if !self.is_current(entry) {
            return Err(not_found(&entry.id));
        }
        if let Some(helper) = running(entry) {
            return Ok(Way::Running(helper));
        }
        let helper = self.boot_for_files(entry).await.map_err(|error| {
            let context = format_args!("start a machine for the files of container {}", entry.id);
            error.context(context)
        })?;
        *opened = Some(Opened {
            helper: helper.clone(),
            users: 1,
            _operation: operation,
        });
        Ok(Way::Opened(helper))
    }
}

impl Containers {
    /// Starts a machine with the disks of `entry`, in which nothing of it runs.
    pub(super) async fn boot_for_files(&self, entry: &Entry) -> Result<Helper, Error> {
        let Booting {
            helper,
            runtime,
            request,
            ..
        } = self.spawn(entry, true).await?;
        match self.start_process(&helper, None).await {
            Ok(first) => self.prepare_next(&first, runtime, request),
            Err(error) => {
                end_machine(entry, &helper).await?;
                return Err(self.name_holder(entry, error));
            }
        }
        Ok(helper)
    }
}

/// How the files of a container are reached.
enum Way {
    /// It runs.
    Running(Helper),
    /// By a machine of their own, until they are closed.
    Opened(Helper),
}

/// The helper of a container that runs. One that is about to stop is waited for by [`Containers::open`]'s lock of operations or by
/// the end of its helper.
pub(super) fn running(entry: &Entry) -> Option<Helper> {
    entry.is_active().then(|| entry.helper().ok()).flatten()
}

/// The words of `task`.
pub(crate) fn words(task: &Task) -> Vec<Bytes> {
    task.words().into_iter().map(Into::into).collect()
}

/// What was `done` with the files of `entry`; where its machine stands still, with what its user can do.
fn with_way_out(entry: &Entry, done: Result<i32, Error>) -> Result<i32, Error> {
    done.map_err(|error| match entry.standstill() {
        Some(why) if error.hint.is_none() => error.with_hint(why.hint()),
        _ => error,
    })
}

/// Does it, and waits for its end.
pub(crate) async fn operate(
    helper: &Helper,
    words: Vec<Bytes>,
    lent: Option<Lent>,
) -> Result<i32, Error> {
    let process = uuid::Uuid::new_v4().to_string();
    let stdio = helper.relay(lent).await?;
    let request = runtime::ArchiveRequest {
        process: process.clone(),
        words,
        stdio,
    };
    helper
        .call(|mut client| async move { client.archive(request).await })
        .await
        .map_err(unfinished)?;
    let mut client = helper.client();
    let ended = client.wait(runtime::WaitRequest { process }).await;
    let ended = ended.map_err(|status| unfinished(status.into()))?;
    let ended = ended.into_inner();
    if ended.reason.is_empty() {
        Ok(ended.exit_code)
    } else {
        Err(Error::new(Kind::Internal, ended.reason))
    }
}

/// What is told of an operation whose helper went away meanwhile: the client sees an archive that breaks off, which nobody has damaged.
fn unfinished(error: Error) -> Error {
    match error.kind {
        Kind::Unavailable | Kind::Cancelled => Error::new(
            Kind::Internal,
            "the machine of these files ended before that was done",
        ),
        _ => error,
    }
}

/// Somebody has done with the files of `entry`; the last one ends the machine, and what was written is on the disk then.
async fn close(entry: &Entry) -> Result<(), Error> {
    let mut opened = entry.opened.lock().await;
    let Some(present) = opened.as_mut() else {
        return Ok(());
    };
    present.users -= 1;
    if present.users > 0 {
        return Ok(());
    }
    let ended = end_machine(entry, &present.helper.clone()).await;
    *opened = None;
    ended
}

/// Ends a machine for files; what was written is on its disks then.
pub(super) async fn end_machine(entry: &Entry, helper: &Helper) -> Result<(), Error> {
    let request = runtime::StopRequest {
        signal: Signal::KILL.as_raw(),
        timeout_ms: 1,
        keep: true,
    };
    let mut client = helper.client();
    // One that does not obey is killed below.
    let _ = tokio::time::timeout(CLOSING, client.stop(request)).await;
    end(entry, helper).await
}

/// Waits until the helper is gone, or makes it.
async fn end(entry: &Entry, helper: &Helper) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        let context = format_args!("end the machine for the files of container {}", entry.id);
        Error::caused(Kind::Internal, error).context(context)
    };
    if tokio::time::timeout(CLOSING, helper.gone()).await.is_err() {
        helper.kill().await.map_err(failed)?;
    }
    remove_sockets(entry);
    Ok(())
}
