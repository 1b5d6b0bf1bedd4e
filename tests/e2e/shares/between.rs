//! What a container, another one and the host see of each other in one directory, beside files and names.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::fs::{FlockOperation, XattrFlags, flock};
use rustix::io::Errno;

use super::files::filesystem_program;
use super::{bind, directory, exec, start, told};
use crate::system::System;

/// A program that has locks of `/data/lock`, or waits for them, as long as its input lasts.
struct Holder {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Holder {
    /// `what` is a word of `filesystem.c`: `lock`, `read` or `wait`.
    fn start(system: &System, id: &str, what: &str) -> Self {
        let words = ["exec", "-i", id, "/data/program", what, "/data/lock"];
        let mut process = system
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    fn says(&mut self, expected: &str) {
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        assert_eq!(said.trim_end(), expected);
    }

    fn end(mut self) -> Option<i32> {
        drop(self.process.stdin.take());
        self.process.wait().unwrap().code()
    }
}

/// Two containers on one directory, which is told.
fn pair(system: &System, name: &str) -> (PathBuf, [String; 2]) {
    let data = directory(system, name);
    filesystem_program(&data);
    let ids = [1, 2].map(|number| format!("{name}{number}"));
    for id in &ids {
        start(system, id, &["-v", &bind(&data, "/data")]).ok();
    }
    (data, ids)
}

fn end(system: &System, ids: &[String]) {
    for id in ids {
        system.run(["delete", "-f", id]).ok();
    }
}

#[test]
fn a_lock_holds_between_containers_and_with_the_host() {
    let system = System::shared();
    let (data, ids) = pair(&system, "locks");
    let [one, other] = ids.each_ref();
    let take = |id: &str, what: &str| {
        let script = format!("/data/program {what} /data/lock </dev/null");
        told(&system, id, &script)
    };
    fs::write(data.join("lock"), "").unwrap();
    let host = fs::File::options()
        .read(true)
        .write(true)
        .open(data.join("lock"))
        .unwrap();
    let of_host = |operation| {
        let whole = flock(&host, operation);
        let bytes = rustix::fs::fcntl_lock(&host, operation);
        (whole.is_ok(), bytes.is_ok())
    };
    let mut holder = Holder::start(&system, one, "lock");
    holder.says("taken");
    for id in &ids {
        assert_eq!(take(id, "lock"), "held\n", "{id}");
        assert_eq!(take(id, "read"), "held\n", "{id}");
    }
    let refused = of_host(FlockOperation::NonBlockingLockShared);
    assert_eq!(refused, (false, false));
    assert_eq!(holder.end(), Some(0));
    assert_eq!(take(other, "lock"), "taken\n");

    let mut reader = Holder::start(&system, one, "read");
    reader.says("taken");
    assert_eq!(take(other, "read"), "taken\n");
    assert_eq!(take(other, "lock"), "held\n");
    let shared = of_host(FlockOperation::NonBlockingLockShared);
    assert_eq!(shared, (true, true));
    assert_eq!(reader.end(), Some(0));
    assert_eq!(take(one, "lock"), "held\n");
    assert_eq!(take(one, "read"), "taken\n");
    assert_eq!(of_host(FlockOperation::Unlock), (true, true));
    assert_eq!(take(one, "lock"), "taken\n");
    end(&system, &ids);
}

#[test]
fn a_lock_ends_with_who_has_it_and_who_waits_for_it_can_be_killed() {
    let system = System::shared();
    let (data, ids) = pair(&system, "ends");
    let [one, other] = ids.each_ref();
    let mut holder = Holder::start(&system, one, "lock");
    holder.says("taken");
    let mut waiter = Holder::start(&system, other, "wait");
    waiter.says("waits");
    exec(&system, one, "killall -9 program").ok();
    waiter.says("taken");
    assert_eq!(holder.end(), Some(137));

    let mut next = Holder::start(&system, one, "wait");
    next.says("waits");
    exec(&system, one, "killall -9 program").ok();
    assert_eq!(next.end(), Some(137));

    let mut last = Holder::start(&system, one, "wait");
    last.says("waits");
    system.run(["kill", other]).ok();
    last.says("taken");
    let host = fs::File::open(data.join("lock")).unwrap();
    let refused = flock(&host, FlockOperation::NonBlockingLockShared);
    assert_eq!(refused, Err(Errno::WOULDBLOCK));
    waiter.end();
    assert_eq!(last.end(), Some(0));
    flock(&host, FlockOperation::NonBlockingLockExclusive).unwrap();
    end(&system, &ids);
}

/// As `SQLite` does it: with locks of bytes, a journal beside the file, and what others wrote under their locks.
#[test]
fn two_containers_and_the_host_write_one_database() {
    let system = System::shared();
    let (data, ids) = pair(&system, "counted");
    let words = ["/data/program", "count", "/data/number", "100"];
    let counters = ids.each_ref().map(|id| {
        let words = ["exec", id].into_iter().chain(words);
        system.spawn(words)
    });
    let host = Command::new(data.join("program"))
        .arg("count")
        .arg(data.join("number"))
        .arg("100")
        .output()
        .unwrap();
    assert!(host.status.success(), "{host:?}");
    for counter in counters {
        assert_eq!(counter.outcome().ok().stdout, "counted\n");
    }
    assert_eq!(fs::read_to_string(data.join("number")).unwrap(), "300");
    assert_eq!(told(&system, &ids[0], "cat /data/number"), "300");
    end(&system, &ids);
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
