//! Volumes: whose they are, and where they come from.

mod durability;
mod files;
mod killed;
mod mounts;
mod space;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::pty::Pty;
use crate::system::{SMALL, System, eventually, kill};

pub fn disk(system: &System, name: &str) -> PathBuf {
    system.app().join("volumes").join(name).join("volume.img")
}

/// Bytes that a file takes on the host.
fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// What `e2fsck` says of a disk that nobody uses; its journal is replayed in a copy, as the next mount would do it.
pub fn check(disk: &Path, scratch: &Path) {
    let copy = scratch.join("checked.img");
    let copied = Command::new("cp")
        .arg("--sparse=always")
        .args([disk, &copy])
        .status()
        .unwrap();
    assert!(copied.success());
    let replayed = Command::new("/sbin/e2fsck")
        .args(["-E", "journal_only", "-y"])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(replayed.status.code() <= Some(1), "{replayed:?}");
    let checked = Command::new("/sbin/e2fsck")
        .arg("-fn")
        .arg(&copy)
        .output()
        .unwrap();
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stdout)
    );
    fs::remove_file(copy).unwrap();
}

#[test]
fn volumes_outlive_containers_and_belong_to_one_writer() {
    let system = System::start();
    let sh = |volume: &[&str], script: &str| {
        let mut words = vec!["run", "--rm", "-m", "256M", "-c", "1", "--network", "none"];
        words.extend(volume);
        words.extend(["busybox", "sh", "-c", script]);
        system.run(words)
    };
    assert_eq!(
        system
            .run([
                "volume",
                "create",
                "-s",
                "1G",
                "--label",
                "a=b",
                "--opt",
                "journal=writeback:16m",
                "data"
            ])
            .ok()
            .stdout,
        "data\n"
    );
    system
        .run(["volume", "create", "data"])
        .code(1)
        .says("volume already exists: data");
    system
        .run(["volume", "create", "--opt", "journal=none", "x"])
        .code(64)
        .says("invalid journal mode 'none'");
    system
        .run(["volume", "create", "-s", "1k", "x"])
        .code(64)
        .says("invalid volume size");
    system
        .run(["volume", "create", "../x"])
        .code(64)
        .says("invalid volume name");
    let shown: Value =
        serde_json::from_str(&system.run(["v", "inspect", "data"]).ok().stdout).unwrap();
    let shown = &shown[0]["configuration"];
    assert_eq!(
        (&shown["driver"], &shown["format"], &shown["sizeInBytes"]),
        (&"local".into(), &"ext4".into(), &(1_u64 << 30).into())
    );
    assert!(shown["creationDate"].is_string() && shown["labels"]["a"] == "b");
    assert!(allocated(&disk(&system, "data")) < 1 << 20);
    system
        .run(["volume", "inspect", "none"])
        .code(1)
        .says("volume not found: none");

    // Filled from the image while it is empty; nothing of ext4's own is seen; mounts in any order.
    let listed = sh(&["-v", "data:/etc", "--tmpfs", "/etc/x/y", "-v", "other:/etc/x"], "ls -A /etc | tr '\\n' ' '; echo mark >/etc/mark; stat -c %a /etc; grep -E ' /etc(/x.*)? ' /proc/mounts | cut -d' ' -f2 | tr '\\n' ' '").ok().stdout;
    assert!(
        listed.contains("passwd")
            && !listed.contains("lost+found")
            && listed.ends_with("755\n/etc /etc/x /etc/x/y "),
        "{listed}"
    );
    assert_eq!(
        sh(&["-v", "data:/m:ro"], "cat /m/mark; touch /m/x")
            .code(1)
            .stdout,
        "mark\n"
    );
    let nocopy = [
        "--mount",
        "type=volume,source=fresh,target=/etc,volume-nocopy",
    ];
    let count = sh(&nocopy, "ls -A /etc | wc -l").ok().stdout;
    assert!(count.trim().parse::<u32>().unwrap() < 6, "{count}");
    // A volume that nobody has written to, read-only.
    assert_eq!(
        sh(
            &["-v", "unused:/m:ro"],
            "ls -A /m; touch /m/x 2>&1 | grep -c Read-only"
        )
        .ok()
        .stdout,
        "1\n"
    );
    let names = system.run(["volume", "list", "-q"]).ok().stdout;
    assert_eq!(names, "data\nfresh\nother\nunused\n");
    // Who only reads a new one has it filled all the same.
    let script = "grep -c ^root: /etc/passwd; touch /etc/x 2>&1 | grep -c Read-only";
    let read = sh(&["-v", "filled:/etc:ro"], script).ok().stdout;
    assert_eq!(read, "1\n1\n");
    system.run(["volume", "delete", "filled"]).ok();

    // Whoever had another name in mind is told.
    let words = ["-v", "tpyo:/m", "busybox", "true"];
    system
        .run(["create", "--name", "new"].iter().chain(&words))
        .ok()
        .says("Created volume tpyo");
    system.run(["delete", "new"]).ok();
    system.run(["volume", "delete", "tpyo"]).ok();

    // One writer, or many readers.
    let holder = |name: &str, volume: &str| {
        let words = ["-v", volume, "busybox", "sleep", "100000"];
        let hold = ["run", "-d", "--name", name];
        system.run(hold.iter().chain(&SMALL).chain(&words))
    };
    holder("writer", "data:/m").ok();
    holder("second", "data:/m:ro")
        .code(1)
        .says("volume 'data' is currently in use and cannot be accessed by another container")
        .says("Container writer writes to it");
    system
        .run(["volume", "delete", "data"])
        .code(1)
        .says("currently in use");
    // Nobody can fill what another one reads: that is told, and done when nobody has it.
    holder("first", "late:/m:ro,nocopy").ok();
    let late = ["-v", "late:/etc:ro"];
    sh(&late, "grep ^root: /etc/passwd")
        .code(2)
        .says("volume late is new, and is not filled from the image, as container first has it");
    system.run(["delete", "-f", "first"]).ok();
    sh(&late, "grep ^root: /etc/passwd").ok();
    system.run(["volume", "delete", "late"]).ok();
    // A lock dies with whoever has it.
    kill(system.pids("--id writer")[0], Signal::KILL);
    eventually("the writer has ended", || {
        system.state("writer") == "stopped"
    });
    holder("reader", "data:/m:ro").ok();
    holder("reader2", "data:/m:ro").ok();
    let refused = sh(&["-v", "data:/m"], "true").code(1);
    refused.says(" reads it, and who writes has it alone");
    assert_eq!(
        system
            .run(["exec", "reader2", "cat", "/m/mark"])
            .ok()
            .stdout,
        "mark\n"
    );
    system
        .run(["volume", "resize", "data", "2G"])
        .code(1)
        .says("in use");
    system.run(["delete", "-f", "reader", "reader2", "second"]);
    system
        .run(["volume", "delete", "data"])
        .code(1)
        .says("Container writer has it");

    // Files of it, whether its container runs or not.
    let copied = system.pipe(["cp", "writer:/m/mark", "-"], b"");
    assert!(String::from_utf8_lossy(&copied.stdout).contains("mark\n"));
    system.run(["volume", "resize", "data", "2G"]).ok();
    system.run(["delete", "writer"]).ok();
    let size = sh(&["-v", "data:/m"], "df -m /m | tail -1 | awk '{print $2}'")
        .ok()
        .stdout;
    assert!(size.trim().parse::<u32>().unwrap() > 1800, "{size}");
    check(&disk(&system, "data"), system.scratch());

    // Those that nobody has named go with their container.
    let before = system.run(["volume", "list", "-q"]).ok().stdout;
    sh(&["-v", "/m"], "echo x >/m/x").ok();
    assert_eq!(system.run(["volume", "list", "-q"]).ok().stdout, before);
    system
        .run(["create", "--name", "keeps", "-v", "/m", "busybox", "true"])
        .ok();
    let table = system.run(["volume", "list"]).ok().stdout;
    assert!(
        table.starts_with("NAME") && table.contains("anonymous"),
        "{table}"
    );
    let usage: Value =
        serde_json::from_str(&system.run(["system", "df", "--format", "json"]).ok().stdout)
            .unwrap();
    assert_eq!(
        (&usage["volumes"]["total"], &usage["volumes"]["active"]),
        (&5.into(), &1.into()),
        "{usage}"
    );
    let details = system.run(["system", "df", "-v"]).ok().stdout;
    assert!(
        details.contains("VOLUME") && details.contains("data") && details.contains("APPARENT SIZE"),
        "{details}"
    );
    system.run(["delete", "-v", "keeps"]).ok();
    assert_eq!(system.run(["volume", "list", "-q"]).ok().stdout, before);
    system.run(["volume", "delete", "data", "data"]).ok();
    assert!(!disk(&system, "data").exists());
    let labelled = ["volume", "prune", "--filter", "label=none"];
    assert_eq!(system.run(labelled).ok().stdout, "");
    // Whoever sits at a terminal is told, and asked.
    let mut pty = Pty::spawn(system.command(["volume", "prune"]), 24, 80);
    pty.expect("  fresh\r\n  other\r\n  unused\r\n");
    pty.expect("[y/N] ");
    pty.send("\n");
    assert_eq!(pty.finish().0.code(), Some(0));
    assert!(disk(&system, "fresh").exists());
    let pruned = system.run(["volume", "prune", "-a"]).ok();
    assert_eq!(pruned.stdout, "fresh\nother\nunused\n");
    assert!(pruned.stderr.contains("Reclaimed"), "{pruned:?}");
}

