//! What somebody could do who has taken the process of the shares over.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libc::{EACCES, ELOOP, ENOENT, ENOMEM, EPERM, EROFS};

/// `examples/taken_over.rs`, which cargo builds beside the tests.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let target = own.parent().and_then(Path::parent).unwrap();
    target.join("examples/taken_over")
}

/// What became of an act: an error's number, or nothing for a process that was ended.
fn act(shares: &Path, act: &str) -> Option<i32> {
    let request = format!(
        r#"{{"shares":[{{"path":"{0}/rw","readOnly":false}},{{"path":"{0}/ro","readOnly":true}}]}}"#,
        shares.display()
    );
    // Descriptor 3 is where the socket would be.
    let mut child = Command::new("sh")
        .args(["-c", r#"exec "$0" "$1" 3</dev/null"#])
        .arg(program())
        .arg(act)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(request.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if let Ok(number) = said.parse() {
        return Some(number);
    }
    // 128 and SIGSYS.
    let ended = output.status.code() == Some(128 + 31) && said.is_empty();
    assert!(ended, "{act}: {output:?}");
    None
}

#[test]
fn who_takes_it_over_has_the_shares_and_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let shares = scratch.path();
    for name in ["rw", "ro"] {
        fs::create_dir(shares.join(name)).unwrap();
        fs::write(shares.join(name).join("file"), "x").unwrap();
    }
    fs::write(shares.join("secret"), "x").unwrap();
    symlink("/etc/passwd", shares.join("rw/link")).unwrap();
    symlink("../secret", shares.join("rw/up")).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let made = Command::new("mknod")
            .arg(shares.join("rw/null"))
            .args(["c", "1", "3"])
            .status();
        assert!(made.unwrap().success());
    }
    let of = |text: &str| act(shares, text);

    // The shares, as they were given.
    for text in [
        "read /0/file",
        "write /0/file",
        "create /0/new",
        "read /1/file",
    ] {
        assert_eq!(of(text), Some(0), "{text}");
    }
    for text in [
        "write /1/file",
        "create /1/new",
        "mkdir /new",
        "create /new",
        "reopen /1/file",
    ] {
        assert_eq!(of(text), Some(EROFS), "{text}");
    }
    // Nothing beside them, by whatever way.
    for text in [
        "read /etc/passwd",
        "read /proc/self/environ",
        "read /2",
        "read /../etc/passwd",
        "read /0/../../secret",
        "read /0/../secret",
        "above ../../self/root/etc/passwd",
        "above ../exe",
    ] {
        assert_eq!(of(text), Some(ENOENT), "{text}");
    }
    for text in ["read /0/link", "read /0/up"] {
        assert_eq!(of(text), Some(ELOOP), "{text}");
    }
    // Nothing that would serve somebody on the host.
    assert_eq!(of("device /0/disk"), Some(EPERM));
    assert_eq!(of("capability /0/file"), Some(EPERM));
    assert_eq!(of("capset"), Some(EPERM));
    assert_eq!(of("memory"), Some(ENOMEM));
    if is_root {
        assert_eq!(of("read /0/null"), Some(EACCES));
    }
    for text in [
        "handle",
        "events",
        "thread",
        "program /0/file",
        "socket",
        "mount",
        "remount",
        "namespace",
        "trace",
        "kill",
        "limit",
        "code",
    ] {
        assert_eq!(of(text), None, "{text}");
    }
    let file = fs::metadata(shares.join("rw/file")).unwrap();
    assert_eq!(
        (file.uid(), file.permissions().mode() & 0o6000),
        (rustix::process::geteuid().as_raw(), 0)
    );
    // It may be any user of the guest: what it gives away is theirs, in its shares alone.
    let chowned = of("chown /0/file");
    assert!(chowned == Some(0) || !is_root, "{chowned:?}");
    assert_eq!(of("chown /1/file"), Some(EROFS));
}
