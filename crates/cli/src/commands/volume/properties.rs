//! What a new volume is to be like.

use std::collections::BTreeMap;

use clap::Args;
use container_resource::label;
use container_resource::volume::{VolumeRequest, parse_size};

use crate::failure::Failure;

/// Flags of each command that makes a volume.
#[derive(Args, Debug)]
pub struct Properties {
    /// Set a label
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label::parse)]
    labels: Vec<(String, String)>,

    /// Set an option: size=<size>, journal=<ordered|writeback|journal>[:<size>]
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<(String, String)>,

    /// Size with an optional unit (K, M, G, T or P; default: 512G)
    #[arg(short, long, value_name = "SIZE")]
    size: Option<String>,
}

impl Properties {
    /// The volume `name` with these.
    pub fn request(self, name: String) -> Result<VolumeRequest, Failure> {
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
            name,
            labels: self.labels.into_iter().collect(),
            options,
        };
        request.check().map_err(Failure::usage_chain)?;
        Ok(request)
    }
}

fn option(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("<key>=<value> is expected"),
    }
}
