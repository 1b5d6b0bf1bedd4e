use clap::Args;
use container_resource::image::ImageResource;
use container_resource::size;

use super::{all, default_domain, short, short_name};
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// Digits of a digest that are shown.
const DIGEST_DIGITS: usize = 24;

/// List images
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container image list
  container image list --verbose
  container image list --format json")]
pub struct List {
    #[command(flatten)]
    format: FormatFlags,

    /// References only
    #[arg(short, long)]
    quiet: bool,

    /// A line for each platform, with more columns
    #[arg(short, long)]
    verbose: bool,
}

impl List {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        if self.quiet && self.verbose {
            return Err(Failure::usage("--quiet and --verbose conflict"));
        }
        let images = all(context).await?;
        let domain = default_domain(context)?;
        if self.quiet {
            return output::write_lines(images.iter().map(|image| short_name(image, &domain)));
        }
        output::write(self.format.format, &images, || {
            if self.verbose {
                verbose(&images, &domain)
            } else {
                table(&images, &domain)
            }
        })
    }
}

fn table(images: &[ImageResource], default_domain: &str) -> Table {
    let mut table = Table::new(["NAME", "TAG", "DIGEST"]);
    for image in images {
        let (name, tag) = short(&image.configuration.name, default_domain);
        table.row([
            name,
            tag,
            abbreviated(&image.configuration.descriptor.digest),
        ]);
    }
    table
}

fn verbose(images: &[ImageResource], default_domain: &str) -> Table {
    let mut table = Table::new([
        "NAME",
        "TAG",
        "INDEX DIGEST",
        "OS",
        "ARCH",
        "VARIANT",
        "FULL SIZE",
        "CREATED",
        "MANIFEST DIGEST",
    ]);
    for image in images {
        let (name, tag) = short(&image.configuration.name, default_domain);
        for variant in &image.variants {
            table.row([
                name.clone(),
                tag.clone(),
                abbreviated(&image.configuration.descriptor.digest),
                variant.platform.os.clone(),
                variant.platform.architecture.clone(),
                variant.platform.variant.clone().unwrap_or_default(),
                size::disk(variant.size),
                image.configuration.creation_date.to_string(),
                abbreviated(&variant.digest),
            ]);
        }
    }
    table
}

/// The beginning of a digest's digits.
fn abbreviated(digest: &str) -> String {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    match digits.get(..DIGEST_DIGITS) {
        Some(start) if digits.len() > DIGEST_DIGITS => format!("{start}..."),
        _ => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image() -> ImageResource {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let literal = json!({
            "id": "0123456789abcdef".repeat(4),
            "configuration": {
                "creationDate": "2026-01-02T03:04:05Z",
                "name": "docker.io/library/busybox:latest",
                "descriptor": {
                    "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": 7
                }
            },
            "variants": [{
                "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
                "digest": digest, "size": 1_900_000, "config": {"os": "linux"}
            }]
        });
        serde_json::from_value(literal).unwrap()
    }

    #[test]
    fn tables_are_the_reference_s() {
        assert_eq!(
            table(&[image()], "docker.io").render(),
            "NAME     TAG     DIGEST\n\
             busybox  latest  0123456789abcdef01234567...\n"
        );
        let text = verbose(&[image()], "docker.io").render();
        let (header, row) = text.split_once('\n').unwrap();
        assert!(header.starts_with("NAME     TAG     INDEX DIGEST"));
        assert!(header.ends_with("FULL SIZE  CREATED               MANIFEST DIGEST"));
        assert!(row.contains("linux  arm64  v8       1.9 MB     2026-01-02T03:04:05Z  "));
    }
}
