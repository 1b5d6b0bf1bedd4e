//! Volumes, the writable layer's journal, and space that comes back.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::system::{System, eventually, kill, within};

fn disk(system: &System, name: &str) -> PathBuf {
    system.app().join("volumes").join(name).join("volume.img")
}

/// Bytes that a file takes on the host.
fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// What `e2fsck` says of a disk that nobody uses; its journal is replayed in a copy, as the next mount would do it.
fn check(disk: &Path, scratch: &Path) {
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
    let listed = sh(&["-v", "data:/etc", "--tmpfs", "/etc/x/y", "-v", "other:/etc/x"], "ls -A /etc | tr '\\n' ' '; echo mark >/etc/mark; stat -c %a /etc; grep ' /etc' /proc/mounts | cut -d' ' -f2 | tr '\\n' ' '").ok().stdout;
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

    // One writer, or many readers.
    let hold = [
        "run",
        "-d",
        "-m",
        "256M",
        "-c",
        "1",
        "--network",
        "none",
        "--name",
    ];
    let holder = |name: &str, volume: &str| {
        let mut words = hold.to_vec();
        words.extend([name, "-v", volume, "busybox", "sleep", "100000"]);
        system.run(words)
    };
    holder("writer", "data:/m").ok();
    holder("second", "data:/m:ro")
        .code(1)
        .says("volume 'data' is currently in use and cannot be accessed by another container");
    system
        .run(["volume", "delete", "data"])
        .code(1)
        .says("currently in use");
    // A lock dies with whoever has it.
    kill(system.pids("--id writer")[0], Signal::KILL);
    eventually("the writer has ended", || {
        system.state("writer") == "stopped"
    });
    holder("reader", "data:/m:ro").ok();
    holder("reader2", "data:/m:ro").ok();
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
    let pruned = system.run(["volume", "prune"]).ok();
    assert_eq!(pruned.stdout, "fresh\nother\nunused\n");
    assert!(pruned.stderr.contains("Reclaimed"), "{pruned:?}");
}

