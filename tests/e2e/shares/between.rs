//! What a container, another one and the host see of each other in one directory, beside files and names.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use rustix::fs::{FlockOperation, XattrFlags, flock};
use rustix::io::Errno;

use super::files::filesystem_program;
use super::{bind, directory, exec, start, told};
use crate::system::System;

/// Locks are the machine's own, as the documents say: what one holds is nobody's elsewhere, and nobody waits for ever.
#[test]
fn a_lock_is_for_the_programs_of_one_container() {
    let system = System::shared();
    let data = directory(&system, "locks");
    filesystem_program(&data);
    let bound = bind(&data, "/data");
    for id in ["locks", "locks2"] {
        start(&system, id, &["-v", &bound]).ok();
    }
    let take = |id: &str| told(&system, id, "/data/program lock /data/lock </dev/null");
    let words = ["exec", "-i", "locks", "/data/program", "lock", "/data/lock"];
    let mut holder = system
        .command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut output = BufReader::new(holder.stdout.take().unwrap());
    output.read_line(&mut said).unwrap();
    assert_eq!(said.trim_end(), "taken");
    assert_eq!(take("locks"), "held\n");
    assert_eq!(take("locks2"), "taken\n");
    let file = fs::File::open(data.join("lock")).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    // Nor is the host's one anybody's in a container.
    assert_eq!(take("locks2"), "taken\n");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    for id in ["locks", "locks2"] {
        system.run(["delete", "-f", id]).ok();
    }
}

/// A default list of rights that a directory of the host has: what the guest makes there has it, less what its mask takes.
#[test]
fn default_rights_of_a_directory_are_those_of_what_a_container_makes() {
    let system = System::shared();
    let data = directory(&system, "rights");
    for name in ["with", "without"] {
        fs::create_dir(data.join(name)).unwrap();
    }
    // user::rwx, user:1000:rwx, group::r-x, mask::rwx, other::r-x, as version 2 of the attribute has it.
    let entry = |tag: u16, rights: u16, id: u32| {
        let [tag, rights] = [tag, rights].map(u16::to_le_bytes);
        [&tag[..], &rights, &id.to_le_bytes()].concat()
    };
    let nobody = u32::MAX;
    let entries = [
        entry(0x01, 7, nobody),
        entry(0x02, 7, 1000),
        entry(0x04, 5, nobody),
        entry(0x10, 7, nobody),
        entry(0x20, 5, nobody),
    ];
    let list = [&2_u32.to_le_bytes()[..], &entries.concat()].concat();
    let name = "system.posix_acl_default";
    match rustix::fs::setxattr(data.join("with"), name, &list, XattrFlags::empty()) {
        // A file system of this host that has no such lists.
        Err(Errno::OPNOTSUPP) => return,
        set => set.unwrap(),
    }
    start(&system, "rights", &["-v", &bind(&data, "/data")]).ok();
    let make = "umask 027; for d in with without; do cd /data/$d; echo >f; mkdir d; mkfifo p; done";
    exec(&system, "rights", make).ok();
    let modes = |place: &str| {
        ["f", "d", "p"]
            .map(|name| fs::metadata(data.join(place).join(name)).unwrap().mode() & 0o777)
    };
    assert_eq!(modes("with"), [0o640, 0o750, 0o640]);
    assert_eq!(modes("without"), [0o640, 0o750, 0o640]);
    let mut found = [0_u8; 128];
    let length = rustix::fs::getxattr(data.join("with/d"), name, &mut found).unwrap();
    assert_eq!(found[..length], list);
    let access = "system.posix_acl_access";
    rustix::fs::getxattr(data.join("with/f"), access, &mut found).unwrap();
    // The guest sees the same modes, though not the lists.
    let seen = told(&system, "rights", "cd /data/with; stat -c %a f d p");
    assert_eq!(seen, "640\n750\n640\n");
    system.run(["delete", "-f", "rights"]).ok();
}
