//! A container's files from outside: `cp`, `export`, `diff`, `commit`, of a running container and of one that does not run.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::system::{Outcome, SMALL, System};

/// Makes the container `id`, whose files are not its image's any more.
fn changed(system: &System, id: &str) {
    let script = "mkdir -p /data/sub && echo one >/data/one && echo two >/data/sub/two && ln -s one /data/link \
                  && chown 33:44 /data/one && chmod 640 /data/one && dd if=/dev/zero of=/data/sparse bs=1 count=1 seek=8M 2>/dev/null \
                  && ln /data/one /data/hard && mkfifo /data/fifo && rm /etc/group && mv /home /house && echo x >>/etc/passwd \
                  && ln -s /etc/passwd /escape && touch '/tmp/a-10:30:00.log'; sleep 100000";
    system
        .run([
            "run", "-d", "--name", id, "-m", "256M", "-c", "1", "busybox", "sh", "-c", script,
        ])
        .ok();
    crate::system::eventually("the container has made its files", || {
        system
            .run(["exec", id, "test", "-e", "/tmp/a-10:30:00.log"])
            .code
            == 0
    });
}

/// Runs `tar` with `input` and gives what it prints.
fn tar(arguments: &[&str], input: &[u8]) -> String {
    use std::io::Write as _;
    let mut child = Command::new("tar")
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What must hold of a container that runs, and of one that does not.
fn copies(system: &System, id: &str, stat: impl Fn(&str) -> String) {
    let scratch = tempfile::tempdir_in(system.scratch()).unwrap();
    let at = |name: &str| scratch.path().join(name).display().to_string();
    let cp = |from: &str, to: &str| -> Outcome { system.run(["cp", from, to]) };

    // Out: each pair of what is copied and what is there.
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("old"), "old").unwrap();
    let one = format!("{id}:/data/one");
    assert_eq!(cp(&one, &at("old")).ok().stdout, format!("{}\n", at("old")));
    assert_eq!(fs::read_to_string(at("old")).unwrap(), "one\n");
    assert_eq!(
        cp(&one, &at("dir/")).ok().stdout,
        format!("{}\n", at("dir/one"))
    );
    assert_eq!(fs::metadata(at("dir/one")).unwrap().mode() & 0o777, 0o640);
    cp(&one, &at("none/new")).ok();
    cp(&one, &at("missing/"))
        .code(1)
        .says("there is no directory");
    cp(&format!("{id}:/data"), &at("old"))
        .code(1)
        .says("which is a file");
    cp(&format!("{id}:/data/fifo"), &at("special"))
        .code(1)
        .says("neither a file nor a directory");
    assert!(!Path::new(&at("special")).exists());
    assert_eq!(
        cp(&format!("{id}:/data/"), &at("dir")).ok().stdout,
        format!("{}\n", at("dir/data"))
    );
    cp(&format!("{id}:/data"), &at("as")).ok();
    for tree in ["dir/data", "as"] {
        assert_eq!(
            fs::read_to_string(at(&format!("{tree}/sub/two"))).unwrap(),
            "two\n"
        );
        assert_eq!(
            fs::read_link(at(&format!("{tree}/link"))).unwrap(),
            Path::new("one")
        );
        assert!(!Path::new(&at(&format!("{tree}/fifo"))).exists());
        let sparse = fs::metadata(at(&format!("{tree}/sparse"))).unwrap();
        assert!(
            sparse.len() > 8 << 20 && sparse.blocks() * 512 < 1 << 20,
            "{sparse:?}"
        );
        assert_eq!(
            fs::metadata(at(&format!("{tree}/hard"))).unwrap().nlink(),
            2
        );
    }
    // The contents alone.
    cp(&format!("{id}:/data/sub/."), &at("contents")).ok();
    assert!(Path::new(&at("contents/two")).exists());
    cp(&format!("{id}:/data/one/"), &at("dir"))
        .code(1)
        .says("Not a directory");
    cp(&format!("{id}:/nothing"), &at("dir"))
        .code(1)
        .says("No such file");
    cp("nothing-here:/x", &at("dir")).code(1).says("not found");
    cp(&format!("{id}:/tmp/a-10:30:00.log"), &at("dir")).ok();
    // A link in the guest is resolved there: this is not the host's passwd.
    cp(&format!("{id}:/escape"), &at("passwd")).ok();
    assert!(fs::read_to_string(at("passwd")).unwrap().ends_with("x\n"));
    // A path that is no file is written to, and stays what it is; standard output has the file and nothing else.
    assert_eq!(cp(&one, "/dev/stdout").ok().stdout, "one\n");

    // In.
    fs::write(at("x:y"), "colon").unwrap();
    fs::set_permissions(at("x:y"), fs::Permissions::from_mode(0o751)).unwrap();
    symlink("/anywhere", at("dir/link")).unwrap();
    let into = |path: &str| format!("{id}:{path}");
    assert_eq!(
        cp(&at("x:y"), &into("/tmp/")).ok().stdout,
        format!("{id}:/tmp/x:y\n")
    );
    assert_eq!(stat("/tmp/x:y"), "751 0 0 5");
    cp(&at("x:y"), &into("/data/one")).ok();
    assert_eq!(stat("/data/one"), "751 0 0 5");
    cp(&at("x:y"), &into("/deep/er/new")).ok();
    cp(&at("x:y"), &into("/missing/"))
        .code(1)
        .says("there is no directory");
    cp(&at("dir"), &into("/data/one"))
        .code(1)
        .says("which is a file");
    cp(&format!("{}/", at("x:y")), &into("/tmp"))
        .code(1)
        .says("source path is not a directory");
    assert_eq!(
        cp(&at("dir"), &into("/in")).ok().stdout,
        format!("{id}:/in\n")
    );
    assert_eq!(
        cp(&at("dir"), &into("/in/")).ok().stdout,
        format!("{id}:/in/dir\n")
    );
    assert_eq!(stat("/in/dir/data/sub/two"), "644 0 0 4");
    cp(&at("contents/."), &into("/in")).ok();
    assert_eq!(stat("/in/two"), "644 0 0 4");

    // As a stream, with owners and modes.
    fs::write(at("f"), "f").unwrap();
    // Compressed, as docker takes it, too.
    let archive = Command::new("tar")
        .args([
            "-cz",
            "--owner=33",
            "--group=44",
            "--mode=0600",
            "-C",
            &at(""),
            "f",
        ])
        .output()
        .unwrap();
    let sent = system.pipe(["cp", "-", &into("/tmp")], &archive.stdout);
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(stat("/tmp/f"), "600 33 44 1");
    // A directory that is missing on the way.
    cp(&at("f"), &into("/way/to/f")).ok();
    assert!(stat("/way/to").starts_with("755 0 0 "));
    let got = system.pipe(["cp", &into("/data/sub"), "-"], b"");
    assert!(got.status.success(), "{got:?}");
    assert_eq!(tar(&["t"], &got.stdout), "sub/\nsub/two\n");
    cp(&at("f"), &at("g"))
        .code(64)
        .says("must be <container>:<path>");
}

