//! The common part of `run` and `create`: from the words of the command line to a created container.

use anyhow::Context as _;
use clap::Args;
use container_api::api::{CreateRequest, DeleteRequest};
use container_api::images::GetReply;
use container_resource::container::{ContainerConfiguration, CreateOptions, ImageDescription};
use container_resource::image::ImageResource;
use container_resource::image_settings::ImageSettings;
use container_resource::platform::Platform;
use jiff::Timestamp;

use super::fetch::FetchFlags;
use crate::completion;
use crate::configuration;
use crate::connection::{Containers, Context};
use crate::failure::Failure;
use crate::flags::{HealthFlags, ManagementFlags, NetworkFlags, ProcessFlags, ResourceFlags};
use crate::output;

/// The flags of `run` and `create`.
#[derive(Args, Debug)]
pub struct CreationFlags {
    #[command(flatten)]
    pub process: ProcessFlags,
    #[command(flatten)]
    resources: ResourceFlags,
    #[command(flatten)]
    pub management: ManagementFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    health: HealthFlags,
    #[command(flatten)]
    fetch: FetchFlags,
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

/// A container that could be created.
#[derive(Debug)]
pub struct Prepared {
    configuration: ContainerConfiguration,
    options: CreateOptions,
}

impl CreationFlags {
    /// What the flags and the image make of a new container.
    pub async fn prepare(
        &self,
        context: &Context,
        words: &ImageWords,
    ) -> Result<Prepared, Failure> {
        let process = self.process.options()?;
        let health = self.health.options()?;
        let connectivity = self.network.connectivity()?;
        let published_sockets = self.network.published_sockets()?;
        let labels = self.management.labels()?;
        self.management.check()?;
        let settings = configuration::settings(&context.roots)?;
        let requested = self.management.platform.requested();
        let image = self
            .fetch
            .image(context, words.image(), requested.clone())
            .await?;
        context.debug(|| {
            format!(
                "image {} is manifest {}",
                image.reference, image.manifest_digest
            )
        });
        let init_image = match self.management.init_image(&settings.vminit) {
            Some(reference) => Some(self.init_image(context, reference).await?),
            None => None,
        };
        let platform = platform_of(&image, &requested)?;
        let mut creation = self.management.creation(
            process,
            &self.resources,
            &settings.container,
            describe(&image)?,
            platform,
            words.arguments(),
        )?;
        creation.health = health;
        creation.connectivity = connectivity;
        if let Some(dns) = &mut creation.connectivity.dns {
            dns.domain = dns.domain.take().or(settings.dns.domain);
        }
        creation.published_sockets = published_sockets;
        creation.init_image = init_image;
        creation.labels = labels;
        let image = ImageSettings::parse(&image.config)
            .with_context(|| format!("image {}", words.image()))?;
        let configuration = creation
            .configuration(&image, Timestamp::now())
            .map_err(Failure::usage_chain)?;
        let options = CreateOptions {
            auto_remove: self.management.remove,
            no_template: self.management.no_template || settings.container.template == Some(false),
            open_stdin: self.process.interactive,
        };
        Ok(Prepared {
            configuration,
            options,
        })
    }

    /// The image that the guest boots from: its architecture is the machine's, whatever the container's is.
    async fn init_image(
        &self,
        context: &Context,
        reference: &str,
    ) -> Result<ImageDescription, Failure> {
        let found = self.fetch.image(context, reference, String::new()).await;
        describe(&found.map_err(|failure| match failure {
            Failure::Service(error) => error.context("init image").into(),
            other => other,
        })?)
    }
}

/// What the image was built for: its configuration may not say, and its index may name it for several platforms.
pub fn platform_of(image: &GetReply, requested: &str) -> Result<Platform, Failure> {
    let wanted = requested.parse().unwrap_or_else(|_| Platform::host());
    let resource: ImageResource = serde_json::from_slice(&image.image)?;
    let platforms = resource
        .variants
        .into_iter()
        .filter(|variant| variant.digest == image.manifest_digest)
        .map(|variant| variant.platform);
    let nearest = platforms.min_by_key(|platform| platform.distance(&wanted).unwrap_or(u32::MAX));
    Ok(nearest.unwrap_or(wanted))
}

/// The image of a new container, as that keeps it.
pub fn describe(image: &GetReply) -> Result<ImageDescription, Failure> {
    Ok(ImageDescription {
        reference: image.reference.clone(),
        descriptor: serde_json::from_slice(&image.descriptor)?,
        manifest_digest: image.manifest_digest.clone(),
    })
}

impl Prepared {
    /// The container's id.
    pub fn id(&self) -> &str {
        &self.configuration.id
    }

    /// Creates the container.
    pub async fn create(&self, containers: &mut Containers) -> Result<(), Failure> {
        let request = CreateRequest {
            configuration: serde_json::to_vec(&self.configuration)?.into(),
            options: serde_json::to_vec(&self.options)?.into(),
        };
        let reply = containers.create(request).await?.into_inner();
        for volume in reply.created_volumes {
            output::tell(format_args!("Created volume {volume}, which did not exist"));
        }
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
            volumes: true,
        })
        .await;
}
