//! Guests that boot from an image: `--init-image`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::system::System;
use crate::templates::{restored, templates, wait_for_template};

/// What the image's init says before the guest's agent takes its place.
const GREETING: &str = "init of an image";
/// How soon an image that cannot boot must be told of.
const SOON: Duration = Duration::from_secs(20);
/// The same of one that boots and is silent: a guest has a minute.
const SILENCE: Duration = Duration::from_secs(90);

/// A root like those of distributions, with an init that greets and becomes the installation's vminitd.
fn tree(system: &System) -> PathBuf {
    let tree = system.scratch().join("tree");
    scripted(
        &tree,
        &format!("echo '<2>{GREETING}' >/dev/kmsg\nexec /sbin/agent"),
    );
    let initramfs = system.prefix().join("share/container/initramfs-amd64.cpio");
    let agent = Command::new("cpio")
        .args(["--quiet", "--extract", "--to-stdout", "init"])
        .stdin(fs::File::open(initramfs).unwrap())
        .output()
        .unwrap();
    assert!(agent.status.success() && !agent.stdout.is_empty());
    install(&tree.join("sbin/agent"), &agent.stdout);
    tree
}

/// Makes `tree` a root whose init is a shell script.
pub fn scripted(tree: &Path, script: &str) {
    for directory in ["dev", "proc", "run", "sys", "sbin", "bin"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    let script = format!("#!/bin/busybox sh\n{script}\n");
    install(&tree.join("sbin/vminitd"), script.as_bytes());
    install(
        &tree.join("bin/busybox"),
        &fs::read("/bin/busybox").unwrap(),
    );
}

fn install(program: &Path, content: &[u8]) {
    fs::write(program, content).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Makes `tree` the image `name`.
pub fn import(system: &System, tree: &Path, name: &str, flags: &[&str]) {
    let tar = system.scratch().join(format!("{name}.tar"));
    let made = Command::new("tar")
        .args(["--numeric-owner", "--owner=0", "--group=0", "-cf"])
        .arg(&tar)
        .arg("-C")
        .arg(tree)
        .arg(".")
        .status();
    assert!(made.unwrap().success());
    let mut words = vec!["image", "import"];
    words.extend(flags.iter().chain(&[tar.to_str().unwrap(), name]));
    system.run(words).ok();
}

fn greets(system: &System, id: &str) -> bool {
    let log = system.run(["logs", "--boot", id]).ok().stdout;
    log.contains(GREETING)
}

#[test]
fn a_container_runs_under_the_init_of_an_image() {
    let system = System::start();
    import(&system, &tree(&system), "custom", &[]);
    let shape = ["-m", "256M", "-c", "1"];
    let run = |id: &str, flags: &[&str]| {
        let words = ["run", "-d", "--name", id].into_iter().chain(shape);
        let words = words.chain(flags.iter().copied());
        system.run(words.chain(["busybox", "sleep", "100000"])).ok();
    };
    run("usual", &[]);
    wait_for_template(&system);
    run("boxed", &["--init-image", "custom"]);
    assert!(greets(&system, "boxed") && !greets(&system, "usual"));
    // A whole container: it is written to, counted, stopped in order and started again.
    let write = ["exec", "boxed", "sh", "-c", "echo kept >/file; id -u; df /"];
    assert!(system.run(write).ok().stdout.starts_with("0\n"));
    assert!(system.sample("boxed")["numProcesses"].as_u64().unwrap() >= 1);
    system.run(["stop", "-t", "1", "boxed"]).ok();
    let inspected = system.inspect("boxed");
    assert_eq!(
        inspected["configuration"]["initImage"]["reference"],
        "docker.io/library/custom:latest"
    );
    assert_eq!(inspected["status"]["state"], "stopped");

    // Its image is held as its own one is, and gone when nobody needs it.
    let kept = system.run(["image", "prune", "--all"]).ok().stdout;
    assert!(!kept.contains("custom"), "{kept}");
    system
        .run(["image", "delete", "custom"])
        .code(1)
        .says("container boxed is using it");
    system.run(["image", "delete", "--force", "custom"]).ok();
    system.run(["start", "boxed"]).ok();
    assert!(greets(&system, "boxed"));
    let kept = system.run(["exec", "boxed", "cat", "/file"]).ok().stdout;
    assert_eq!(kept, "kept\n");
    // No start from a template, and none was made for it.
    assert!(!restored(&system, "boxed"));
    assert_eq!(templates(&system).lines().count(), 1);
    system.run(["rename", "usual", "other"]).code(1);
    system.run(["stop", "-t", "0", "boxed"]).ok();
    system.run(["rename", "boxed", "renamed"]).ok();
    let layers = || {
        let files = fs::read_dir(system.app().join("layers")).unwrap();
        let images = files.filter(|file| {
            let path = file.as_ref().unwrap().path();
            path.extension() == Some("erofs".as_ref())
        });
        images.count()
    };
    let before = layers();
    system.run(["image", "prune"]).ok();
    assert_eq!(layers(), before);
    system.run(["start", "renamed"]).ok();
    system.run(["delete", "--force", "renamed"]).ok();
    system.run(["image", "prune"]).ok();
    assert_eq!(layers(), before - 1);
}

#[test]
fn the_configuration_names_the_init_image_of_all() {
    let system = System::stopped();
    system.configure("[vminit]\nimage = \"custom\"\n");
    system.set_up();
    let create = |id: &str, flags: &[&str]| {
        let words = ["create", "--name", id, "--pull", "never"].into_iter();
        let words = words.chain(flags.iter().copied());
        system.run(words.chain(["busybox", "true"]))
    };
    create("missing", &[])
        .code(1)
        .says("init image: image not found: custom");
    import(&system, &tree(&system), "custom", &[]);
    create("boxed", &[]).ok();
    create("usual", &["--init-image", ""]).ok();
    for (id, expected) in [("boxed", true), ("usual", false)] {
        system.run(["start", "-a", id]).ok();
        assert_eq!(greets(&system, id), expected, "{id}");
    }
    let properties = system.run(["system", "property", "list"]).ok().stdout;
    assert!(
        properties.contains("[vminit]\nimage = \"custom\" # "),
        "{properties}"
    );
}

/// A run under the init of `image` is one clear error that `says` so, within `limit`, and leaves nothing.
#[track_caller]
fn refused(system: &System, image: &str, says: &str, limit: Duration) {
    let name = format!("under-{image}");
    let words = ["run", "--rm", "--pull", "never", "--name", &name];
    let words = words.into_iter().chain(["--init-image", image]);
    let begun = Instant::now();
    let outcome = system.run(words.chain(["busybox", "true"]));
    assert!(begun.elapsed() < limit, "{image}: {outcome:?}");
    assert!(outcome.code != 0, "{image}: {outcome:?}");
    let outcome = outcome.says("Error: ").says(says);
    assert!(outcome.stderr.lines().count() <= 2, "{outcome:?}");
    assert!(!system.bundle(&name).exists(), "{image}");
    assert_eq!(system.helper(&name), None, "{image}");
}

#[test]
fn a_guest_that_says_nothing_or_nonsense_is_ended() {
    let system = System::shared();
    let tree = system.scratch().join("mute");
    scripted(&tree, "while :; do read -r line </dev/console; done");
    import(&system, &tree, "mute", &[]);
    // The port's number depends on the devices before it.
    scripted(
        &tree,
        "/bin/busybox mount -t sysfs sysfs /sys
        while :; do
            for port in /sys/class/virtio-ports/*; do
                read -r name <$port/name
                [ \"$name\" != container.guest ] || echo nonsense >/dev/${port##*/}
            done
        done",
    );
    import(&system, &tree, "babbling", &[]);
    refused(
        &system,
        "babbling",
        "the guest announced itself in an unknown way: \"nonsense\"",
        SOON,
    );
    refused(
        &system,
        "mute",
        "the guest did not announce itself within 60 s",
        SILENCE,
    );
}

#[test]
fn an_image_that_cannot_boot_is_one_clear_error() {
    let system = System::shared();
    let tree = tree(&system);
    import(
        &system,
        &tree,
        "foreign-init",
        &["--platform", "linux/arm64"],
    );
    fs::remove_dir(tree.join("proc")).unwrap();
    import(&system, &tree, "no-proc", &[]);
    fs::remove_dir(tree.join("dev")).unwrap();
    import(&system, &tree, "no-dev", &[]);
    let refused = |image: &str, says: &str| refused(&system, image, says, SOON);
    refused("no-such", "init image: image not found");
    refused("foreign-init", "no content for platform linux/amd64");
    refused(
        "busybox",
        "boot from the init image docker.io/library/busybox:latest: while it booted, the virtual machine ended: \
         the guest's kernel panicked: Requested init /sbin/vminitd failed",
    );
    refused("no-proc", "cannot mount /proc");
    refused("no-dev", "while it booted");
}
