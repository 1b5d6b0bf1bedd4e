//! Files that a user names.

use std::fs::{self, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use crate::system::System;

#[test]
fn an_archive_is_written_to_what_the_user_names() {
    let system = System::start();
    let at = |name: &str| system.scratch().join(name);
    let save = |path: &str| system.run(["image", "save", "-o", path, "busybox"]);
    let is_archive = |path: &std::path::Path| {
        let listed = Command::new("tar").arg("-tf").arg(path).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).contains("index.json")
    };

    // A file, over one with a mode of its own, through a link, to one that is not there.
    fs::write(at("a.tar"), "before").unwrap();
    fs::set_permissions(at("a.tar"), Permissions::from_mode(0o640)).unwrap();
    save(at("a.tar").to_str().unwrap()).ok();
    assert!(is_archive(&at("a.tar")));
    assert_eq!(fs::metadata(at("a.tar")).unwrap().mode() & 0o777, 0o640);
    symlink("real.tar", at("link.tar")).unwrap();
    save(at("link.tar").to_str().unwrap()).ok();
    assert!(is_archive(&at("real.tar")) && at("link.tar").is_symlink());

    // A named pipe.
    let made = Command::new("mkfifo").arg(at("fifo")).status().unwrap();
    assert!(made.success());
    let fifo = at("fifo");
    let reader = std::thread::spawn(move || fs::read(fifo).unwrap());
    save(at("fifo").to_str().unwrap()).ok();
    fs::write(at("through.tar"), reader.join().unwrap()).unwrap();
    assert!(is_archive(&at("through.tar")));
    assert!(
        fs::symlink_metadata(at("fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );

    // The null device takes everything and stays what it is: as root it was once replaced by the file. A directory is refused.
    symlink("/dev/null", at("null")).unwrap();
    save(at("null").to_str().unwrap()).ok();
    let null = fs::metadata(at("null")).unwrap();
    assert!(at("null").is_symlink() && null.file_type().is_char_device());
    save(at("config").to_str().unwrap())
        .code(1)
        .says("a directory");

    // Standard output under its name, where the references go to standard error.
    let mut command = system.command(["image", "save", "-o", "/dev/stdout", "busybox"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut archive = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut archive)
        .unwrap();
    assert!(child.wait().unwrap().success());
    fs::write(at("stdout.tar"), archive).unwrap();
    assert!(is_archive(&at("stdout.tar")));

    // One that fails leaves the old file, and nothing beside it.
    fs::write(at("old"), "old").unwrap();
    system
        .run(["image", "save", "-o", at("old").to_str().unwrap(), "absent"])
        .code(1)
        .says("image not found");
    assert_eq!(fs::read_to_string(at("old")).unwrap(), "old");
    let beside = fs::read_dir(system.scratch()).unwrap().flatten();
    let left = beside.filter(|entry| entry.file_name().to_string_lossy().starts_with("old."));
    assert_eq!(left.count(), 0);
}