#[test]
fn files_are_copied_of_a_container_that_runs_or_does_not() {
    let system = System::start();
    changed(&system, "box");
    let stat = |path: &str| {
        let shown = system
            .run(["exec", "box", "stat", "-c", "%a %u %g %s", path])
            .ok();
        shown.stdout.trim().to_owned()
    };
    copies(&system, "box", stat);
    // Frozen processes do not matter.
    system.run(["pause", "box"]).ok();
    system.run(["cp", "box:/data/sub/two", "/dev/null"]).ok();
    let null = fs::metadata("/dev/null").unwrap().file_type();
    assert!(null.is_char_device());
    system.run(["unpause", "box"]).ok();

    // Not running: a machine of its own, that nobody sees.
    let script = "echo one >/data/one; ln -f /data/one /data/hard; chown 33:44 /data/one; chmod 640 /data/one; rm -r /in /deep /tmp/f";
    system.run(["exec", "box", "sh", "-c", script]).ok();
    system.run(["stop", "box"]).ok();
    let before = system.inspect("box");
    let stat = |path: &str| {
        let tar = system.pipe(["cp", &format!("box:{path}"), "-"], b"");
        first_member(&tar.stdout)
    };
    copies(&system, "box", stat);
    assert_eq!(system.inspect("box"), before);

    // From one to another, and within one that does not run.
    system
        .run(["create", "--name", "other", "busybox", "true"])
        .ok();
    system.run(["cp", "box:/data", "other:/copy"]).ok();
    let got = system.pipe(["cp", "other:/copy/hard", "-"], b"");
    assert_eq!(first_member(&got.stdout), "640 33 44 4");
    let got = system.pipe(["cp", "other:/copy/one", "-"], b"");
    assert_eq!(first_member(&got.stdout), "751 0 0 5");
    system.run(["cp", "other:/copy/sub", "other:/again"]).ok();
    // A directory into itself would be read and written until the disk is full.
    system
        .run(["cp", "other:/copy", "other:/copy/sub/deep"])
        .code(1)
        .says("cannot copy the directory /copy into itself");
    system
        .run(["cp", "other:/copy/one", "other:/copy/one"])
        .ok();
    system.run(["start", "other"]).ok();
    assert_eq!(system.run(["wait", "other"]).ok().stdout, "0\n");
}

