//! Files of the host in a container, and what a program expects of a file system.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::{bind, directory, exec, servers, start, told};
use crate::system::{System, eventually};

#[test]
fn the_hosts_files_are_read_and_written_in_a_container() {
    let system = System::shared();
    let data = directory(&system, "data");
    let kept = directory(&system, "kept");
    fs::write(data.join("old"), "old\n").unwrap();
    fs::write(kept.join("x"), "x\n").unwrap();
    fs::write(kept.join("one"), "one\n").unwrap();
    // Nobody may read it, not even who owns it.
    fs::write(data.join("unreadable"), "read\n").unwrap();
    fs::set_permissions(data.join("unreadable"), fs::Permissions::from_mode(0o200)).unwrap();
    symlink("/etc/hostname", data.join("link")).unwrap();
    fs::create_dir(data.join("many")).unwrap();
    for number in 0..2000 {
        fs::write(data.join("many").join(number.to_string()), "1\n").unwrap();
    }
    // The outer one comes last: what is mounted in it is seen all the same.
    let mounts = [
        format!("type=bind,src={},dst=/data/kept,readonly", kept.display()),
        format!("type=virtiofs,source={},target=/data", data.display()),
    ];
    let one = bind(&kept.join("one"), "/etc/made/one");
    let flags = [
        "--mount",
        &*mounts[0],
        "--mount",
        &*mounts[1],
        "-v",
        &*one,
        "--privileged",
    ];
    start(&system, "shared", &flags).ok();

    let shown = system.inspect("shared");
    let shown = &shown["configuration"]["mounts"];
    assert_eq!(shown[1]["type"], serde_json::json!({"virtiofs": {}}));
    assert_eq!(shown[1]["source"], kept.to_str().unwrap());
    assert_eq!(shown[1]["options"], serde_json::json!(["ro"]));

    // Both sides see what the other one writes, and root is root.
    let script = "cd /data; cat old unreadable kept/x; echo new > new; mkdir -m 700 d; ln new hard; mv old d/moved; \
                  test -t 0 < d/moved; echo $?; cat many/* | wc -l; rm -r many; \
                  grep -E ' (/data|/data/kept|/etc/made/one) ' /proc/mounts | cut -d' ' -f1";
    let seen = "old\nread\nx\n1\n2000\nshares\nshares\nshares\n";
    assert_eq!(told(&system, "shared", script), seen);
    assert_eq!(fs::read_to_string(data.join("hard")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(data.join("d/moved")).unwrap(), "old\n");
    assert!(!data.join("many").exists());
    let own = rustix::process::geteuid().as_raw();
    for (name, mode) in [("new", 0o644), ("d", 0o700)] {
        let status = fs::metadata(data.join(name)).unwrap();
        assert_eq!(
            (status.uid(), status.mode() & 0o7777),
            (own, mode),
            "{name}"
        );
    }
    assert_eq!(
        fs::metadata(data.join("kept")).unwrap().mode() & 0o777,
        0o755
    );

    // A link and `..` lead to where the container has them.
    let script = "cat /data/link; cat /data/../etc/hostname; ls /data/../data/..";
    let text = told(&system, "shared", script);
    assert!(
        text.starts_with("shared\nshared\n") && text.contains("proc"),
        "{text}"
    );

    // A single file has no neighbours, and is the host's.
    let text = told(&system, "shared", "ls /etc/made; echo two >> /etc/made/one");
    assert_eq!(text, "one\n");
    assert_eq!(fs::read_to_string(kept.join("one")).unwrap(), "one\ntwo\n");

    // Read-only is the host's word: root of the machine, with every capability, changes nothing.
    let script = "mount -o remount,rw /data/kept; cd /data/kept; echo y > x; touch y; chmod 0 x; rm x one; rmdir .; \
                  mkdir /shares; mount -t virtiofs shares /shares; for part in /shares/*; do touch $part/z; done; touch /shares/z";
    exec(&system, "shared", script);
    assert_eq!(fs::read_to_string(kept.join("x")).unwrap(), "x\n");
    assert_eq!(fs::metadata(kept.join("x")).unwrap().mode() & 0o777, 0o644);
    let mut names: Vec<_> = fs::read_dir(&kept)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "x"]);

    // No device of the host is made or opened; a pipe is the guest's own affair.
    exec(&system, "shared", "mknod /data/device b 8 0")
        .code(1)
        .says("Operation not permitted");
    exec(&system, "shared", "mkfifo /data/pipe").ok();
    assert!(
        fs::metadata(data.join("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );

    system.run(["stop", "shared"]).ok();
    assert_eq!(system.run(["logs", "shared"]).ok().stdout, "ready\n");
    // The same again, from where it was.
    system.run(["start", "shared"]).ok();
    assert_eq!(told(&system, "shared", "cat /data/new"), "new\n");
    system.run(["delete", "--force", "shared"]).ok();
}

/// The program of `filesystem.c` in `directory`, for any root.
pub fn filesystem_program(directory: &Path) {
    build("filesystem.c", &directory.join("program"));
}

/// Makes `program` of a source beside this one, for any root.
pub fn build(source: &str, program: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("e2e")
        .join(source);
    let built = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(program)
        .arg(source)
        .status();
    assert!(built.unwrap().success());
}

#[test]
fn a_share_and_a_volume_are_file_systems() {
    let system = System::shared();
    let data = directory(&system, "filesystem");
    filesystem_program(&data);
    let bound = bind(&data, "/data");
    start(
        &system,
        "filesystem",
        &["-v", &bound, "-v", "filesystem:/volume"],
    )
    .ok();
    for place in ["/volume", "/data"] {
        let script = format!("mkdir {place}/work && cd {place}/work && /data/program 1500");
        let outcome = exec(&system, "filesystem", &script);
        assert_eq!(outcome.stdout, "done\n", "{place}: {outcome:?}");
    }
    // No device came of a rename that leaves one.
    assert!(data.join("work/a").exists() && !data.join("work/whiteout").exists());
    // The host's owners are the guest's, number by number, where root has started it.
    if rustix::process::geteuid().is_root() {
        let found = fs::metadata(data.join("work/open/mine")).unwrap();
        assert_eq!((found.uid(), found.gid()), (1000, 1000));
    }
    system.run(["delete", "-f", "-v", "filesystem"]).ok();
    system.run(["volume", "delete", "filesystem"]).ok();
}

/// As many files as a large project has: each takes a descriptor of the process that serves them.
#[test]
#[ignore = "takes minutes: make test-real"]
fn a_share_has_room_for_a_hundred_thousand_files() {
    let system = System::shared();
    let data = directory(&system, "large");
    let bound = bind(&data, "/data");
    start(&system, "large", &["-v", &bound]).ok();
    // Half of them come from the host.
    for number in 0..50_000 {
        let parent = data.join((number / 1000).to_string());
        fs::create_dir_all(&parent).unwrap();
        fs::write(parent.join(number.to_string()), "x").unwrap();
    }
    // In parts, each with the time that a command has: a busy host is slow, but gets on.
    for part in 50..100 {
        let script = "mkdir /data/$1; cd /data/$1; i=$(($1*1000)); while [ $i -lt $((($1+1)*1000)) ]; do echo x >$i; i=$((i+1)); done";
        let part = part.to_string();
        system
            .run(["exec", "large", "sh", "-c", script, "sh", &part])
            .ok();
    }
    let parts: Vec<_> = (0..10)
        .map(|part| format!("$(seq {} {})", part * 10, part * 10 + 9))
        .collect();
    for (number, part) in parts.iter().enumerate() {
        let found = format!("cd /data; find {part} -type f");
        let script = format!("{found} -size -2k | wc -l; {found} | xargs cat | wc -c");
        // One byte of the host's, two of the guest's.
        let bytes = if number < 5 { 10_000 } else { 20_000 };
        assert_eq!(told(&system, "large", &script), format!("10000\n{bytes}\n"));
    }
    let inside = servers(&system, "large")[1];
    let limits = fs::read_to_string(format!("/proc/{inside}/limits")).unwrap();
    let limit = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let limit: usize = limit
        .unwrap()
        .split_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap();
    let held = || fs::read_dir(format!("/proc/{inside}/fd")).unwrap().count();
    assert!(
        held() < limit && limit <= 1_000_000,
        "{} of {limit}",
        held()
    );
    for part in &parts {
        exec(&system, "large", &format!("cd /data; rm -r {part}")).ok();
    }
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    eventually("the deleted files are forgotten", || held() < 1000);
    system.run(["delete", "-f", "large"]).ok();
}
