use std::fs::{self, File};
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use container_api::images::SaveRequest;

use crate::completion;
use crate::connection::{Context, Images};
use crate::failure::Failure;
use crate::flags::PlatformFlags;
use crate::output;

/// What an archive looks like inside.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ArchiveFormat {
    /// OCI image layout.
    #[default]
    Oci,
    /// As `docker save`.
    Docker,
}

/// Save images to an archive
///
/// A tar, to a file or to standard output. Prints the references (on standard error if the archive is on
/// standard output).
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image save -o busybox.tar busybox
  container image save busybox | ssh host container image load")]
pub struct Save {
    /// File to write; it appears only when it is complete (default: standard output)
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// What the archive looks like inside
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: ArchiveFormat,

    #[command(flatten)]
    platform: PlatformFlags,

    /// Images
    #[arg(value_name = "IMAGE", required = true, add = completion::images())]
    references: Vec<String>,
}

impl Save {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let images = context.images().await?;
        let Some(path) = &self.output else {
            if io::stdout().is_terminal() {
                return Err(Failure::usage(
                    "an archive is not written to a terminal: use --output",
                ));
            }
            let token = context.hand_to_images(io::stdout().as_fd()).await?;
            for reference in self.save(images, token).await? {
                output::tell(reference);
            }
            return Ok(());
        };
        let temporary = Temporary::create(path)?;
        let token = context.hand_to_images(temporary.file.as_fd()).await?;
        let references = self.save(images, token).await?;
        temporary.keep(path)?;
        output::write_lines(references)
    }

    async fn save(&self, mut images: Images, token: String) -> Result<Vec<String>, Failure> {
        let format = match self.format {
            ArchiveFormat::Oci => "oci",
            ArchiveFormat::Docker => "docker",
        };
        let request = SaveRequest {
            references: self.references.clone(),
            platform: self.platform.requested(),
            token,
            format: format.to_owned(),
        };
        Ok(images.save(request).await?.into_inner().references)
    }
}

/// A file that is removed again unless it is kept.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(target: &Path) -> Result<Self, Failure> {
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let path = PathBuf::from(name);
        let file = File::options().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, file })
    }

    fn keep(self, target: &Path) -> Result<(), Failure> {
        let renamed = self
            .file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, target));
        Ok(renamed.with_context(|| format!("write {}", target.display()))?)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already when it was kept.
        let _ = fs::remove_file(&self.path);
    }
}