/// Mode, owner, group and size of the first member of a tar.
fn first_member(tar: &[u8]) -> String {
    let octal = |at: usize, length: usize| {
        u64::from_str_radix(std::str::from_utf8(&tar[at..at + length]).unwrap(), 8).unwrap()
    };
    let mut at = 0;
    while tar[at + 156] == b'x' {
        let size = usize::try_from(octal(at + 124, 11)).unwrap();
        at += 512 + size.next_multiple_of(512);
    }
    let [mode, user, group] = [100, 108, 116].map(|field| octal(at + field, 7));
    format!("{mode:o} {user} {group} {}", octal(at + 124, 11))
}

#[test]
fn a_root_is_exported_compared_and_committed() {
    let system = System::start();
    changed(&system, "box");
    let scratch = tempfile::tempdir_in(system.scratch()).unwrap();
    let at = |name: &str| scratch.path().join(name).display().to_string();
    let expected = [
        "A /data",
        "A /data/fifo",
        "A /data/hard",
        "A /data/link",
        "A /data/one",
        "A /data/sparse",
        "A /data/sub",
        "A /data/sub/two",
        "A /escape",
        "C /etc",
        "D /etc/group",
        "C /etc/passwd",
        "D /home",
        "A /house",
        "C /tmp",
        "A /tmp/a-10:30:00.log",
    ];
    let differs = || -> Vec<String> {
        system
            .run(["diff", "box"])
            .ok()
            .stdout
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let running = differs();
    for line in expected {
        assert!(
            running.iter().any(|found| found == line),
            "{line}: {running:?}"
        );
    }
    assert!(
        !running
            .iter()
            .any(|line| line.contains("/proc") || line.contains("/etc/hosts")),
        "{running:?}"
    );

    // Of a running container: of one moment, and it goes on.
    let loop_ = "i=0; while :; do i=$((i+1)); echo $i >/a; echo $i >/b; done";
    system.run(["exec", "-d", "box", "sh", "-c", loop_]).ok();
    crate::system::eventually("the container writes both files", || {
        system.run(["exec", "box", "test", "-e", "/b"]).code == 0
    });
    system.run(["export", "-o", &at("root.tar"), "box"]).ok();
    // Nobody reads it: the container does not wait.
    let unread = system.spawn(["export", "box"]);
    crate::system::eventually("the tar has begun", || unread.has_output());
    let count = || system.run(["exec", "box", "cat", "/a"]).ok().stdout;
    let before = count();
    crate::system::eventually("the container goes on", || count() != before);
    assert!(unread.outcome().ok().stdout.len() > 1 << 20);
    let root = fs::read(at("root.tar")).unwrap();
    let list = tar(&["t"], &root);
    assert!(
        list.lines().any(|name| name == "data/sub/two")
            && !list.lines().any(|name| name.starts_with("proc/1")),
        "{list}"
    );
    let numbers: Vec<i64> = tar(&["x", "-O", "a", "b"], &root)
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert!(
        numbers.len() <= 2 && numbers.iter().all(|n| (numbers[0] - n).abs() <= 1),
        "{numbers:?}"
    );
    assert_eq!(
        system
            .run(["exec", "box", "cat", "/data/sub/two"])
            .ok()
            .stdout,
        "two\n"
    );

    system.run(["stop", "box"]).ok();
    let exported = system.pipe(["export", "box"], b"");
    assert!(tar(&["t"], &exported.stdout).contains("house"));
    assert!(differs().iter().any(|line| line == "A /house"));

    // An image of it, as others see it, and as it runs.
    let changes = [
        "--change",
        "ENV MODE=fast",
        "--change",
        "CMD [\"cat\",\"/data/sub/two\"]",
        "-a",
        "me",
        "-m",
        "why",
    ];
    let mut words = vec!["commit"];
    words.extend(changes);
    words.extend(["box", "box-image:1"]);
    assert_eq!(
        system.run(words).ok().stdout,
        "docker.io/library/box-image:1\n"
    );
    let shown = system
        .run([
            "run",
            "--rm",
            "box-image:1",
            "sh",
            "-c",
            "echo $MODE; ls / /etc; stat -c '%a %u %g' /data/one",
        ])
        .ok();
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(
        (lines[0], lines[lines.len() - 1]),
        ("fast", "640 33 44"),
        "{shown:?}"
    );
    assert!(
        lines.contains(&"house") && !lines.contains(&"home") && !lines.contains(&"group"),
        "{shown:?}"
    );
    assert_eq!(
        system.run(["run", "--rm", "box-image:1"]).ok().stdout,
        "two\n"
    );
    // The holes of its files are none in the layer's tar, and take no room all the same.
    let blobs = fs::read_dir(system.app().join("content/blobs/sha256")).unwrap();
    let blobs = blobs.map(|blob| blob.unwrap().metadata().unwrap());
    let layer = blobs.max_by_key(fs::Metadata::len).unwrap();
    assert!(
        layer.blocks() * 512 < layer.len() / 2,
        "{} of {} bytes are allocated",
        layer.blocks() * 512,
        layer.len()
    );
    let layout = format!(
        "oci:{}:docker.io/library/box-image:1",
        system.app().join("content").display()
    );
    let copied = Command::new("skopeo")
        .args(["copy", "-q", &layout, &format!("dir:{}", at("dir"))])
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    let manifest: Value =
        serde_json::from_slice(&fs::read(at("dir/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    system
        .run(["commit", "--change", "RUN x", "box", "bad"])
        .code(1)
        .says("not supported");
    system.run(["image", "inspect", "bad"]).code(1);
}

/// What is said of a place that is a mount's while its container runs.
const ABSENT: &str = "is not there while the container does not run: something is mounted there";

#[test]
fn links_lead_to_no_place_that_is_not_there_while_a_container_does_not_run() {
    let system = System::start();
    let shared = system.scratch().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("h"), "host\n").unwrap();
    let share = format!("{}:/srv/bind", shared.display());
    let script = "ln -s /srv/bind /l; ln -s /srv/mem /lm; ln -s /proc /lp; ln -s /etc /le; ln -s etc/hosts /lh; ln -s /srv /ls";
    let words = [
        "run",
        "--name",
        "qx",
        "-v",
        &share,
        "--tmpfs",
        "/srv/mem",
        "-v",
        "qv:/srv/vol",
    ];
    let words = words.into_iter().chain(SMALL);
    system
        .run(words.chain(["busybox", "sh", "-c", script]))
        .ok();
    let file = system.scratch().join("f");
    fs::write(&file, "x\n").unwrap();
    let file = file.to_str().unwrap();
    for path in [
        "/l/",
        "/lm/",
        "/lp/x",
        "/ls/bind/",
        "/srv/vol/../bind/",
        "/l/new/f",
    ] {
        let target = format!("qx:{path}");
        system.run(["cp", file, &target]).code(1).says(ABSENT);
    }
    for path in ["/le/hosts", "/lh"] {
        system.run(["cp", file, &format!("qx:{path}")]).code(1);
    }
    // The host has it, and it is not simply missing.
    system.run(["cp", "qx:/l/h", "-"]).code(1).says(ABSENT);
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 1);
    let place = system.scratch().join("out");
    system
        .run(["cp", "qx:/ls", place.to_str().unwrap()])
        .code(1)
        .says(ABSENT);
    // What is there is reached by links, too: the volume, and the root.
    system.run(["cp", file, "qx:/ls/vol/f"]).ok();
    system.run(["cp", file, "qx:/le/f"]).ok();
    system.run(["cp", "qx:/ls/vol/f", "-"]).ok();
}

#[test]
fn a_copy_replaces_no_device_and_makes_no_program_root_s() {
    let system = System::start();
    system.sleeper("su");
    let file = system.scratch().join("f");
    fs::write(&file, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).unwrap();
    let file = file.to_str().unwrap();
    system.run(["exec", "su", "mkfifo", "/ff"]).ok();
    for (path, what) in [
        ("/dev/null", "a device is there"),
        ("/ff", "a FIFO is there"),
    ] {
        system
            .run(["cp", file, &format!("su:{path}")])
            .code(1)
            .says(what);
    }
    system.run(["exec", "su", "true"]).ok();
    system.run(["cp", file, "su:/x"]).ok();
    system.run(["cp", "-a", file, "su:/y"]).ok();
    let modes = system
        .run(["exec", "su", "stat", "-c", "%a", "/x", "/y"])
        .ok();
    assert_eq!(modes.stdout, "755\n6755\n");
    // A file has no place in a directory that is not there, and the copy to standard output is alone there.
    system.run(["cp", file, "su:/none/."]).code(1);
    system.run(["cp", "su:/x", "/dev/stdout"]).ok();
    system.run(["cp", "", "su:/x"]).code(64);
}
