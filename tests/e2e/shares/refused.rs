//! What cannot be mounted.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{bind, directory};
use crate::system::System;

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
    symlink("/etc", &data).unwrap();
    let outcome = system.run(["start", "-a", "gone"]);
    assert_ne!(outcome.code, 0);
    outcome.says("a symbolic link is in its way");
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    system.run(["start", "-a", "gone"]).ok();
    system.run(["delete", "gone"]).ok();
}
