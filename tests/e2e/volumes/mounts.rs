//! How a volume is mounted: parts of it, and options of the mount.

use serde_json::Value;

use crate::system::{SMALL, System};

#[test]
fn a_part_of_a_volume_is_mounted_and_nothing_beside_it() {
    let system = System::start();
    let sh = |mounts: &[&str], script: &str| {
        let mounts = mounts.iter().flat_map(|mount| ["--mount", mount]);
        let words = ["run", "--rm"].into_iter().chain(SMALL).chain(mounts);
        system.run(words.chain(["busybox", "sh", "-c", script]))
    };
    // The mount makes the volume, with these options.
    let whole = "type=volume,source=data,target=/m,volume-opt=size=64M,volume-label=team=web,volume-driver=local";
    let script = "mkdir -p /m/a/b && echo deep >/m/a/b/f && echo top >/m/top && ln -s a /m/in \
                  && ln -s / /m/root && ln -s ../../../../etc /m/up && ln -s /etc/passwd /m/a/passwd";
    sh(&[whole], script).ok();
    let shown: Value =
        serde_json::from_str(&system.run(["volume", "inspect", "data"]).ok().stdout).unwrap();
    let configuration = &shown[0]["configuration"];
    assert_eq!(configuration["sizeInBytes"], 64 << 20);
    assert_eq!(configuration["labels"]["team"], "web");
    assert_eq!(configuration["options"]["size"], "64M");

    let part = |path: &str| format!("type=volume,src=data,dst=/m,volume-subpath={path}");
    for path in ["a/b", "in/b"] {
        let script = "cat /m/f; ls -A /m/.. | grep -c '^top$'; echo more >>/m/f";
        let told = sh(&[&part(path)], script).ok().stdout;
        assert!(
            told.starts_with("deep\n") && told.ends_with("\n0\n"),
            "{told}"
        );
    }
    // A file, and beside it the whole for reading.
    let mounts = [
        "type=volume,src=data,dst=/etc/motd,volume-subpath=a/b/f",
        "type=volume,src=data,dst=/m,readonly=true",
    ];
    let script =
        "cmp /etc/motd /m/a/b/f && wc -l </etc/motd && touch /m/x 2>&1 | grep -c Read-only";
    assert_eq!(sh(&mounts, script).ok().stdout, "3\n1\n");

    // Links that lead out lead nowhere, at the end of the path or on the way.
    for path in ["root", "root/etc", "up", "up/passwd", "a/passwd"] {
        let leads_out = "a symbolic link leads out of the volume";
        sh(&[&part(path)], "ls /m").code(1).says(leads_out);
    }
    let missing = "cannot mount 'a/none' of the volume at /m";
    sh(&[&part("a/none")], "true").code(1).says(missing);
    let climbs = "invalid volume-subpath '../x': a relative path is expected, without '..'";
    sh(&[&part("../x")], "true").code(64).says(climbs);

    // The files of a container that does not run are seen as it sees them.
    let words = ["create", "--name", "still"].into_iter().chain(SMALL);
    let mount = part("a");
    let words = words.chain(["--mount", &mount, "busybox", "true"]);
    system.run(words).ok();
    let copied = system.scratch().join("copied");
    let copied = copied.to_str().unwrap();
    system.run(["cp", "still:/m/b/f", copied]).ok();
    assert_eq!(
        std::fs::read_to_string(copied).unwrap(),
        "deep\nmore\nmore\n"
    );
    system.run(["cp", "still:/m/top", copied]).code(1);
    system.run(["delete", "still"]).ok();

    // What a mount does not let do.
    let script = "cp /bin/busybox /m/true; /m/true 2>&1 | grep -c 'Permission denied'; grep -o ' /m ext4 [^ ]*' /proc/mounts";
    let told = sh(
        &["src=data,dst=/m,noexec,nosuid,nodev,volume-nocopy"],
        script,
    )
    .ok()
    .stdout;
    assert!(
        told.starts_with("1\n") && told.contains("nosuid,nodev,noexec"),
        "{told}"
    );
    for (mount, words) in [
        (
            "src=data,dst=/m,volume-driver=nfs",
            "volume-driver=nfs is not available here",
        ),
        (
            "src=data,dst=/m,volume-opt=type=nfs",
            "unknown volume option 'type'",
        ),
        ("src=data,dst=/m,U", "option U is not available here"),
        ("src=data,taget=/m", "did you mean target?"),
    ] {
        sh(&[mount], "true").code(64).says(words);
    }
}

