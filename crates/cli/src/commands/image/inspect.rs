use clap::Args;
use container_api::images::GetRequest;
use container_api::{Error, Kind};
use container_resource::image::ImageResource;
use container_resource::platform::ANY;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Show everything about images, as JSON
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image inspect busybox")]
pub struct Inspect {
    /// Images
    #[arg(value_name = "IMAGE", required = true, add = completion::images())]
    references: Vec<String>,
}

impl Inspect {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut client = context.images().await?;
        let mut images: Vec<ImageResource> = Vec::with_capacity(self.references.len());
        let mut missing: Vec<&str> = Vec::new();
        for reference in &self.references {
            let request = GetRequest {
                reference: reference.clone(),
                platform: ANY.to_owned(),
            };
            match client.get(request).await.map_err(Error::from) {
                Ok(reply) => images.push(serde_json::from_slice(&reply.into_inner().image)?),
                Err(error) if error.kind == Kind::NotFound => missing.push(reference),
                Err(error) => return Err(error.into()),
            }
        }
        if missing.is_empty() {
            return output::write_pretty(&images);
        }
        let message = format!("image not found: {}", missing.join(", "));
        Err(Failure::Service(Error::new(Kind::NotFound, message)))
    }
}
