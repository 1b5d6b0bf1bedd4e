//! A rehearsal: a machine that waits for its container runs one of ours before, from its root to its end.
//!
//! What a start does for the first time is slow: an emulator translates it, a kernel allocates for it, a helper faults its
//! own pages in. The container of a rehearsal has nothing of anybody's image, so nothing can be handed on from it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use container_api::guest::ResetRequest;
use container_api::guest_channel::Guest;
use container_api::{Error, Kind};
use container_engine::{DiskRole, Extent, VmSpec};
use container_ext4::Format;
use container_resource::bundle::{Interface, VolumeDisk};
use container_resource::container::{
    CacheMode, ContainerConfiguration, Mount, MountKind, ProcessConfiguration, SyncMode, User,
};
use erofs::{LayerWriter, Limits, Metadata, Tree};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::container::answer;
use crate::process::Process;
use crate::request::start_request;
use crate::stdio::Stdio;

/// Name of the container.
const ID: &str = "rehearsal";
/// Its program, in the root: the guest runs one of its own in its place, which reads and writes to this file's pages.
const PROGRAM_PATH: &str = "/bin/rehearsal";
/// Bytes of that file: as of a program that is read in several steps. It is no program: it has lines only.
const PROGRAM_SIZE: usize = 1 << 20;

/// The disks of a rehearsal, without names: they are gone when nobody has them open.
#[derive(Debug)]
pub struct Stage {
    image: (File, u64),
    /// Those with ext4, by what they stand for.
    written: BTreeMap<DiskRole, File>,
}

impl Stage {
    /// Makes disks like those of `shape`.
    pub fn build(shape: &VmSpec, cache: &Path) -> io::Result<Self> {
        let image = image().map_err(io::Error::other)?;
        let mut file = File::from(memfd_create("rehearsal", MemfdFlags::CLOEXEC)?);
        io::Write::write_all(&mut file, &image)?;
        let mut written = BTreeMap::new();
        for disk in shape.disks().filter(|disk| disk.role != DiskRole::Root) {
            let format = Format {
                size: disk.size,
                ..Format::default()
            };
            let file = container_ext4::unnamed(&format, cache).map_err(io::Error::other)?;
            written.insert(disk.role, file);
        }
        Ok(Self {
            image: (file, image.len() as u64),
            written,
        })
    }

    /// The machine `shape` with these disks.
    pub fn furnish(&self, shape: &VmSpec) -> VmSpec {
        let mut spec = shape.clone();
        let extent = |file: &File, length| Extent {
            path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            offset: 0,
            length,
        };
        for disk in spec.disks_mut() {
            disk.extents = match self.written.get(&disk.role) {
                Some(file) => vec![extent(file, disk.size)],
                None => vec![extent(&self.image.0, self.image.1)],
            };
        }
        spec
    }
}

/// Rehearses the start of a container of the size of `like`, with `volumes` and the machine's `interfaces`, in `guest`, which is
/// as before afterwards. A guest in which that fails must not be used.
pub async fn rehearse(
    guest: &Guest,
    like: &ContainerConfiguration,
    volumes: &[VolumeDisk],
    interfaces: &[Interface],
) -> Result<(), Error> {
    let mut configuration = configuration(like);
    configuration.mounts = volumes.iter().enumerate().map(mount).collect();
    let interfaces: Vec<Interface> = interfaces.iter().map(stand_in).collect();
    let mut request = start_request(&configuration, &interfaces, false, None)?;
    request.rehearsal = true;
    answer(guest.calls().start(request)).await?;
    let process = Process::follow(guest, ID, false, false, Stdio::default(), None)
        .await
        .map_err(|error| Error::caused(Kind::Internal, error))?;
    let ended = process.ended().await;
    if ended.exit_code != 0 {
        let text = format!("the rehearsal exited with status {}", ended.exit_code);
        return Err(Error::new(Kind::Internal, ended.reason.unwrap_or(text)));
    }
    answer(guest.calls().reset(ResetRequest {})).await?;
    Ok(())
}

/// Where the rehearsal has one of the volumes.
fn mount((number, volume): (usize, &VolumeDisk)) -> Mount {
    let name = format!("{ID}-{number}");
    let read_only = volume.read_only.then(|| "ro".to_owned());
    Mount {
        destination: format!("/mnt/{name}"),
        kind: MountKind::Volume {
            name,
            format: "ext4".to_owned(),
            anonymous: false,
            cache: CacheMode::default(),
            sync: SyncMode::default(),
        },
        source: String::new(),
        options: read_only.into_iter().collect(),
    }
}

/// `interface` with addresses that are nobody's (RFC 5737, RFC 3849): its tap is on no network, so nobody hears of them.
fn stand_in(interface: &Interface) -> Interface {
    Interface {
        mac: "02:00:00:00:00:fe".to_owned(),
        ipv4_address: Some("192.0.2.2/24".to_owned()),
        ipv4_gateway: Some("192.0.2.1".to_owned()),
        ipv6_address: Some("2001:db8::2/64".to_owned()),
        ipv6_gateway: Some("2001:db8::1".to_owned()),
        default_route: true,
        ..interface.clone()
    }
}

/// A container of the size of `like`, and nothing else of it.
fn configuration(like: &ContainerConfiguration) -> ContainerConfiguration {
    ContainerConfiguration {
        id: ID.to_owned(),
        init_process: ProcessConfiguration {
            executable: PROGRAM_PATH.to_owned(),
            environment: vec!["PATH=/bin".to_owned()],
            working_directory: "/".to_owned(),
            user: User::Id { uid: 0, gid: 0 },
            ..ProcessConfiguration::default()
        },
        platform: like.platform.clone(),
        resources: like.resources.clone(),
        ..ContainerConfiguration::default()
    }
}

/// The image: where file systems are mounted, the users, and the file that stands for the program.
fn image() -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut tree = Tree::new(Limits::default());
    let mut writer = LayerWriter::new(Cursor::new(Vec::new()))?;
    for name in ["dev", "proc", "sys"] {
        tree.insert_directory(name.as_bytes(), Metadata::of_implicit_directory())?;
    }
    let passwd = b"root:x:0:0:root:/:/bin/sh\n";
    let program = vec![b'\n'; PROGRAM_SIZE];
    let files = [
        ("etc/passwd", &passwd[..], 0o644),
        (PROGRAM_PATH, &program[..], 0o755),
    ];
    for (path, content, permissions) in files {
        let mut file = writer.file()?;
        file.write(content)?;
        let metadata = Metadata {
            permissions,
            ..Metadata::default()
        };
        tree.insert(
            path.trim_start_matches('/').as_bytes(),
            metadata,
            erofs::Kind::File(file.finish()?),
        )?;
    }
    Ok(writer.finish(&tree, [0; 16])?.into_inner())
}
