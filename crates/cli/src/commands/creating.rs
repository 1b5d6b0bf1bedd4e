//! What `run` and `create` have in common: from words to a created container.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use container_api::api::{CreateRequest, DeleteRequest};
use container_api::images::{GetReply, GetRequest};
use container_api::{Error, Kind};
use container_resource::container::{ContainerConfiguration, CreateOptions, ImageDescription};
use container_resource::image_settings::ImageSettings;
use container_resource::settings::Settings;
use jiff::Timestamp;

use crate::completion;
use crate::connection::{Containers, Context};
use crate::failure::Failure;
use crate::flags::{ManagementFlags, ProcessFlags, ResourceFlags};

/// The flags of `run` and `create`.
#[derive(Args, Debug)]
pub struct CreationFlags {
    #[command(flatten)]
    pub process: ProcessFlags,
    #[command(flatten)]
    resources: ResourceFlags,
    #[command(flatten)]
    pub management: ManagementFlags,
}

/// An image, and what to run in it. Whatever follows the image belongs to the container.
#[derive(Args, Debug)]
pub struct ImageWords {
    /// Image, and the command and arguments to run instead of the image's own
    #[arg(help_heading = "Arguments", value_name = "IMAGE [ARGUMENT]", required = true, num_args = 1.., trailing_var_arg = true,
          add = completion::images())]
    words: Vec<String>,
}

impl ImageWords {
    /// The image's reference.
    pub fn image(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The words after the image.
    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

impl CreationFlags {
    /// The configuration of a new container.
    pub async fn configuration(
        &self,
        context: &Context,
        words: &ImageWords,
    ) -> Result<ContainerConfiguration, Failure> {
        let process = self.process.options()?;
        let roots = &context.roots;
        let settings = Settings::load(&roots.app, &roots.install).map_err(anyhow::Error::new)?;
        let image = self.image(context, words.image()).await?;
        context.debug(|| {
            format!(
                "image {} is manifest {}",
                image.reference, image.manifest_digest
            )
        });
        let description = ImageDescription {
            reference: image.reference,
            descriptor: serde_json::from_slice(&image.descriptor)?,
            manifest_digest: image.manifest_digest,
        };
        // An image's configuration names its platform, as a descriptor does.
        let platform = serde_json::from_slice(&image.config)?;
        let creation = self.management.creation(
            process,
            &self.resources,
            &settings.container,
            description,
            platform,
            words.arguments(),
        )?;
        let image = ImageSettings::parse(&image.config)
            .with_context(|| format!("image {}", words.image()))?;
        creation
            .configuration(&image, Timestamp::now())
            .map_err(Failure::usage_chain)
    }

    async fn image(&self, context: &Context, reference: &str) -> Result<GetReply, Failure> {
        let platform = self.management.platform.requested();
        let request = GetRequest {
            reference: reference.to_owned(),
            platform,
        };
        let reply = context.images().await?.get(request).await;
        reply.map(tonic::Response::into_inner).map_err(|status| {
            let error = Error::from(status);
            let error = match (error.kind, &error.hint) {
                (Kind::NotFound, None) => error.with_hint(format!(
                    "Fetch it with `container image pull {reference}`, or load an archive with \
                     `container image load`."
                )),
                _ => error,
            };
            Failure::Service(error)
        })
    }

    /// Creates the container that `configuration` describes.
    pub async fn create(
        &self,
        containers: &mut Containers,
        configuration: &ContainerConfiguration,
    ) -> Result<(), Failure> {
        let options = CreateOptions {
            auto_remove: self.management.remove,
            no_template: self.management.no_template,
        };
        let request = CreateRequest {
            configuration: serde_json::to_vec(configuration)?.into(),
            options: serde_json::to_vec(&options)?.into(),
        };
        containers.create(request).await?;
        Ok(())
    }
}

/// Takes back what was created when it could not be started, so that its name can be used again.
pub async fn take_back(containers: &mut Containers, id: &str) {
    // The failure that led here is the one to tell. The container may be gone already (--rm).
    let _ = containers
        .delete(DeleteRequest {
            id: id.to_owned(),
            force: true,
        })
        .await;
}

/// The file of `--cidfile`: reserved before the container is made, removed again unless it was.
#[derive(Debug)]
pub struct IdFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl IdFile {
    /// Creates the file, which must not exist. Nothing, where none is wanted.
    pub fn reserve(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .with_context(|| format!("id file {}", path.display()))?;
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            kept: false,
        }))
    }

    /// Writes the id, without a newline.
    pub fn keep(file: Option<Self>, id: &str) -> Result<(), Failure> {
        let Some(mut file) = file else { return Ok(()) };
        let written = file.file.write_all(id.as_bytes());
        written.with_context(|| format!("id file {}", file.path.display()))?;
        file.kept = true;
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.kept {
            // Whatever failed before is told; an empty file that stays is refused the next time.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_file_appears_with_the_container_only() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("id");
        drop(IdFile::reserve(Some(&path)).unwrap());
        assert!(!path.exists());
        let file = IdFile::reserve(Some(&path)).unwrap();
        assert!(IdFile::reserve(Some(&path)).is_err());
        IdFile::keep(file, "abc").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
        assert!(IdFile::reserve(Some(&path)).is_err());
    }
}
