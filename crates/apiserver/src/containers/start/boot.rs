//! What a start needs beside the configuration: `boot.json`, written anew before each.

use container_api::{Error, Kind};
use container_resource::bundle::{self, Boot, Extent, VolumeDisk};
use container_resource::container::ContainerConfiguration;

use crate::containers::entry::Run;
use crate::containers::follow::remove_sockets;
use crate::containers::{Containers, Entry};

impl Containers {
    /// What `boot.json` is to be: the default kernel may be another one by now, and a layer
    /// file that has changed must be checked, and may have to be unpacked again.
    pub(super) async fn renewed_boot(
        &self,
        entry: &Entry,
        requested_us: i64,
        idle: bool,
    ) -> Result<Boot, Error> {
        let path = entry.bundle.boot();
        let mut boot: Boot = bundle::read_json(&path)
            .map_err(|error| Error::caused(Kind::Internal, error).context("read boot.json"))?;
        let mut extents = std::iter::once(&boot.root)
            .chain(&boot.init)
            .flat_map(|root| &root.extents);
        if !extents.all(Extent::is_unchanged) {
            let configuration = entry.configuration()?;
            let roots = self.images.prepare_roots(&configuration, &entry.id).await?;
            (boot.root, boot.init) = (roots.container, roots.init);
        }
        let chosen = entry.configuration()?.kernel.clone();
        let guest = self.guest_files(chosen.as_deref()).await?;
        boot.kernel = guest.kernel;
        boot.initramfs = guest.initramfs;
        boot.has_modules = guest.has_modules;
        boot.requested_us = requested_us;
        boot.idle = idle;
        boot.vmm_confinement = self.vmm_confinement;
        boot.restarts = entry.status.borrow().restart_count;
        let configuration = entry.configuration()?;
        boot.volumes = volume_disks(&configuration);
        boot.interfaces.clear();
        boot.published_ports.clear();
        // A policy that starts it again has none to offer: the last one holds.
        if let (false, Some(agent)) = (idle, entry.offered_agent()) {
            boot.ssh_agent = agent;
        }
        Ok(boot)
    }
}

/// The disks of the volumes of `configuration`. One that cannot be looked at is told of by the helper, which needs it.
fn volume_disks(configuration: &ContainerConfiguration) -> Vec<VolumeDisk> {
    let disk = |name: &str| {
        let mut mounts = configuration.mounts.iter();
        let mount = mounts.find(|mount| mount.volume() == Some(name));
        let found = mount.and_then(|mount| std::fs::metadata(&mount.source).ok());
        VolumeDisk {
            size: found.map_or(0, |found| found.len()),
            read_only: configuration.only_reads(name),
        }
    };
    configuration.volumes().into_iter().map(disk).collect()
}

/// Leaves the bundle of `entry`, whose helper did not start, as it was: sockets would tell that it runs, and its last run
/// ended as it did.
pub fn not_started(entry: &Entry) {
    remove_sockets(entry);
    if let Run::Ended(exit) = &*entry.run.borrow() {
        if let Err(error) = bundle::write_json(&entry.bundle.exit(), exit) {
            tracing::warn!(container = %entry.id, "cannot write exit.json: {error:#}");
        }
    }
}
