//! Other disks behind the block devices of a machine that exists.
//!
//! The guest sees none of it: devices stay, with their size and access, and read from other files from one request to
//! the next. So a machine can be made before it is known what it is for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::Duration;

use serde_json::{Value, json};

use super::open::{self, Backend};
use super::{device, node};
use crate::device::{Disk, DiskRole};
use crate::qemu::qmp::{Command, Qmp, Sent};
use crate::vmm::{ControlError, ExchangeError};

/// How long the VMM may take over one step: it opens what is open already.
const LIMIT: Duration = Duration::from_secs(10);

/// What the VMM holds for one disk.
#[derive(Debug)]
pub(crate) struct Attached {
    /// Nodes of its block layer, the device's own first.
    pub(super) nodes: Vec<String>,
    /// Sets of descriptors.
    pub(super) sets: Range<usize>,
}

/// What stands behind the block devices of a machine.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    pub(super) attached: BTreeMap<DiskRole, Attached>,
    /// What stood there before.
    replaced: Vec<Attached>,
    /// Sets of descriptors that were ever made: the next one's number.
    pub(super) sets: usize,
}

impl Backends {
    /// Puts each of `disks` in the place of the present one of its role. The VMM has all of its work before it has answered for the first one.
    pub(crate) async fn exchange(
        &mut self,
        control: &Qmp,
        disks: &[&Disk],
    ) -> Result<(), ExchangeError> {
        let mut all = Vec::with_capacity(disks.len());
        for disk in disks {
            let role = disk.role;
            if !self.attached.contains_key(&role) {
                return Err(ExchangeError::Unknown(role));
            }
            let backend =
                open::open(disk).map_err(|source| ExchangeError::Disk { role, source })?;
            let replaced = self.replace(control, role, backend, disk.read_only);
            let (sent, attached) = replaced.await?;
            all.push((role, sent, attached));
        }
        for (role, sent, attached) in all {
            sent.answered()
                .await
                .map_err(|source| ExchangeError::Refused { role, source })?;
            self.replaced.extend(self.attached.insert(role, attached));
        }
        Ok(())
    }

    /// Has the VMM replace one, without waiting for its answers.
    async fn replace(
        &mut self,
        control: &Qmp,
        role: DiskRole,
        backend: Backend,
        read_only: bool,
    ) -> Result<(Sent, Attached), ExchangeError> {
        let first = self.sets;
        let node = format!("{}.{first}", node(role));
        let (driver, files) = match backend {
            Backend::Raw(file) => ("raw", vec![file]),
            Backend::Composed(composition) => {
                let description = open::descriptor(&composition, |file| first + file)
                    .map_err(|source| ExchangeError::Disk { role, source })?;
                let mut files = composition.files;
                files.push(description);
                ("vmdk", files)
            }
        };
        let last = first + files.len() - 1;
        // The last file is the whole disk, or its description.
        let file = access(
            json!({ "driver": "file", "filename": format!("/dev/fdset/{last}") }),
            read_only,
        );
        let mut whole = access(
            json!({ "driver": driver, "node-name": node, "file": file }),
            read_only,
        );
        if !read_only {
            whole["detect-zeroes"] = "unmap".into();
        }
        let device = json!({
            "path": format!("/machine/peripheral/{}", device(role)),
            "property": "drive",
            "value": node,
        });
        let mut commands = Vec::with_capacity(files.len() + 2);
        for (file, set) in files.iter().zip(first..) {
            let mut add = command("add-fd", json!({ "fdset-id": set }));
            add.descriptor = Some(file.as_fd());
            commands.push(add);
        }
        commands.push(command("blockdev-add", whole));
        commands.push(command("qom-set", device));
        self.sets = last + 1;
        let sent = control
            .send_all(commands, LIMIT)
            .await
            .map_err(|source| ExchangeError::Refused { role, source })?;
        let attached = Attached {
            nodes: vec![node],
            sets: first..self.sets,
        };
        Ok((sent, attached))
    }

    /// Closes what was replaced.
    pub(crate) async fn close_replaced(&mut self, control: &Qmp) -> Result<(), ControlError> {
        let mut commands = Vec::new();
        for Attached { nodes, sets } in self.replaced.drain(..) {
            let nodes = nodes.into_iter();
            commands
                .extend(nodes.map(|node| command("blockdev-del", json!({ "node-name": node }))));
            commands.extend(sets.map(|set| command("remove-fd", json!({ "fdset-id": set }))));
        }
        control.execute_all(commands, LIMIT).await
    }
}

/// How the disk's nodes are opened: space that the guest frees or fills with zeroes returns to the host.
fn access(mut node: Value, read_only: bool) -> Value {
    node["read-only"] = read_only.into();
    if !read_only {
        node["discard"] = "unmap".into();
    }
    node
}

fn command<'a>(name: &'static str, arguments: Value) -> Command<'a> {
    Command {
        name,
        arguments,
        descriptor: None,
    }
}
