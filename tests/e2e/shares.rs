//! Directories and files of the host in a container.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::system::{Outcome, System, eventually, kill};

/// Runs a container of `busybox` with `flags`, which says `ready` and waits.
fn start(system: &System, id: &str, flags: &[&str]) -> Outcome {
    let words = ["run", "-d", "--name", id, "-m", "256M", "-c", "1"];
    let process = ["busybox", "sh", "-c", "echo ready; exec sleep 100000"];
    system.run(words.iter().chain(flags).chain(&process))
}

fn exec(system: &System, id: &str, script: &str) -> Outcome {
    system.run(["exec", id, "sh", "-c", script])
}

/// What `script` prints in the container `id`.
#[track_caller]
fn told(system: &System, id: &str, script: &str) -> String {
    exec(system, id, script).ok().stdout
}

/// An empty directory of the host; its name would be cut by who splits at spaces or `=`.
fn directory(system: &System, name: &str) -> PathBuf {
    let path = system.scratch().join("host = dir").join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

fn bind(path: &Path, target: &str) -> String {
    format!("{}:{target}", path.display())
}

/// Processes of a helper: who serves the shares of `id`, outside and inside its namespaces.
fn servers(system: &System, id: &str) -> Vec<u32> {
    let bundle = system.bundle(id);
    let mark = format!(
        "container-share-virtiofs serve --bundle {}",
        bundle.display()
    );
    let mut found = system.pids(&mark);
    let is_inner = |pid: &u32| {
        status(*pid, "PPid").is_some_and(|parent| found.iter().any(|pid| pid.to_string() == parent))
    };
    let inner: Vec<u32> = found.iter().copied().filter(is_inner).collect();
    found.sort_by_key(|pid| inner.contains(pid));
    found
}

/// A field of `/proc/<pid>/status`.
fn status(pid: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

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
                  test -t 0 < d/moved; echo $?; cat many/* | wc -l; rm -r many";
    assert_eq!(told(&system, "shared", script), "old\nread\nx\n1\n2000\n");
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
fn filesystem_program(directory: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/filesystem.c");
    let built = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(directory.join("program"))
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
    let script = "cd /data; i=50000; while [ $i -lt 100000 ]; do d=$((i/1000)); [ -d $d ] || mkdir $d; echo x >$d/$i; i=$((i+1)); done; \
                  find . -type f -size -2k | wc -l; find . -type f | xargs cat | wc -c";
    assert_eq!(told(&system, "large", script), "100000\n150000\n");
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
    exec(&system, "large", "rm -r /data/*").ok();
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    eventually("the deleted files are forgotten", || held() < 1000);
    system.run(["delete", "-f", "large"]).ok();
}

#[test]
fn what_the_host_changes_is_seen_within_a_second() {
    let system = System::shared();
    let data = directory(&system, "changing");
    let file = data.join("file");
    fs::write(&file, "first\n").unwrap();
    let bound = bind(&data, "/data");
    start(&system, "coherent", &["-v", &bound]).ok();
    // A file that is open all the time, one that is opened again, and a name.
    let watch = "echo watching; exec 3< /data/file; read line <&3; while :; do read line <&3 && echo open; \
                 grep -q second /data/file && echo again; test -e /data/name && echo name; \
                 done | awk '!seen[$0]++ { print; fflush(); if (++n == 3) exit }'";
    let watcher = system.spawn(["exec", "coherent", "sh", "-c", watch]);
    eventually("the guest looks", || watcher.has_output());
    let begun = Instant::now();
    let mut open = fs::OpenOptions::new().append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut open, b"second\n").unwrap();
    fs::write(data.join("name"), "").unwrap();
    eventually("the guest has seen all three", || {
        let ended = rustix::process::Pid::from_raw(i32::try_from(watcher.pid()).unwrap()).unwrap();
        rustix::process::waitid(
            rustix::process::WaitId::Pid(ended),
            rustix::process::WaitIdOptions::EXITED
                | rustix::process::WaitIdOptions::NOHANG
                | rustix::process::WaitIdOptions::NOWAIT,
        )
        .unwrap()
        .is_some()
    });
    // Beside a second, what an emulated guest takes to look.
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(3), "{taken:?}");
    watcher.outcome().ok();

    // The space of a deleted file comes back, though the guest has known it.
    let script = "dd if=/dev/zero of=/data/large bs=1M count=32 2>/dev/null; cat /data/large > /dev/null; rm /data/large";
    exec(&system, "coherent", script).ok();
    let inside = servers(&system, "coherent")[1];
    eventually("nobody holds the deleted file", || {
        let held = fs::read_dir(format!("/proc/{inside}/fd")).unwrap();
        held.flatten().all(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            !target.to_string_lossy().contains("large")
        })
    });
    system.run(["delete", "--force", "coherent"]).ok();
}

#[test]
fn owners_are_mapped_where_that_is_asked_for() {
    use std::os::unix::fs::chown;

    let system = System::shared();
    let [own, plain, one] = ["own", "plain", "one"].map(|name| directory(&system, name));
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let (user, group) = (user.as_raw(), group.as_raw());
    fs::write(own.join("old"), "old\n").unwrap();
    // Its owner alone reads it.
    fs::set_permissions(own.join("old"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(own.join("foreign"), "foreign\n").unwrap();
    chown(own.join("foreign"), Some(7), Some(7)).unwrap();
    fs::write(one.join("file"), "").unwrap();
    let map = "idmap=uids=0-1000-1#20-30-5;gids=0-1001-1";
    let flags = [
        "--mount".to_owned(),
        format!("type=bind,src={},dst=/own,{map}", own.display()),
        "--mount".to_owned(),
        format!("type=bind,src={},dst=/own/plain", plain.display()),
        "-v".to_owned(),
        format!("{}:/one:ro,{map}", one.join("file").display()),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    start(&system, "mapped", &flags).ok();

    // Somebody who is not root there works with the files of who started it.
    let script = "id -u; cd /own; cat old; echo new > new; mkdir d; ln new hard; mv new d; chmod 640 hard; stat -c %u:%g . old d/new foreign /one; \
                  touch plain/x; chmod 666 foreign; echo x > /one";
    let outcome = system.run(["exec", "-u", "1000:1001", "mapped", "sh", "-c", script]);
    let expected = "1000\nold\n1000:1001\n1000:1001\n1000:1001\n65534:65534\n1000:1001\n";
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    for refused in [
        "plain/x: Permission",
        "foreign: Operation",
        "/one: Read-only",
    ] {
        assert!(outcome.stderr.contains(refused), "{}", outcome.stderr);
    }
    for (name, mode) in [("hard", 0o640), ("d", 0o755), ("d/new", 0o640)] {
        let status = fs::metadata(own.join(name)).unwrap();
        let shown = (status.uid(), status.gid(), status.mode() & 0o777);
        assert_eq!(shown, (user, group, mode), "{name}");
    }
    // Root makes files of theirs, and gives them to whom the map names. Who is not in it makes none, and is given none.
    let script = "cd /own; echo > root; echo > given; chown 32:1001 given; stat -c %u:%g root given; chmod 777 .; touch plain/y; stat -c %u plain/y";
    let text = told(&system, "mapped", script);
    assert_eq!(text, "1000:1001\n32:1001\n0\n");
    assert_eq!(fs::metadata(own.join("root")).unwrap().uid(), user);
    assert_eq!(fs::metadata(own.join("given")).unwrap().uid(), 22);
    exec(&system, "mapped", "chown 5 /own/given").code(1);
    system
        .run(["exec", "-u", "5", "mapped", "touch", "/own/fifth"])
        .code(1);
    assert!(!own.join("fifth").exists());
    assert_eq!(fs::metadata(own.join("given")).unwrap().uid(), 22);
    // Each map has a process, which ends with the machine.
    assert_eq!(servers(&system, "mapped").len(), 4);
    system.run(["delete", "--force", "mapped"]).ok();
    eventually("the servers are gone", || {
        servers(&system, "mapped").is_empty()
    });
}

#[test]
fn what_cannot_be_mounted_is_told_before_anything_runs() {
    let system = System::shared();
    let data = directory(&system, "gone");
    let missing = data.join("none");
    let refused = |source: &Path| {
        let bound = bind(source, "/data");
        system
            .run(["run", "--rm", "-v", &bound, "busybox", "true"])
            .code(64)
    };
    let outcome = refused(&missing);
    let expected = format!(
        "Error: bind mount source {}: No such file or directory",
        missing.display()
    );
    assert_eq!(outcome.stderr.lines().next().unwrap(), expected);
    refused(Path::new("/dev/null")).says("only directories, files and Unix sockets can be mounted");
    let spelled = |flags: &[&str]| {
        let words = [&["run", "--rm", "-m", "256M"], flags, &["busybox", "true"]];
        system.run(words.concat())
    };
    for (flags, words) in [
        (&["-v", "/tmp:/."][..], "invalid mount point '/.'"),
        (&["-v", "/tmp:/a/../b"], "invalid mount point '/a/../b'"),
        (&["-v", "/tmp:/proc/"], "invalid mount point '/proc'"),
        (&["--tmpfs", "/dev"], "invalid mount point '/dev'"),
        (
            &["-v", "/tmp:/x", "--tmpfs", "//x/."],
            "duplicate mount point: /x",
        ),
        (
            &["--mount", "type=bind,\"src=/tmp,dst=/x"],
            "invalid quotation marks",
        ),
        (
            &[
                "--mount",
                "type=bind,src=/tmp,dst=/x,bind-propagation=rshared",
            ],
            "do not spread",
        ),
    ] {
        spelled(flags).code(64).says(words);
    }
    let file = data.join("file");
    fs::write(&file, "").unwrap();
    for (source, target, words) in [
        (&data, "/etc/passwd", "a directory, and a file is there"),
        (&file, "/etc", "a file, and a directory is there"),
    ] {
        let outcome = spelled(&["-v", &bind(source, target)]);
        assert_ne!(outcome.code, 0);
        outcome.says(words);
    }
    fs::remove_file(&file).unwrap();

    // The host's kernel is looked at, and not spoken to; not below a share either. One machine for both.
    system
        .run(["run", "--rm", "-v", "/proc:/p", "busybox", "true"])
        .says("cannot share /proc to be written to: it is the host kernel's own (proc)");
    let words = [
        "run",
        "--rm",
        "-m",
        "256M",
        "-v",
        "/proc:/p:ro",
        "-v",
        "/:/host",
        "busybox",
        "sh",
        "-c",
        "ls /p/sys/kernel/ostype; for file in /p /host/proc; do echo x >$file/sys/kernel/ostype; touch $file/x; done; : >>/host/proc/self/oom_score_adj",
    ];
    let outcome = system.run(words).code(1);
    assert_eq!(outcome.stdout, "/p/sys/kernel/ostype\n");
    assert_eq!(
        outcome.stderr.matches("Read-only file system").count(),
        4,
        "{}",
        outcome.stderr
    );

    // What was there when the container was created may have gone since.
    let bound = bind(&data, "/data");
    let words = [
        "create", "--name", "gone", "-m", "256M", "-v", &bound, "busybox", "true",
    ];
    system.run(words).ok();
    fs::remove_dir(&data).unwrap();
    let outcome = system.run(["start", "-a", "gone"]);
    assert_ne!(outcome.code, 0);
    let expected = format!("cannot share {}: No such file or directory", data.display());
    outcome.says(&expected);
    // A container that may write beside it could lead the next start elsewhere.
    std::os::unix::fs::symlink("/etc", &data).unwrap();
    let outcome = system.run(["start", "-a", "gone"]);
    assert_ne!(outcome.code, 0);
    outcome.says("a symbolic link is in its way");
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    system.run(["start", "-a", "gone"]).ok();
    system.run(["delete", "gone"]).ok();
}

#[test]
fn links_of_the_image_lead_to_places_within_it() {
    let system = System::shared();
    let data = directory(&system, "places");
    let file = data.join("a,b");
    fs::write(&file, "host\n").unwrap();
    let words = [
        "run", "--name", "linked", "-m", "256M", "busybox", "sh", "-c",
    ];
    let script = "ln -s /etc /to-etc; ln -s ../../../../.. /up; ln -s /nowhere/deep /dangling; mkdir /nowhere";
    system.run(words.iter().chain(&[script])).ok();
    system.run(["commit", "linked", "linked"]).ok();
    system.run(["delete", "linked"]).ok();
    let file = file.to_str().unwrap();
    let words = [
        "run",
        "--rm",
        "-m",
        "256M",
        "-v",
        &bind(&data, "/to-etc/shared"),
        "-v",
        &bind(&data, "/up/above"),
        "-v",
        &format!("{file}:/dangling"),
        "--mount",
        &format!("ro,dst=//to-etc/./one,\"src={file}\",type=bind"),
        "--tmpfs",
        "/to-etc/shared/memory:size=1m",
        "linked",
        "sh",
        "-c",
        "cat /etc/shared/a,b /above/a,b /dangling /etc/one; grep -c ' /etc/shared/memory tmpfs' /proc/mounts; \
         echo x > /etc/one || echo refused",
    ];
    let outcome = system.run(words).ok();
    assert_eq!(outcome.stdout, "host\nhost\nhost\nhost\n1\nrefused\n");
    system.run(["image", "delete", "linked"]).ok();
    assert_eq!(fs::read_to_string(file).unwrap(), "host\n");
}

#[test]
fn a_machine_ends_with_the_process_of_its_shares_and_the_reverse() {
    let system = System::shared();
    let data = directory(&system, "bound");
    let bound = bind(&data, "/data");
    start(&system, "bound", &["-v", &bound]).ok();
    let processes = servers(&system, "bound");
    assert_eq!(processes.len(), 2, "{processes:?}");
    let (outside, inside) = (processes[0], processes[1]);

    // Who takes it over finds the shares, and nothing else of the host.
    let root = fs::read_dir(format!("/proc/{inside}/root")).unwrap();
    let names: Vec<_> = root.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["0"]);
    let mounts = fs::read_to_string(format!("/proc/{inside}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 2, "{mounts}");
    for namespace in ["mnt", "pid", "net", "ipc", "uts"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_ne!(of(&inside.to_string()), of("self"), "{namespace}");
    }
    let field = |name: &str| status(inside, name).unwrap();
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID.
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(set), "00000000000000db", "{set}");
    }
    for (name, value) in [
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("Seccomp_filters", "2"),
    ] {
        assert_eq!(field(name), value, "{name}");
    }

    // A host that sleeps, or a debugger, stops it in the middle of a wait, and it goes on.
    for _ in 0..3 {
        kill(inside, Signal::STOP);
        eventually("it stands still", || {
            status(inside, "State").is_some_and(|state| state.starts_with('T'))
        });
        kill(inside, Signal::CONT);
        assert_eq!(
            told(&system, "bound", "echo on > /data/on; cat /data/on"),
            "on\n"
        );
    }

    kill(inside, Signal::KILL);
    eventually("the container has ended", || {
        system.state("bound") == "stopped"
    });
    let shown = system.inspect("bound");
    let text = shown["status"].to_string();
    assert!(
        text.contains("the process that serves the container's bind mounts ended"),
        "{text}"
    );
    eventually("nobody is left", || servers(&system, "bound").is_empty());

    system.run(["start", "bound"]).ok();
    assert!(!servers(&system, "bound").contains(&outside));
    let helper = system.helper("bound").unwrap();
    kill(helper, Signal::KILL);
    eventually("nobody is left", || servers(&system, "bound").is_empty());
    system.run(["delete", "--force", "bound"]).ok();
}
