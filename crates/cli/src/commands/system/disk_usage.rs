use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use clap::Args;
use container_api::images::DiskUsageRequest;
use container_resource::size;
use serde::Serialize;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Format, Table};
use crate::select;

/// Bytes of a block that `stat(2)` counts.
const BLOCK: u64 = 512;

/// Show what images, containers and volumes take on the disk
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system df
  container system df --format json | jq .images.reclaimable")]
pub struct DiskUsage {
    #[command(flatten)]
    format: FormatFlags,
}

/// Reference section 2.2.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    images: Usage,
    containers: Usage,
    volumes: Usage,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    total: u64,
    active: u64,
    size_in_bytes: u64,
    reclaimable: u64,
}

impl DiskUsage {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let containers = select::list(&mut context.containers()?, &[]).await?;
        let mut report = Report::default();
        for container in &containers {
            let bytes = allocated(&context.roots.containers().join(&container.id));
            let usage = &mut report.containers;
            usage.total += 1;
            usage.size_in_bytes += bytes;
            if select::is_live(container) {
                usage.active += 1;
            } else {
                usage.reclaimable += bytes;
            }
        }
        let active = containers
            .iter()
            .flat_map(|container| container.configuration.images())
            .map(|image| image.manifest_digest.clone())
            .collect();
        let images = context
            .images()
            .await?
            .disk_usage(DiskUsageRequest { active })
            .await?
            .into_inner();
        report.images = Usage {
            total: images.total,
            active: images.active,
            size_in_bytes: images.size_bytes,
            reclaimable: images.reclaimable_bytes,
        };
        match self.format.format {
            Format::Json => output::write_pretty(&report),
            format => output::write(format, &report, || table(&report)),
        }
    }
}

/// Bytes that the files below `path` take on the disk: sparse files have fewer than they seem to. What vanishes
/// meanwhile takes none.
fn allocated(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    let own = metadata.blocks() * BLOCK;
    if !metadata.is_dir() {
        return own;
    }
    let Ok(entries) = fs::read_dir(path) else {
        return own;
    };
    own + entries
        .flatten()
        .map(|entry| allocated(&entry.path()))
        .sum::<u64>()
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    for (name, usage) in [
        ("Images", &report.images),
        ("Containers", &report.containers),
        ("Local Volumes", &report.volumes),
    ] {
        let share = (usage.reclaimable * 100)
            .checked_div(usage.size_in_bytes)
            .unwrap_or(0);
        table.row([
            name.to_owned(),
            usage.total.to_string(),
            usage.active.to_string(),
            size::disk(usage.size_in_bytes),
            format!("{} ({share}%)", size::disk(usage.reclaimable)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn holes_take_no_space() {
        let scratch = tempfile::tempdir().unwrap();
        let before = allocated(scratch.path());
        let file = fs::File::create(scratch.path().join("sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        fs::write(scratch.path().join("dense"), vec![1; 1 << 20]).unwrap();
        let grown = allocated(scratch.path()) - before;
        assert!((1 << 20..1 << 22).contains(&grown), "{grown}");
        assert_eq!(allocated(&scratch.path().join("absent")), 0);
    }

    #[test]
    fn the_table_is_the_reference_s() {
        let images = Usage {
            total: 2,
            active: 1,
            size_in_bytes: 4000,
            reclaimable: 1000,
        };
        let report = Report {
            images,
            ..Report::default()
        };
        assert_eq!(
            table(&report).render(),
            "TYPE           TOTAL  ACTIVE  SIZE     RECLAIMABLE\n\
             Images         2      1       4 KB     1 KB (25%)\n\
             Containers     0      0       Zero KB  Zero KB (0%)\n\
             Local Volumes  0      0       Zero KB  Zero KB (0%)\n"
        );
    }

    #[test]
    fn json_has_the_reference_s_keys() {
        let usage = json!({"total": 0, "active": 0, "sizeInBytes": 0, "reclaimable": 0});
        let expected = json!({"images": usage, "containers": usage, "volumes": usage});
        assert_eq!(serde_json::to_value(Report::default()).unwrap(), expected);
    }
}