#[test]
fn a_volume_s_files_are_reached_whoever_has_it() {
    let system = System::start();
    let script = "mkdir -p /m/sub && echo one >/m/one && chown 33:44 /m/one && chmod 4750 /m/one && ln /m/one /m/hard && ln -s /etc/passwd /m/out \
                  && mkfifo /m/pipe && dd if=/dev/zero of=/m/sparse bs=1 count=1 seek=64M 2>/dev/null && chown 70:70 /m && chmod 1730 /m && touch -d @1000000000 /m/sub; \
                  echo ready; i=0; while :; do i=$((i+1)); echo $i >/m/sub/a; echo $i >/m/sub/b; done";
    let limits = ["-m", "256M", "-c", "1", "--network", "none"];
    let run = |words: &[&str]| {
        let (first, rest) = words.split_at(1);
        let words: Vec<&str> = [first, &limits[..], rest].concat();
        system.run(words)
    };
    run(&[
        "run", "-d", "--name", "writer", "-v", "data:/m", "busybox", "sh", "-c", script,
    ])
    .ok();
    eventually("the files are there", || {
        system.run(["logs", "writer"]).ok().stdout == "ready\n"
    });
    // Of one moment, though somebody writes: of the two one is not before the other by more than the last write.
    let tar = system.scratch().join("data.tar");
    let named = tar.to_str().unwrap();
    system.run(["volume", "export", "-o", named, "data"]).ok();
    let of = |name: &str| {
        let out = Command::new("tar")
            .arg("-xOf")
            .arg(&tar)
            .arg(name)
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let listed = Command::new("tar")
        .args(["--numeric-owner", "-tvf"])
        .arg(&tar)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for line in [
        "drwx-wx--T 70/70",
        "-rwsr-x--- 33/44",
        "prw-r--r-- 0/0",
        " link to ",
    ] {
        assert!(listed.contains(line), "{line}: {listed}");
    }
    assert!(fs::metadata(&tar).unwrap().len() < 1 << 20);
    let [a, b] = ["sub/a", "sub/b"].map(|name| of(name).trim().parse::<i64>().unwrap_or(0));
    assert!((0..=1).contains(&(a - b)) || a == 0 || b == 0, "{a} {b}");
    // It goes on.
    let count = || {
        system
            .run(["exec", "writer", "cat", "/m/sub/a"])
            .ok()
            .stdout
    };
    let before = count();
    eventually("the writer goes on", || count() != before);

    // In the machine of who has it: nothing leads out, and there is no second machine.
    let host = system.scratch().join("host");
    fs::write(&host, "from the host\n").unwrap();
    let host = host.to_str().unwrap();
    assert_eq!(
        system
            .run(["volume", "cp", host, "data:/sub/in"])
            .ok()
            .stdout,
        "data:/sub/in\n"
    );
    assert_eq!(
        system
            .run(["exec", "writer", "cat", "/m/sub/in"])
            .ok()
            .stdout,
        "from the host\n"
    );
    system
        .run([
            "volume",
            "cp",
            "data:/out",
            system.scratch().to_str().unwrap(),
        ])
        .code(1)
        .says("No such file");
    system.run(["volume", "cp", host, "data:/../../up"]).ok();
    system.run(["exec", "writer", "test", "-f", "/m/up"]).ok();
    system
        .run(["volume", "cp", "none:/x", "."])
        .code(1)
        .says("volume not found: none");
    system
        .run(["volume", "export", "none"])
        .code(1)
        .says("volume not found: none");
    eventually("no machine is left", || {
        let mut left = fs::read_dir(system.app().join("transient")).unwrap();
        left.next().is_none()
    });
    system.run(["delete", "-f", "writer"]).ok();

    // Nobody has it.
    let copied = system.scratch().join("one");
    system
        .run(["volume", "cp", "data:/one", copied.to_str().unwrap()])
        .ok();
    assert_eq!(fs::read_to_string(&copied).unwrap(), "one\n");
    system
        .run(["volume", "cp", "data:/sub/.", "second:/"])
        .code(1)
        .says("volume not found: second");

    // What breaks off is not there; what is whole is as it was.
    let bytes = fs::read(&tar).unwrap();
    let cut = system.pipe(["volume", "import", "copy"], &bytes[..bytes.len() / 2]);
    assert_ne!(cut.status.code(), Some(0), "{cut:?}");
    assert_eq!(system.run(["volume", "list", "-q"]).ok().stdout, "data\n");
    assert_eq!(
        system.run(["volume", "import", "copy", named]).ok().stdout,
        "copy\n"
    );
    let look = "stat -c '%a %u %g' /m /m/one; stat -c '%h %s' /m/one; readlink /m/out; test -p /m/pipe && stat -c '%s %b' /m/sparse; stat -c %Y /m/sub; ls -A /m | wc -l";
    let seen = run(&[
        "run",
        "--rm",
        "-v",
        "copy:/m:ro",
        "busybox",
        "sh",
        "-c",
        look,
    ])
    .ok()
    .stdout;
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(
        lines[..4],
        ["1730 70 70", "4750 33 44", "2 4", "/etc/passwd"],
        "{seen}"
    );
    assert!(
        lines[4].starts_with("67108865 ") && lines[4].len() < 14,
        "{seen}"
    );
    // Through a pipe, and into one that is there: what is not in the tar stays.
    let exported = system.pipe(["volume", "export", "copy"], b"");
    assert!(exported.status.success());
    system.run(["volume", "cp", host, "copy:/own"]).ok();
    assert!(
        system
            .pipe(["volume", "import", "copy", "-"], &exported.stdout)
            .status
            .success()
    );
    let seen = run(&[
        "run",
        "--rm",
        "-v",
        "copy:/m:ro",
        "busybox",
        "cat",
        "/m/own",
        "/m/one",
    ])
    .ok()
    .stdout;
    assert_eq!(seen, "from the host\none\n");
    // Who reads an archive slowly, or not at all, keeps nobody from the volume.
    let large = system.scratch().join("large");
    fs::write(&large, vec![7; 4 << 20]).unwrap();
    let large = large.to_str().unwrap();
    system.run(["volume", "cp", large, "copy:/"]).ok();
    let mut slow = system
        .with_deadline(["volume", "export", "copy"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut tar = slow.stdout.take().unwrap();
    let mut first = [0; 512];
    std::io::Read::read_exact(&mut tar, &mut first).unwrap();
    let flags = ["run", "--rm", "-v", "copy:/m", "busybox"];
    run(&[&flags[..], &["rm", "/m/large"]].concat()).ok();
    let rest = std::io::copy(&mut tar, &mut std::io::sink()).unwrap();
    assert!(rest > 4 << 20 && slow.wait().unwrap().success(), "{rest}");
    // Within one volume, which one machine has: nobody's, and a container's that runs.
    let within = |to: &str| system.run(["volume", "cp", "data:/sub/.", &format!("data:{to}")]);
    assert_eq!(within("/twin").ok().stdout, "data:/twin\n");
    within("/sub/own").code(1).says("into itself");
    let words = [
        "run", "-d", "--name", "has", "-v", "data:/m", "busybox", "sleep", "100000",
    ];
    run(&words).ok();
    system
        .run(["volume", "cp", "data:/one", "data:/twin/"])
        .ok();
    let look = "cd /m; cmp sub/a twin/a && stat -c '%u %a' twin/one && ls -A sub | grep -c own";
    let seen = system.run(["exec", "has", "sh", "-c", look]).code(1);
    assert_eq!(seen.stdout, "33 4750\n0\n");
    system.run(["delete", "-f", "has"]).ok();
    // One volume into another, with owners.
    system
        .run(["volume", "cp", "copy:/one", "data:/again"])
        .ok();
    let look = [
        &["run", "--rm", "-v", "data:/m:ro", "busybox"][..],
        &["stat", "-c", "%u %a", "/m/again"],
    ]
    .concat();
    assert_eq!(run(&look).ok().stdout, "33 4750\n");
    for name in ["copy", "data"] {
        check(&disk(&system, name), system.scratch());
    }
    eventually("nothing is left of the machines", || {
        fs::read_dir(system.app().join("transient"))
            .unwrap()
            .next()
            .is_none()
    });
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
fn space_that_is_freed_comes_back() {
    let system = System::start();
    let fill = "dd if=/dev/urandom of=/big bs=1M count=96 2>/dev/null; dd if=/dev/urandom of=/m/big bs=1M count=96 2>/dev/null; sync; echo ready; sleep 100000";
    system
        .run([
            "run",
            "-d",
            "--name",
            "box",
            "-m",
            "256M",
            "-c",
            "1",
            "--network",
            "none",
            "-v",
            "v:/m",
            "--journal",
            "writeback:8M",
            "--storage-size",
            "2G",
            "busybox",
            "sh",
            "-c",
            fill,
        ])
        .ok();
    within(Duration::from_secs(60), "the files are written", || {
        system.run(["logs", "box"]).ok().stdout.contains("ready")
    });
    let upper = system.bundle("box").join("upper.ext4");
    let volume = disk(&system, "v");
    assert_eq!(fs::metadata(&upper).unwrap().len(), 2 << 30);
    assert!(allocated(&upper) > 90 << 20 && allocated(&volume) > 90 << 20);
    // At once, when it is asked for.
    system.run(["exec", "box", "rm", "/m/big"]).ok();
    assert_eq!(system.run(["clean", "box"]).ok().stdout, "box\n");
    assert!(allocated(&volume) < 12 << 20, "{}", allocated(&volume));
    // By itself.
    system.run(["exec", "box", "rm", "/big"]).ok();
    within(Duration::from_secs(60), "the space has come back", || {
        allocated(&upper) < 16 << 20
    });
    let shown = system
        .run([
            "exec",
            "box",
            "sh",
            "-c",
            "grep -c ' / overlay' /proc/mounts",
        ])
        .ok();
    assert_eq!(shown.stdout, "1\n");
    system.run(["stop", "box"]).ok();
    check(&upper, system.scratch());
}

/// What was fsynced is there after the VMM was killed, and the file system is whole.
fn kill_rounds(modes: &[&str], rounds: u32) {
    let system = System::start();
    for mode in modes {
        let name = &format!("v-{mode}");
        system
            .run([
                "volume",
                "create",
                "-s",
                "256M",
                "--opt",
                &format!("journal={mode}"),
                name,
            ])
            .ok();
        for round in 0..rounds {
            let id = &format!("{mode}-{round}");
            // Told only when it is on the disk.
            let script = "i=0; while :; do i=$((i+1)); head -c 20000 /dev/urandom >/m/$i; md5sum /m/$i >/m/$i.sum; sync /m/$i /m/$i.sum /m; echo done $i; rm -f /m/$((i-40)) /m/$((i-40)).sum; done";
            let volume = format!("{name}:/m");
            system
                .run([
                    "run",
                    "-d",
                    "--name",
                    id,
                    "-m",
                    "256M",
                    "-c",
                    "1",
                    "--network",
                    "none",
                    "-v",
                    &volume,
                    "busybox",
                    "sh",
                    "-c",
                    script,
                ])
                .ok();
            let count = || system.run(["logs", id]).ok().stdout.lines().count();
            // A moment that is another one in each round.
            let wanted = 5 + usize::try_from(round * 7 % 30).unwrap();
            within(Duration::from_secs(60), "some files are written", || {
                count() >= wanted
            });
            kill(system.vmm(id), Signal::KILL);
            eventually("the container has ended", || system.state(id) == "stopped");
            let told = system.run(["logs", id]).ok().stdout;
            let last: u32 = told
                .lines()
                .last()
                .unwrap()
                .trim_start_matches("done ")
                .parse()
                .unwrap();
            check(&disk(&system, name), system.scratch());
            system.run(["delete", id]).ok();
            let verify = format!(
                "cd / && for i in $(seq $(({last} > 38 ? {last} - 38 : 1)) {last}); do md5sum -c /m/$i.sum >/dev/null || echo lost $i; done; rm -rf /m/*"
            );
            let verified = system
                .run([
                    "run",
                    "--rm",
                    "-m",
                    "256M",
                    "-c",
                    "1",
                    "--network",
                    "none",
                    "-v",
                    &volume,
                    "busybox",
                    "sh",
                    "-c",
                    &verify,
                ])
                .ok();
            assert_eq!(
                verified.stdout, "",
                "{mode}, round {round}, {last} files: {verified:?}"
            );
        }
    }
}

#[test]
fn what_was_fsynced_outlives_a_killed_machine() {
    kill_rounds(&["ordered", "writeback", "journal"], 1);
}

#[test]
#[ignore = "takes minutes: make test-real"]
fn what_was_fsynced_outlives_many_killed_machines() {
    kill_rounds(&["ordered"], 34);
}

#[test]
#[ignore = "takes minutes: make test-real"]
fn what_was_fsynced_outlives_many_killed_machines_with_writeback() {
    kill_rounds(&["writeback"], 33);
}

#[test]
#[ignore = "takes minutes: make test-real"]
fn what_was_fsynced_outlives_many_killed_machines_with_data_journaled() {
    kill_rounds(&["journal"], 33);
}
