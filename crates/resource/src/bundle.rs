//! A container's directory: one file per fact, each readable with `cat`.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use container_files::Links;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::container::{Attachment, PublishPort};
use crate::settings::VmmConfinement;
use crate::stamp::Stamp;

/// The largest JSON file read from a bundle, in bytes.
const JSON_LIMIT: u64 = 8 << 20;

/// A bundle directory. Nothing is checked or created by naming it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    directory: PathBuf,
}

impl Bundle {
    /// The bundle at `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// [`crate::container::ContainerConfiguration`]. Written last at creation: a bundle without it is not one.
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("config.json")
    }

    /// There as long as the container is being made: a bundle that has it is not one, whatever else it has.
    pub fn unfinished(&self) -> PathBuf {
        self.directory.join("unfinished")
    }

    /// [`crate::container::CreateOptions`].
    pub fn options(&self) -> PathBuf {
        self.directory.join("options.json")
    }

    /// OCI runtime specification that the guest carries out; absent: it is made of [`Self::configuration`].
    pub fn runtime_spec(&self) -> PathBuf {
        self.directory.join("oci.json")
    }

    /// [`Boot`], written before each start.
    pub fn boot(&self) -> PathBuf {
        self.directory.join("boot.json")
    }

    /// [`Exit`], written when the container has ended, removed when it is started.
    pub fn exit(&self) -> PathBuf {
        self.directory.join("exit.json")
    }

    /// [`Timeline`] of the last start.
    pub fn timeline(&self) -> PathBuf {
        self.directory.join("timeline.json")
    }

    /// The writable layer: an ext4 disk, sparse.
    pub fn upper(&self) -> PathBuf {
        self.directory.join("upper.ext4")
    }

    /// Output of the first process, in the format of [`crate::log`].
    pub fn stdio_log(&self) -> PathBuf {
        self.directory.join("stdio.log")
    }

    /// Console of the guest.
    pub fn boot_log(&self) -> PathBuf {
        self.directory.join("boot.log")
    }

    /// Messages of the runtime helper.
    pub fn runtime_log(&self) -> PathBuf {
        self.directory.join("runtime.log")
    }

    /// Held by the runtime helper as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.directory.join("runtime.lock")
    }

    /// Where the runtime helper serves.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("runtime.sock")
    }

    /// A link to the SSH agent of the client that was last heard of, for a machine: it outlives many of them.
    pub fn ssh_agent(&self) -> PathBuf {
        self.directory.join("ssh-agent")
    }

    /// Where the runtime helper is handed descriptors.
    pub fn descriptors(&self) -> PathBuf {
        self.directory.join("descriptors.sock")
    }
}

/// What a start needs beside the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// Guest kernel.
    pub kernel: PathBuf,
    /// Initramfs with vminitd, for a machine without [`Self::init`].
    pub initramfs: PathBuf,
    /// Whether the initramfs holds modules of the kernel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_modules: bool,
    /// The image's root, composed of runs of files.
    pub root: RootDisk,
    /// The init image's root: the guest boots from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<RootDisk>,
    /// Where shared, remakeable files are kept: empty uppers, templates, the accelerator's probe.
    pub cache: PathBuf,
    /// Microseconds since the epoch when the apiserver took the request to start.
    pub requested_us: i64,
    /// How many times in a row its policy has started the container.
    #[serde(default)]
    pub restarts: u32,
    /// Whether the machine's VMM must be confined.
    #[serde(default)]
    pub vmm_confinement: VmmConfinement,
    /// Only the container's files are needed: none of its processes runs, and this is not recorded as a run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idle: bool,
    /// Its volumes are filled from the image all the same, where they are empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fills: bool,
    /// Network interfaces of this run, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Ports of the host that lead to this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published_ports: Vec<PublishPort>,
    /// Socket of the SSH agent that a client had when it last started the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_agent: Option<PathBuf>,
    /// The disks of its volumes, in the order of their numbers: what a machine that is prepared for such a container has to have, when these
    /// volumes themselves may be gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeDisk>,
}

/// What the disk of a volume looks like to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeDisk {
    /// Bytes.
    pub size: u64,
    /// The machine may not write to it.
    pub read_only: bool,
}

/// A network interface of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// The network that it is on.
    pub network: String,
    /// The container's name there.
    pub hostname: String,
    /// MAC address of the machine's device.
    pub device_mac: String,
    /// Its device is saved with a template. At most one of a container's is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_saved: bool,
    /// The container's own.
    pub mac: String,
    /// Bytes of a packet.
    pub mtu: u32,
    /// With the length of the network's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<String>,
    /// Where packets leave the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_gateway: Option<String>,
    /// With the length of the network's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
    /// Where packets leave the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<String>,
    /// What is for elsewhere leaves here.
    #[serde(default)]
    pub default_route: bool,
    /// Who answers questions for names.
    #[serde(default)]
    pub resolvers: Vec<String>,
    /// Nothing leaves its network: those who answer there know its containers alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_internal: bool,
    /// Addresses under which the host is reached.
    #[serde(default)]
    pub host_addresses: Vec<IpAddr>,
}