#[test]
fn an_image_s_volumes_are_volumes() {
    let system = System::start();
    system
        .run(["create", "--name", "base", "busybox", "true"])
        .ok();
    system
        .run([
            "commit",
            "--change",
            "VOLUME /var/data",
            "base",
            "with-volume",
        ])
        .ok();
    system
        .run([
            "create",
            "--name",
            "has",
            "with-volume",
            "sh",
            "-c",
            "echo kept >>/var/data/x; cat /var/data/x; grep -c ' /var/data ext4' /proc/mounts",
        ])
        .ok();
    assert_eq!(system.run(["start", "-a", "has"]).ok().stdout, "kept\n1\n");
    assert_eq!(
        system.run(["start", "-a", "has"]).ok().stdout,
        "kept\nkept\n1\n"
    );
    system.run(["delete", "-v", "has"]).ok();
    assert_eq!(system.run(["volume", "list", "-q"]).ok().stdout, "");
}

#[test]
fn two_that_prune_at_once_delete_each_volume_once() {
    let system = System::start();
    let mut made: Vec<String> = (0..20).map(|number| format!("v{number:02}")).collect();
    for name in &made {
        system.run(["volume", "create", "-s", "1M", name]).ok();
    }
    let prunes = [(); 2].map(|()| system.spawn(["volume", "prune", "--force"]));
    // What the other one was faster with is no failure.
    let printed = prunes.map(|prune| prune.outcome().ok().stdout).concat();
    let mut printed: Vec<&str> = printed.lines().collect();
    printed.sort_unstable();
    made.sort_unstable();
    assert_eq!(printed, made);
}