#[test]
fn what_is_mounted_over_etc_hides_no_file_of_the_network() {
    let system = System::start();
    let shared = system.scratch().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let share = format!("{}:/etc", shared.display());
    let see = |mount: &[&str]| {
        let words = ["run", "--rm", "--hostname", "seen"].into_iter();
        let words = words.chain(SMALL).chain(mount.iter().copied());
        let script = "cat /etc/hostname; grep -c localhost /etc/hosts";
        system.run(words.chain(["busybox", "sh", "-c", script]))
    };
    for mount in [
        &["--tmpfs", "/etc"][..],
        &["--tmpfs", "/etc", "--read-only"],
        &["--mount", "type=volume,src=empty,dst=/etc,volume-nocopy"],
        &["-v", "filled:/etc"],
    ] {
        let told = see(mount).ok().stdout;
        assert!(
            told.starts_with("seen\n") && !told.ends_with("\n0\n"),
            "{mount:?}: {told}"
        );
    }
    // The host's directory gets no files of ours; 2: grep finds none.
    see(&["-v", &share]).code(2);
    assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0);
}

#[test]
fn what_is_mounted_at_a_device_that_some_containers_have_is_there_instead() {
    let system = System::shared();
    let file = system.scratch().join("instead-of-a-device");
    std::fs::write(&file, "own\n").unwrap();
    let devices = ["/dev/fuse", "/dev/net/tun", "/dev/new"];
    let flags = devices.map(|place| format!("--volume={}:{place}", file.display()));
    let words = ["run", "--rm"].into_iter().chain(SMALL);
    let words = words.chain(flags.iter().map(String::as_str));
    let read = ["busybox", "cat"].into_iter().chain(devices);
    let seen = system.run(words.chain(read)).ok();
    assert_eq!(seen.stdout, "own\nown\nown\n");
}

#[test]
fn what_is_mounted_at_a_link_of_the_image_is_where_that_leads() {
    let system = System::start();
    let run = |flags: &[&str], image: &str, script: &str| {
        let small = ["run"].iter().chain(&SMALL);
        let words = [image, "sh", "-c", script];
        system.run(small.chain(flags).chain(&words))
    };
    let script = "mkdir -p /real/dir; echo one >/real/dir/f; ln -s ../../real/dir /data; ln -s /proc /evil; ln -s nowhere /lost; echo lost >/.wh.passwd; mkdir /d; echo two >/d/f";
    run(&["--name", "made"], "busybox", script).ok();
    system
        .run(["commit", "made", "linked"])
        .ok()
        .says("1 of the files cannot be in an image");
    // Filled by what the link leads to, and mounted there.
    let seen = run(
        &["-v", "v:/data"],
        "linked",
        "cat /data/f /d/f; echo three >/real/dir/f; test -f /etc/passwd",
    )
    .ok();
    assert_eq!(seen.stdout, "one\ntwo\n");
    let seen = run(
        &["-v", "v:/m", "--tmpfs", "/data"],
        "linked",
        "cat /m/f; ls /real/dir | wc -l",
    )
    .ok();
    assert_eq!(seen.stdout, "three\n0\n");
    for place in ["w:/lost", "w:/lost/x"] {
        run(&["-v", place], "linked", "true")
            .code(1)
            .says("a link there leads to nothing");
    }
    run(&["-v", "w:/evil"], "linked", "true")
        .code(1)
        .says("a link leads to /proc");
}