impl Interface {
    /// MAC address of the device that is saved with a template. Nothing is sent by it, as the guest gives the interface its container's own.
    const SAVED_DEVICE_MAC: &str = "02:00:00:00:00:01";

    /// Gives it the device that is saved with a template.
    pub fn save(&mut self) {
        Self::SAVED_DEVICE_MAC.clone_into(&mut self.device_mac);
        self.is_saved = true;
    }

    /// Gives the first of a container's `interfaces`, whose machine may come from a template, the device that is saved with it, unless another one
    /// has its address.
    pub fn save_first(interfaces: &mut [Self]) {
        let Some((first, others)) = interfaces.split_first_mut() else {
            return;
        };
        if others
            .iter()
            .all(|other| other.device_mac != Self::SAVED_DEVICE_MAC)
        {
            first.save();
        }
    }

    /// As `list` and `inspect` show it.
    pub fn attachment(&self) -> Attachment {
        Attachment {
            network: self.network.clone(),
            hostname: self.hostname.clone(),
            ipv4_address: self.ipv4_address.clone().unwrap_or_default(),
            ipv4_gateway: self.ipv4_gateway.clone().unwrap_or_default(),
            ipv6_address: self.ipv6_address.clone(),
            mac_address: Some(self.mac.clone()),
            mtu: Some(self.mtu),
        }
    }
}

/// A read-only disk composed of runs of files, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootDisk {
    /// The runs.
    pub extents: Vec<Extent>,
    /// Bytes of the whole.
    pub size: u64,
}

/// A run of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// File.
    pub path: PathBuf,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What the file had when it was found to be what was written; of a file that is looked at each time, none.
    #[serde(default)]
    pub stamp: Stamp,
}

impl Extent {
    /// Whether its file is still the one that was found to be what was written: one `stat`.
    pub fn is_unchanged(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|found| Stamp::of(&found) == self.stamp)
    }
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Exit status of the first process, or 128 + signal; 255 when it is not known.
    pub exit_code: i32,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    pub exited: Timestamp,
    /// Why, where that was not its own process's exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The guest's kernel killed one of its processes for lack of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// Somebody asked for it: a policy `unless-stopped` rests until it is started by hand.
    #[serde(default)]
    pub by_hand: bool,
    /// It ended because the system did: a machine comes back with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_system: bool,
}

/// The phases of a start, in order, each with the moment it was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Phases.
    pub phases: Vec<Phase>,
}

/// One phase of a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// What was reached.
    pub name: String,
    /// Microseconds since the epoch, by the host's clock.
    pub at_us: i64,
}

impl Timeline {
    /// Adds `name`, reached at `at_us` microseconds since the epoch.
    pub fn reached_at(&mut self, name: impl Into<String>, at_us: i64) {
        self.phases.push(Phase {
            name: name.into(),
            at_us,
        });
    }

    /// Adds `name`, reached now.
    pub fn reached(&mut self, name: impl Into<String>) {
        self.reached_at(name, Timestamp::now().as_microsecond());
    }
}

/// Reads a JSON file of at most 8 MiB. Whatever is in its place, nothing is waited for.
///
/// # Errors
/// As `open(2)`; [`io::ErrorKind::InvalidData`] when it is no regular file, is too large or does not parse.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let text = container_files::read(path, JSON_LIMIT, Links::Refuse)?;
    serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes `value` so that the file is whole, old or new, whatever happens: temporary file, fsync, rename.
///
/// # Errors
/// As `write(2)` and `rename(2)`; nothing is left behind then.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    write_file(path, &text)
}

/// As [`write_json`], for bytes.
///
/// # Errors
/// As [`write_json`].
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = parent.join(temporary);
    let written = container_files::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell; what is left of the file is of no use.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_whole_or_absent() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("e.json");
        let exit = Exit {
            exit_code: 3,
            started: None,
            exited: Timestamp::UNIX_EPOCH,
            reason: None,
            oom_killed: false,
            by_hand: false,
            with_system: false,
        };
        write_json(&path, &exit).unwrap();
        assert_eq!(read_json::<Exit>(&path).unwrap(), exit);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
        std::fs::write(&path, b"{\"exitCode\": 3").unwrap();
        assert_eq!(
            read_json::<Exit>(&path).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
