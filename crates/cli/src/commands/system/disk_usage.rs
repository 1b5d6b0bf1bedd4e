use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use clap::Args;
use container_api::images::{DiskUsageReply, DiskUsageRequest};
use container_resource::container::ContainerState;
use container_resource::size;
use container_resource::template::TemplateResource;
use serde::Serialize;

use crate::commands::{machine, network, volume};
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Format, Table};
use crate::select;

use super::template;
use super::usage_details::Details;

/// Bytes of a block that `stat(2)` counts.
const BLOCK: u64 = 512;

/// Show the disk space of images, containers, volumes, machines, networks and the cache
///
/// Images are counted by their references. An image is active if a container or a machine uses it. RECLAIMABLE is the space that `image
/// prune --all`, `prune`, `volume prune`, `network prune` and `system template prune` would free. The cache holds saved machines, the
/// merged metadata of images, and facts about the host.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system df
  container system df --format json | jq .images.reclaimable")]
pub struct DiskUsage {
    #[command(flatten)]
    format: FormatFlags,

    /// Show each image, container and volume, with the disk space that it takes and its apparent size. Of an image: what other images have,
    /// too (shared), and what would come back without it (unique)
    #[arg(short, long)]
    verbose: bool,
}

/// The shape that Apple's container has.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    images: Usage,
    containers: Usage,
    volumes: Usage,
    /// Apple's tool has none of these.
    machines: Usage,
    networks: Usage,
    cache: Cache,
}

/// What can be made again. Apple's tool has no such thing.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cache {
    #[serde(flatten)]
    usage: Usage,
    templates_in_bytes: u64,
    views_in_bytes: u64,
    probes_in_bytes: u64,
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
        let machines = machine::list(context).await?;
        for machine in &machines {
            let usage = &mut report.machines;
            usage.total += 1;
            usage.size_in_bytes +=
                allocated(&context.roots.containers().join(&machine.container_id));
            usage.active += u64::from(machine.status != ContainerState::Stopped);
        }
        let volumes = volume::list(context, &[]).await?;
        for listed in &volumes {
            let usage = &mut report.volumes;
            usage.total += 1;
            usage.size_in_bytes += listed.allocated_in_bytes;
            if listed.used {
                usage.active += 1;
            } else {
                usage.reclaimable += listed.allocated_in_bytes;
            }
        }
        for network in network::find(context, &[], false).await? {
            let bytes = allocated(&context.roots.network(&network.id));
            let mut attachments = containers
                .iter()
                .flat_map(|container| &container.configuration.networks);
            let usage = &mut report.networks;
            usage.total += 1;
            usage.size_in_bytes += bytes;
            if attachments.any(|attachment| attachment.network == network.id) {
                usage.active += 1;
            } else if !network.is_builtin() {
                usage.reclaimable += bytes;
            }
        }
        let active: Vec<String> = containers
            .iter()
            .flat_map(|container| container.configuration.images())
            .map(|image| image.reference.clone())
            .chain(machines.into_iter().map(|machine| machine.image))
            .collect();
        let images = context
            .images()
            .await?
            .disk_usage(DiskUsageRequest {
                active: active.clone(),
            })
            .await?
            .into_inner();
        let templates = template::list(context).await?;
        report.cache = cache(&images, &templates, allocated(&context.roots.cache()));
        report.images = Usage {
            total: images.total,
            active: images.active,
            size_in_bytes: images.size_bytes,
            reclaimable: images.reclaimable_bytes,
        };
        if self.verbose {
            let details = Details::new(context, &containers, &volumes, &images, &active);
            return match self.format.format {
                Format::Table => output::print(details.tables().as_bytes()),
                Format::Json => output::write_pretty(&details),
                format => output::write(format, &details, || table(&report)),
            };
        }
        match self.format.format {
            Format::Json => output::write_pretty(&report),
            format => output::write(format, &report, || table(&report)),
        }
    }
}

/// `directory` is what the files of the cache directory take: templates, and little else.
fn cache(images: &DiskUsageReply, templates: &[TemplateResource], directory: u64) -> Cache {
    let templates_in_bytes: u64 = templates
        .iter()
        .map(|template| template.size_in_bytes)
        .sum();
    let waiting = templates.iter().filter(|template| template.standby).count();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Cache {
        usage: Usage {
            total: images.views + count(templates.len()),
            active: images.active_views + count(waiting),
            size_in_bytes: images.views_bytes + directory,
            reclaimable: images.reclaimable_views_bytes + templates_in_bytes,
        },
        templates_in_bytes,
        views_in_bytes: images.views_bytes,
        // A template that is being made does not count yet.
        probes_in_bytes: directory.saturating_sub(templates_in_bytes),
    }
}

/// Bytes that the files below `path` seem to have, holes and all.
pub fn apparent(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| apparent(&entry.path())).sum()
}

/// Bytes that the files below `path` take on the disk: sparse files have fewer than they seem to. What vanishes
/// meanwhile takes none.
pub fn allocated(path: &Path) -> u64 {
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
        ("Machines", &report.machines),
        ("Networks", &report.networks),
        ("Cache", &report.cache.usage),
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
             Local Volumes  0      0       Zero KB  Zero KB (0%)\n\
             Machines       0      0       Zero KB  Zero KB (0%)\n\
             Networks       0      0       Zero KB  Zero KB (0%)\n\
             Cache          0      0       Zero KB  Zero KB (0%)\n"
        );
    }

    #[test]
    fn the_cache_is_views_templates_and_the_rest() {
        let images = DiskUsageReply {
            views: 3,
            active_views: 1,
            views_bytes: 30,
            reclaimable_views_bytes: 20,
            ..DiskUsageReply::default()
        };
        let template = |size_in_bytes, standby| TemplateResource {
            size_in_bytes,
            standby,
            ..TemplateResource::default()
        };
        let cache = cache(&images, &[template(100, true), template(200, false)], 301);
        let Usage {
            total,
            active,
            size_in_bytes,
            reclaimable,
        } = cache.usage;
        assert_eq!((total, active), (5, 2));
        assert_eq!((size_in_bytes, reclaimable), (331, 320));
        assert_eq!((cache.views_in_bytes, cache.probes_in_bytes), (30, 1));
    }

    #[test]
    fn json_has_the_reference_s_keys() {
        let usage = json!({"total": 0, "active": 0, "sizeInBytes": 0, "reclaimable": 0});
        let cache = json!({
            "total": 0, "active": 0, "sizeInBytes": 0, "reclaimable": 0,
            "templatesInBytes": 0, "viewsInBytes": 0, "probesInBytes": 0
        });
        let expected = json!({
            "images": usage, "containers": usage, "volumes": usage, "machines": usage, "networks": usage, "cache": cache
        });
        assert_eq!(serde_json::to_value(Report::default()).unwrap(), expected);
    }
}
