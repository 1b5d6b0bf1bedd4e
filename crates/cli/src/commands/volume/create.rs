use std::collections::BTreeMap;

use clap::Args;
use container_api::volume::CreateRequest;
use container_resource::label;
use container_resource::volume::{DRIVER, VolumeRequest, VolumeResource, check_name, parse_size};

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

    /// Set a label
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label::parse)]
    labels: Vec<(String, String)>,

    /// Set an option: size=<size>, journal=<ordered|writeback|journal>[:<size>]
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<(String, String)>,

    /// Size with an optional unit (K, M, G, T or P; default: 512G)
    #[arg(short, long, value_name = "SIZE")]
    size: Option<String>,

    /// Name (default: a new UUID, as for an anonymous volume)
    #[arg(value_name = "NAME", default_value = "", hide_default_value = true, value_parser = name)]
    name: String,
}

impl Create {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let mut options: BTreeMap<_, _> = self.options.into_iter().collect();
        if let Some(size) = self.size {
            let other = options.insert("size".to_owned(), size.clone());
            if other.is_some_and(|other| parse_size(&other) != parse_size(&size)) {
                return Err(Failure::usage(
                    "conflicting options: --size and --opt size=",
                ));
            }
        }
        let request = VolumeRequest {
            name: self.name,
            labels: self.labels.into_iter().collect(),
            options,
        };
        request.check().map_err(Failure::usage_chain)?;
        let request = CreateRequest {
            request: serde_json::to_vec(&request)?.into(),
        };
        let reply = context.volumes()?.create(request).await?.into_inner();
        let volume: VolumeResource = serde_json::from_slice(&reply.volume)?;
        output::write_lines([volume.id])
    }
}

fn option(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("<key>=<value> is expected"),
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
