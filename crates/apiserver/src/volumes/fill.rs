//! New volumes that a container only reads: filled from its image before.
//!
//! A machine that may not write to a disk cannot fill it, and one that may has it alone, while many may read it. So another machine with the same
//! image fills it, once: a disk that was ever mounted to be written to stays as it is.

use std::path::Path;

use container_api::{Error, Kind};
use container_resource::bundle::Boot;
use container_resource::container::{ContainerConfiguration, CreateOptions, Mount};
use container_resource::volume::NO_COPY;

use super::lock::{Company, Patience};
use crate::containers::{Containers, Entry};

impl Containers {
    /// Has the new volumes filled that the container `entry`, which is to be started as `boot` says, only reads. Gives what its user has to
    /// know: one that others have is not filled.
    ///
    /// # Errors
    /// When the machine that does it fails.
    pub(crate) async fn fill_new_volumes(
        &self,
        entry: &Entry,
        boot: &Boot,
    ) -> Result<Vec<String>, Error> {
        let configuration = entry.configuration()?;
        let mut warnings = Vec::new();
        for name in to_fill(&configuration) {
            // A machine that fills writes to the volume, so its own start does not come here.
            let _replay = self.volumes.replay.lock().await;
            let mounts = filled_at(&configuration, name);
            if mounts.is_empty() {
                // Another container had that done meanwhile.
                continue;
            }
            let mut not_filled = |error: Error| {
                tracing::info!("{error:#}");
                let holder = self.active_user_of(name, &entry.id);
                warnings.push(not_filled(name, holder.as_deref()));
            };
            match self
                .volumes
                .lock(name, Company::None, Patience::Usual)
                .await
            {
                Err(error) if error.kind == Kind::InvalidState => {
                    not_filled(error);
                    continue;
                }
                free => drop(free?),
            }
            tracing::info!("volume {name} is new: it is filled from the image");
            let options = CreateOptions {
                no_template: entry.options.no_template,
                ..CreateOptions::default()
            };
            let transient = self.make_transient(options, |_| {
                let configuration = ContainerConfiguration {
                    mounts,
                    networks: Vec::new(),
                    published_ports: Vec::new(),
                    ..(*configuration).clone()
                };
                let boot = Boot {
                    fills: true,
                    ..boot.clone()
                };
                Ok((configuration, boot))
            })?;
            let done = self.run_nothing(&transient).await;
            self.remove_transient(transient.bundle().directory());
            match done {
                Err(error) if error.kind == Kind::InvalidState => not_filled(error),
                Err(error) => return Err(error.context(format_args!("fill the volume {name}"))),
                Ok(()) => {}
            }
        }
        Ok(warnings)
    }
}

/// Who reads a disk has one that does not change: so it cannot be filled while another one, the container `holder` perhaps, has it.
fn not_filled(name: &str, holder: Option<&str>) -> String {
    let holder = holder.map_or_else(
        || "another machine".to_owned(),
        |holder| format!("container {holder}"),
    );
    format!(
        "volume {name} is new, and is not filled from the image, as {holder} has it: it is at the first start that has it alone"
    )
}

/// Names of the volumes of `configuration` that are only read, to be filled, and new.
fn to_fill(configuration: &ContainerConfiguration) -> Vec<&str> {
    let names = configuration.volumes().into_iter();
    names
        .filter(|name| !filled_at(configuration, name).is_empty())
        .collect()
}

/// The mounts of `name` in `configuration` from whose places it is filled, made to be written to; none where it is not to be filled.
fn filled_at(configuration: &ContainerConfiguration, name: &str) -> Vec<Mount> {
    if !configuration.only_reads(name) {
        return Vec::new();
    }
    let mounts = configuration.mounts.iter();
    let fills = |mount: &&Mount| {
        mount.volume() == Some(name)
            && mount.subpath().is_none()
            && !mount.options.iter().any(|option| option == NO_COPY)
            // One that cannot be read is told of by who needs it.
            && container_ext4::is_unused(Path::new(&mount.source)).unwrap_or(false)
    };
    let written = |mount: &Mount| Mount {
        // The last word holds.
        options: mount
            .options
            .iter()
            .cloned()
            .chain(["rw".to_owned()])
            .collect(),
        ..mount.clone()
    };
    mounts.filter(fills).map(written).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use container_ext4::Format;
    use container_resource::volume;

    use super::*;

    #[test]
    fn new_volumes_that_are_only_read_are_filled() {
        let scratch = tempfile::tempdir().unwrap();
        let disk = scratch.path().join("volume.img");
        let format = Format {
            size: 16 << 20,
            ..Format::default()
        };
        container_ext4::make(&disk, &format).unwrap();
        let filled = |mounts: &[&str]| {
            let mut configuration = ContainerConfiguration::default();
            for text in mounts {
                let mut mount = volume::parse(text).unwrap();
                mount.source = disk.display().to_string();
                configuration.mounts.push(mount);
            }
            let names = to_fill(&configuration).into_iter();
            let mounts = names.flat_map(|name| filled_at(&configuration, name));
            let shown = mounts.map(|mount| {
                assert!(!mount.is_read_only());
                mount.destination
            });
            shown.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(filled(&["a:/x:ro", "a:/y:ro,nocopy", "b:/z:ro"]), "/x /z");
        // Who writes to it fills it.
        assert_eq!(filled(&["a:/x:ro", "a:/y", "b:/z"]), "");
        // `s_mnt_count`, which the kernel counts up when it may write.
        let mut written = std::fs::File::options().write(true).open(&disk).unwrap();
        std::io::Seek::seek(&mut written, std::io::SeekFrom::Start(1024 + 0x34)).unwrap();
        written.write_all(&[1]).unwrap();
        assert_eq!(filled(&["a:/x:ro"]), "");
    }
}
