//! The worker process that merges layers to a view: `container-core-images merge-layers`.
//!
//! Standard output is the empty file for the view; the layers' images follow standard error, the lowest first. They
//! were made of hostile bytes by other workers, so they are read by one that is shut in, too.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use container_resource::digest::Digest;
use erofs::{Image, Limits, ReadAt, View, WriteError};

use super::running::verdict;
use super::sandbox;
use super::worker::{Verdict, tell};

/// Name of the hidden subcommand.
pub const MERGE: &str = "merge-layers";
/// Most inodes of a merged root.
const LIMITS: Limits = Limits {
    inodes: 1 << 22,
    bytes: 1 << 30,
};
/// Descriptor of the first layer.
const FIRST: RawFd = 3;

/// Arguments of the hidden subcommand.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct MergeArguments {
    /// Number of layers.
    #[arg(long)]
    pub layers: usize,
    /// Identity of the view: a digest whose first half it is.
    #[arg(long)]
    pub identity: Digest,
}

/// Why layers are not merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeLayersError {
    /// They do not fit together, or one is damaged.
    #[error("the image's layers cannot be merged: {0}")]
    Refused(String),
    /// The disk is full.
    #[error("no disk space is left for the image's root")]
    NoSpace,
    /// The worker ended without a verdict.
    #[error("the worker that merges the image's layers ended with {0}")]
    Died(ExitStatus),
    /// The worker cannot be run.
    #[error("the worker that merges layers cannot be run")]
    Worker(#[source] io::Error),
}

/// The identity that a view has in its superblock.
pub fn uuid(identity: Digest) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&identity.bytes()[..16]);
    uuid
}

/// Has a run of `program` merge `layers` into `view`.
pub(crate) async fn merge(
    program: &Path,
    layers: Vec<File>,
    view: &File,
    identity: Digest,
) -> Result<(), MergeLayersError> {
    let output = view.try_clone().map_err(MergeLayersError::Worker)?;
    let mut command = std::process::Command::new(program);
    command
        .args([MERGE, "--layers", &layers.len().to_string()])
        .args(["--identity", &identity.to_string()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::from(output))
        .stderr(Stdio::piped());
    let mappings = layers.into_iter().map(OwnedFd::from).zip(FIRST..);
    let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping {
        parent_fd,
        child_fd,
    });
    command
        .fd_mappings(mappings.collect())
        .map_err(|error| MergeLayersError::Worker(io::Error::other(error)))?;
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(MergeLayersError::Worker)?;
    match verdict(&mut child)
        .await
        .map_err(MergeLayersError::Worker)?
    {
        Ok(Verdict::Merged) => Ok(()),
        Ok(Verdict::NoSpace) => Err(MergeLayersError::NoSpace),
        Ok(Verdict::Refused(reason)) => Err(MergeLayersError::Refused(reason)),
        Ok(_) => Err(MergeLayersError::Refused("the worker says nonsense".into())),
        Err(status) if status.signal() == Some(libc::SIGXCPU) => {
            let minutes = sandbox::CPU_SECONDS / 60;
            let text = format!("that takes more than {minutes} min of CPU time");
            Err(MergeLayersError::Refused(text))
        }
        Err(status) => Err(MergeLayersError::Died(status)),
    }
}

/// Runs the worker.
pub fn run(arguments: MergeArguments) -> ExitCode {
    tell(work(arguments))
}

fn work(arguments: MergeArguments) -> anyhow::Result<Verdict> {
    anyhow::ensure!(arguments.layers <= erofs::MAX_LAYERS, "too many layers");
    let mut layers = Vec::with_capacity(arguments.layers);
    for descriptor in (FIRST..).take(arguments.layers) {
        // SAFETY: the service promises by the number of layers that these descriptors are open and ours alone, and
        // nothing else was opened yet.
        layers.push(Source::new(unsafe { File::from_raw_fd(descriptor) })?);
    }
    let view = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    sandbox::enter(sandbox::VIEW_SIZE)?;
    let images: Result<Vec<_>, _> = layers.into_iter().map(Image::open_whole).collect();
    let merged = View::merge(&images?, LIMITS)?;
    match write(&merged, view, uuid(arguments.identity)) {
        Err(WriteError::Io(error))
            if matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            Ok(Verdict::NoSpace)
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(Verdict::Merged),
    }
}

fn write(merged: &View, view: File, uuid: [u8; 16]) -> Result<(), WriteError> {
    let mut out = BufWriter::new(view);
    merged.write(&mut out, uuid)?;
    out.into_inner()
        .map_err(|error| WriteError::Io(error.into_error()))?;
    Ok(())
}

/// A layer's image, whose length was asked for while that was allowed.
struct Source {
    file: File,
    length: u64,
}

impl Source {
    fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }
}

impl ReadAt for Source {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.file, buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }
}