#[test]
fn a_volume_that_was_named_by_its_user_outlives_containers_whoever_made_it() {
    let system = System::start();
    let create = |name: &str, mount: &str| {
        let words = ["create", "--rm", "--name", name].into_iter();
        let words = words.chain(SMALL).chain(["-v", mount, "busybox", "true"]);
        system.run(words).ok();
    };
    let volumes = || system.run(["volume", "list", "-q"]).ok().stdout;
    // Without a name of its own, as those that a mount makes.
    let made = system.run(["volume", "create"]).ok().stdout;
    system.run(["volume", "create", "named"]).ok();
    // Nobody else says of one that it was made so.
    let label = "com.apple.container.resource.anonymous=";
    let labelled = ["volume", "create", "--label", label, "labelled"];
    let refused = system.run(labelled);
    assert_ne!(refused.code, 0);
    refused.says("is the system's own");
    for volume in [made.trim(), "named"] {
        let mount = format!("{volume}:/d");
        create("first", &mount);
        system.run(["delete", "first"]).ok();
        create("second", &mount);
        system.run(["delete", "-v", "second"]).ok();
        system
            .run(["run", "--rm", "-v", &mount, "busybox", "true"])
            .ok();
    }
    let kept = volumes();
    assert_eq!(kept.lines().count(), 2, "{kept}");
    // One that a container's own mount made goes with that container, and not with another one that looked at it.
    create("owner", "/d");
    let all = volumes();
    let own = all.lines().find(|name| !kept.contains(name)).unwrap();
    create("looks", &format!("{own}:/d:ro"));
    system.run(["delete", "looks"]).ok();
    assert_eq!(volumes(), all);
    system.run(["delete", "owner"]).ok();
    assert_eq!(volumes(), kept);
}
