use clap::Args;
use container_api::volume::CreateRequest;
use container_resource::volume::{DRIVER, VolumeResource, check_name};

use super::properties::Properties;
use crate::connection::Context;
use crate::failure::Failure;
use crate::output;

/// Create a volume
///
/// A volume is an ext4 disk. It takes disk space only for the data written to it. Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container volume create data
  container volume create -s 20G --label team=web data
  container volume create --opt size=20G --opt journal=writeback:256M data")]
pub struct Create {
    /// Driver: only `local`, the default
    #[arg(short, long, value_name = "DRIVER", default_value = DRIVER, hide_default_value = true, value_parser = [DRIVER])]
    driver: String,

    #[command(flatten)]
    properties: Properties,

    /// Name (default: a new UUID, as for an anonymous volume)
    #[arg(value_name = "NAME", default_value = "", hide_default_value = true, value_parser = name)]
    name: String,
}

impl Create {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = self.properties.request(self.name)?;
        let request = CreateRequest {
            request: serde_json::to_vec(&request)?.into(),
        };
        let reply = context.volumes()?.create(request).await?.into_inner();
        let volume: VolumeResource = serde_json::from_slice(&reply.volume)?;
        output::write_lines([volume.id])
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    check_name(text)
        .map(|()| text.to_owned())
        .map_err(|error| error.to_string())
}
