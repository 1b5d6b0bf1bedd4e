//! The image of a new container: from the store, or from a registry.

use clap::{Args, ValueEnum};
use container_api::images::{GetReply, GetRequest, PullRequest};
use container_api::{Error, Kind};
use container_resource::image::Descriptor;
use container_resource::label::well_known::PULLED_FROM;

use super::image::transfer::Progress;
use crate::connection::{Context, Images};
use crate::failure::Failure;
use crate::flags::{DownloadFlags, ProgressFlags, SchemeFlags};

/// When an image is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PullPolicy {
    /// Even if it is stored here.
    Always,
    /// Only if it is not stored here.
    #[default]
    Missing,
    /// Never: it must be stored here.
    Never,
}

/// Whether and how the image is fetched.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Image options")]
pub struct FetchFlags {
    /// When to fetch the image from its registry
    #[arg(long, value_name = "POLICY", value_enum, default_value_t)]
    pull: PullPolicy,

    #[command(flatten)]
    scheme: SchemeFlags,
    #[command(flatten)]
    download: DownloadFlags,
    #[command(flatten)]
    progress: ProgressFlags,
}

impl FetchFlags {
    /// Without a policy: an image that is missing is fetched.
    pub fn missing() -> Self {
        Self {
            pull: PullPolicy::Missing,
            scheme: SchemeFlags::default(),
            download: DownloadFlags::default(),
            progress: ProgressFlags::default(),
        }
    }

    /// Where the newest is wanted.
    pub fn always() -> Self {
        Self {
            pull: PullPolicy::Always,
            ..Self::missing()
        }
    }

    /// The image `reference` for `platform` (empty: the host's), fetched where the policy says so.
    pub async fn image(
        &self,
        context: &Context,
        reference: &str,
        platform: String,
    ) -> Result<GetReply, Failure> {
        let found = self.find(context, reference, platform).await?;
        Ok(found.0)
    }

    /// The same, and whether it was fetched now.
    pub async fn find(
        &self,
        context: &Context,
        reference: &str,
        platform: String,
    ) -> Result<(GetReply, bool), Failure> {
        let mut images = context.images().await?;
        let request = GetRequest {
            reference: reference.to_owned(),
            platform,
        };
        let mut missing = None;
        if self.pull != PullPolicy::Always {
            match get(&mut images, &request).await {
                Ok(reply) => return Ok((reply, false)),
                Err(error) if error.kind != Kind::NotFound => return Err(error.into()),
                Err(error) if self.pull == PullPolicy::Never => {
                    let hint = format!("Fetch it with `container image pull {reference}`.");
                    return Err(error.with_hint(hint).into());
                }
                Err(error) => missing = Some(error.message()),
            }
        }
        match (self.fetch(&mut images, &request).await, missing) {
            (Ok(()), _) => Ok((get(&mut images, &request).await?, true)),
            (Err(Failure::Service(error)), Some(missing)) => Err(error.context(missing).into()),
            (Err(failure), _) => Err(failure),
        }
    }

    /// Whether registries are left alone.
    pub fn is_never(&self) -> bool {
        self.pull == PullPolicy::Never
    }

    /// How registries are spoken to.
    pub fn scheme(&self) -> i32 {
        self.scheme.wire()
    }

    async fn fetch(&self, images: &mut Images, image: &GetRequest) -> Result<(), Failure> {
        let request = PullRequest {
            reference: image.reference.clone(),
            platform: image.platform.clone(),
            scheme: self.scheme.wire(),
            max_concurrent_downloads: self.download.max_concurrent_downloads,
        };
        let messages = images.pull(request).await?.into_inner();
        Progress::new(self.progress.style()).show(messages).await?;
        Ok(())
    }
}

/// The name under which `image` was pulled from its registry; `None`: it came in another way.
pub fn pulled_from(image: &GetReply) -> Result<Option<String>, Failure> {
    let descriptor: Descriptor = serde_json::from_slice(&image.descriptor)?;
    let mut annotations = descriptor.annotations.unwrap_or_default();
    Ok(annotations.remove(PULLED_FROM))
}

async fn get(images: &mut Images, request: &GetRequest) -> Result<GetReply, Error> {
    let reply = images.get(request.clone()).await;
    reply.map(tonic::Response::into_inner).map_err(Error::from)
}
