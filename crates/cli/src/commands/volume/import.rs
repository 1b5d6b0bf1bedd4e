use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use container_archive::operation::Operation;
use container_resource::volume::check_name;

use super::properties::Properties;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;
use crate::session::{Owner, operate_on_tar, pipe};

/// Fill a volume with the files of a tar
///
/// Owners, modes and attributes are kept. The tar may be compressed with gzip, zstd, xz or bzip2. A missing volume is created, and appears
/// when the whole tar has been read. In an existing volume, files of the same names are replaced and others stay. Links that lead out of
/// the volume are created, but nothing is written through them. Size, labels and options are for a new volume: a tar has none of them. Prints
/// the name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume import data data.tar
  container volume import data data.tar.zst
  container volume import -s 20G --label team=web data data.tar
  container volume export data | ssh host container volume import data")]
pub struct Import {
    /// Volume
    #[arg(value_name = "VOLUME", value_parser = name, add = completion::volumes())]
    name: String,

    #[command(flatten)]
    properties: Properties,

    /// Tar to read (default, and -: standard input)
    #[arg(value_name = "FILE")]
    source: Option<PathBuf>,
}

impl Import {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = self.properties.request(self.name.clone())?;
        let (input, called) = input(self.source.as_deref())?;
        let (said, output) = pipe()?;
        let owner = Owner::Volume {
            name: &self.name,
            create: Some(&request),
        };
        operate_on_tar(context, owner, &Operation::Import, input, &called, output).await?;
        drop(said);
        output::write_lines([self.name])
    }
}

/// What is read, and what messages call it.
fn input(source: Option<&Path>) -> Result<(OwnedFd, String), Failure> {
    if let Some(path) = source.filter(|path| *path != Path::new("-")) {
        let shown = path.display().to_string();
        let file = File::open(path).with_context(|| shown.clone())?;
        if file.metadata().with_context(|| shown.clone())?.is_dir() {
            let error = io::Error::from(rustix::io::Errno::ISDIR);
            return Err(anyhow::Error::new(error).context(shown).into());
        }
        return Ok((file.into(), shown));
    }
    if io::stdin().is_terminal() {
        return Err(Failure::usage(
            "a tar is expected on standard input, or its name",
        ));
    }
    let called = "standard input".to_owned();
    let input = io::stdin().as_fd().try_clone_to_owned();
    Ok((input.with_context(|| called.clone())?, called))
}

fn name(text: &str) -> Result<String, String> {
    match check_name(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
