use std::os::fd::AsFd as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use container_api::images::{self, SaveRequest};

use crate::completion;
use crate::connection::{Context, Images};
use crate::failure::Failure;
use crate::flags::PlatformFlags;
use crate::output;
use crate::output_file::OutputFile;

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
/// The archive is a tar. Prints the references (on standard error if the archive goes to standard output).
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image save -o busybox.tar busybox
  container image save busybox | ssh host container image load")]
pub struct Save {
    /// File to write, which appears only when it is complete, or a named pipe (default: standard output)
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// Format of the archive
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
        let named = self.output.as_ref();
        let Some(path) = named.filter(|path| !OutputFile::is_standard_output(path)) else {
            let out = output::for_bytes("an archive is not written to a terminal: use --output")?;
            let token = context.hand_to_images(out.as_fd()).await?;
            for reference in self.save(images, token).await? {
                output::tell(reference);
            }
            return Ok(());
        };
        let file = OutputFile::open(path)?;
        let token = context.hand_to_images(file.as_fd()).await?;
        let references = self.save(images, token).await?;
        file.keep()?;
        output::write_lines(references)
    }

    async fn save(&self, mut images: Images, token: String) -> Result<Vec<String>, Failure> {
        let format = match self.format {
            ArchiveFormat::Oci => images::ArchiveFormat::Oci,
            ArchiveFormat::Docker => images::ArchiveFormat::Docker,
        };
        let request = SaveRequest {
            references: self.references.clone(),
            platform: self.platform.requested(),
            token,
            format: format.into(),
        };
        Ok(images.save(request).await?.into_inner().references)
    }
}
