//! The table, tried in each of the modes that a host can force on us. A mode is made by what is denied to the process that
//! owns the VMM: a user other than root, and system calls that fail as they do on hosts that do not have them.

use std::ffi::{CStr, CString};
use std::fs::Permissions;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use container_engine::confinement::survey::survey;
use container_engine::{Engine, MacAddress, Nic};
use rustix::thread::UnshareFlags;

use crate::acts::{Expected, NO_TAP, RUNNING, STARTING, TAP};
use crate::tap;
use crate::villain::{Outcome, Villain, chain};

/// A user that no account has.
const USER: u32 = 60_999;
/// The first of the ids that this user has to give away, where it has some.
const FIRST_SUBORDINATE: u32 = 1_000_000_000;

/// What the host has.
#[derive(Debug, Clone, Copy)]
struct Mode {
    name: &'static str,
    root: bool,
    /// The user has ids to give away: of `subuid`(5) and `subgid`(5).
    subordinate_ids: bool,
    user_namespaces: bool,
    namespaces: bool,
    landlock: bool,
    /// What the engine says of it.
    isolation: &'static str,
}

const MODES: [Mode; 9] = [
    Mode {
        name: "root",
        root: true,
        subordinate_ids: false,
        user_namespaces: true,
        namespaces: true,
        landlock: true,
        isolation: "a user namespace",
    },
    Mode {
        name: "root without Landlock",
        root: true,
        subordinate_ids: false,
        user_namespaces: true,
        namespaces: true,
        landlock: false,
        isolation: "a user namespace",
    },
    Mode {
        name: "root without user namespaces",
        root: true,
        subordinate_ids: false,
        user_namespaces: false,
        namespaces: true,
        landlock: true,
        isolation: "namespaces",
    },
    Mode {
        name: "root without namespaces",
        root: true,
        subordinate_ids: false,
        user_namespaces: false,
        namespaces: false,
        landlock: true,
        isolation: "Landlock",
    },
    Mode {
        name: "user",
        root: false,
        subordinate_ids: false,
        user_namespaces: true,
        namespaces: true,
        landlock: true,
        isolation: "a user namespace",
    },
    Mode {
        name: "user without Landlock",
        root: false,
        subordinate_ids: false,
        user_namespaces: true,
        namespaces: true,
        landlock: false,
        isolation: "a user namespace",
    },
    Mode {
        name: "user without namespaces",
        root: false,
        subordinate_ids: false,
        user_namespaces: false,
        namespaces: false,
        landlock: true,
        isolation: "Landlock",
    },
    Mode {
        name: "user without both",
        root: false,
        subordinate_ids: false,
        user_namespaces: false,
        namespaces: false,
        landlock: false,
        isolation: "neither",
    },
    Mode {
        name: "user with subordinate ids",
        root: false,
        subordinate_ids: true,
        user_namespaces: true,
        namespaces: true,
        landlock: true,
        isolation: "a user namespace",
    },
];

const MODE: &str = "CONFINEMENT_TEST_MODE";
const DIRECTORY: &str = "CONFINEMENT_TEST_DIRECTORY";
/// Number of a tap's descriptor, where somebody could make one.
const DESCRIPTOR: &str = "CONFINEMENT_TEST_TAP";

/// Runs [`inside`] in a mode. Those of root are for root to try.
fn run(mode: &Mode) {
    let am_root = rustix::process::geteuid().is_root();
    if (mode.root || mode.subordinate_ids) && !am_root {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let villain = Villain::build(scratch.path());
    std::fs::write(villain.file("secret"), "hush").unwrap();
    let Mode {
        subordinate_ids,
        user_namespaces,
        namespaces,
        landlock,
        ..
    } = *mode;
    let user = (!mode.root && am_root).then_some(USER);
    let cache = villain.file("cache");
    std::fs::create_dir(&cache).unwrap();
    if user.is_some() {
        for file in [
            scratch.path(),
            &cache,
            &villain.file("secret"),
            &villain.file("layer"),
            &villain.file("kernel"),
        ] {
            std::os::unix::fs::chown(file, user, user).unwrap();
        }
    }
    let accounts = subordinate_ids.then(|| accounts(&villain));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = vec![villain.path()];
    all.extend(std::env::split_paths(&path));
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", "modes::inside", "--ignored", "--nocapture"])
        .env("PATH", std::env::join_paths(all).unwrap())
        .env(MODE, mode.name)
        .env(DIRECTORY, scratch.path());
    // The other end of the tap is in a namespace of the test's.
    let tap = am_root.then(|| tap::make().0);
    let number = tap.as_ref().map(AsRawFd::as_raw_fd);
    command.envs(number.map(|number| (DESCRIPTOR, number.to_string())));
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(move || {
            if let Some(tap) = &tap {
                rustix::io::fcntl_setfd(tap, rustix::io::FdFlags::empty())?;
            }
            for (file, place) in accounts.iter().flatten() {
                bind(file, place)?;
            }
            deny(user_namespaces, namespaces, landlock)?;
            if let Some(user) = user {
                rustix::thread::set_thread_groups(&[])?;
                rustix::thread::set_thread_res_gid(gid(user), gid(user), gid(user))?;
                rustix::thread::set_thread_res_uid(uid(user), uid(user), uid(user))?;
            }
            // As that of the product's processes.
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
            Ok(())
        });
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{text}{errors}", mode.name);
    assert!(text.contains("1 passed"), "{text}");
    // Nothing was written, whoever could have.
    assert_eq!(
        std::fs::read(villain.file("layer")).unwrap(),
        vec![b'l'; 8192]
    );
    assert_eq!(std::fs::read(villain.file("secret")).unwrap(), b"hush");
    assert!(!villain.file("new").exists());
}

/// Files with the user's account and ids, and the places that they take for the test alone.
fn accounts(villain: &Villain) -> [(CString, CString); 3] {
    let files = [
        ("passwd", format!("tester:x:{USER}:{USER}::/:/bin/sh\n")),
        ("subuid", format!("tester:{FIRST_SUBORDINATE}:65536\n")),
        ("subgid", format!("{USER}:{FIRST_SUBORDINATE}:65536\n")),
    ];
    let name = |path: &Path| CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    files.map(|(file, text)| {
        let path = villain.file(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        (name(&path), name(&Path::new("/etc").join(file)))
    })
}

/// Puts a file in another's place, in a mount namespace of the calling process. Allocates nothing.
fn bind(file: &CStr, place: &CStr) -> std::io::Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
    // SAFETY: the process has one thread, and shares no file system state after fork.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    Ok(mount_bind(file, place)?)
}

fn uid(id: u32) -> rustix::process::Uid {
    rustix::process::Uid::from_raw(id)
}

fn gid(id: u32) -> rustix::process::Gid {
    rustix::process::Gid::from_raw(id)
}

/// Makes system calls fail as if the host did not have what they are for.
fn deny(user_namespaces: bool, namespaces: bool, landlock: bool) -> std::io::Result<()> {
    let new = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    let mut flags = 0;
    if !user_namespaces {
        flags |= libc::CLONE_NEWUSER;
    }
    if !namespaces {
        flags |= new;
    }
    let op = |code, k: u32, jt, jf| libc::sock_filter { code, jt, jf, k };
    let call = |number: libc::c_long| u32::try_from(number).unwrap_or_default();
    let ruleset = if landlock {
        u32::MAX
    } else {
        call(libc::SYS_landlock_create_ruleset)
    };
    let mut filter = [
        op(0x20, 0, 0, 0),                     // the number
        op(0x15, ruleset, 5, 0),               // Landlock: there is none
        op(0x15, call(libc::SYS_clone), 0, 3), // a new process
        op(0x20, 16, 0, 0),                    // its flags
        op(0x45, flags.unsigned_abs(), 0, 1),  // with such a namespace
        op(
            0x06,
            libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs(),
            0,
            0,
        ),
        op(0x06, libc::SECCOMP_RET_ALLOW, 0, 0),
        op(
            0x06,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
            0,
            0,
        ),
    ];
    let program = libc::sock_fprog {
        len: 8,
        filter: filter.as_mut_ptr(),
    };
    // Root needs none, and `newuidmap` is to have its privilege.
    if !rustix::process::geteuid().is_root() {
        rustix::thread::set_no_new_privs(true)?;
    }
    // SAFETY: the program points to as many instructions as it says.
    match unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Tries the table in the mode that [`run`] has made.
#[tokio::test]
#[ignore = "is run by the other tests, in the modes that they make"]
async fn inside() {
    let Ok(name) = std::env::var(MODE) else {
        return;
    };
    let mode = MODES.iter().find(|mode| mode.name == name).unwrap();
    let directory = std::env::var_os(DIRECTORY).unwrap();
    let villain = Villain::open(Path::new(&directory));
    let engine = Engine::open(&villain.file("cache")).await.unwrap();
    if mode.isolation == "neither" {
        let outcome = villain.tries(&engine, "running", "nothing", "").await;
        assert!(
            matches!(&outcome, Outcome::Died(text) if text.contains("this host cannot confine a VMM")),
            "{outcome:?}"
        );
        survey(false).await.unwrap_err();
    }
    let accept = mode.isolation == "neither";
    let engine = engine.accept_less_confinement(accept);
    let found = survey(accept).await.map_err(|error| chain(&error)).unwrap();
    assert_eq!(found.isolation, mode.isolation);
    assert_eq!(found.landlock > 0, mode.landlock);
    let own_id = found.identity == "an id of its own";
    assert_eq!(own_id, mode.root, "{found:?}");
    let subordinate = found.identity == "a subordinate id";
    assert_eq!(subordinate, mode.subordinate_ids, "{found:?}");
    let socket = std::os::unix::net::UnixListener::bind(villain.file("socket")).unwrap();
    let mut failures = Vec::new();
    let running = RUNNING.map(|act| ("running", act));
    for (when, (act, target, expected)) in running
        .into_iter()
        .chain(STARTING.map(|act| ("starting", act)))
    {
        let nothing_confines = accept && when == "starting" && (act == "open" || act == "reopen");
        let target = match target {
            "SECRET" => villain.file("secret").display().to_string(),
            "NEW" => villain.file("new").display().to_string(),
            "SOCKET" => villain.file("socket").display().to_string(),
            "OWNER" => std::process::id().to_string(),
            other => other.to_owned(),
        };
        let outcome = villain.tries(&engine, when, act, &target).await;
        if !expected.allows(&outcome) && !nothing_confines {
            failures.push(format!(
                "{when} {act} {target}: {outcome:?}, not {expected:?}"
            ));
        }
    }
    drop(socket);
    for (act, expected) in NO_TAP {
        let outcome = villain.tries(&engine, "running", act, "").await;
        if !expected.allows(&outcome) {
            failures.push(format!("{act} without a NIC: {outcome:?}"));
        }
    }
    if let Ok(number) = std::env::var(DESCRIPTOR) {
        // SAFETY: the parent left it open for us, and nothing else knows of it.
        let tap = unsafe { OwnedFd::from_raw_fd(number.parse().unwrap()) };
        let nic = Nic {
            tap: Arc::new(tap),
            mac: MacAddress::new([2, 0, 0, 0, 0, 1]).unwrap(),
            mtu: 1500,
            vhost: None,
            saved: false,
        };
        for (act, expected) in TAP {
            let nic = Some(nic.clone());
            let outcome = villain.tries_with(nic, &engine, "running", act, "").await;
            if !expected.allows(&outcome) {
                failures.push(format!("{act} with a NIC: {outcome:?}"));
            }
        }
    }
    let ids = villain.tries(&engine, "starting", "ids", "").await;
    let own = i64::from(rustix::process::geteuid().as_raw());
    let expected = match (mode.isolation, mode.root) {
        ("a user namespace", _) => Expected::Returns(65_534),
        (_, true) => Expected::Within(0x7000_0000, 0x7fff_ffff),
        (_, false) => Expected::Returns(own),
    };
    if !expected.allows(&ids) {
        failures.push(format!("ids: {ids:?}"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn as_root() {
    run(&MODES[0]);
}

#[test]
fn as_root_without_landlock() {
    run(&MODES[1]);
}

#[test]
fn as_root_without_user_namespaces() {
    run(&MODES[2]);
}

#[test]
fn as_root_without_namespaces() {
    run(&MODES[3]);
}

#[test]
fn as_a_user() {
    run(&MODES[4]);
}

#[test]
fn as_a_user_without_landlock() {
    run(&MODES[5]);
}

#[test]
fn as_a_user_without_namespaces() {
    run(&MODES[6]);
}

#[test]
fn as_a_user_with_subordinate_ids() {
    run(&MODES[8]);
}

#[test]
fn what_cannot_be_confined_is_refused_unless_that_is_accepted() {
    run(&MODES[7]);
}

#[tokio::test]
async fn a_vmm_that_dies_at_its_start_says_why() {
    let scratch = tempfile::tempdir().unwrap();
    let villain = Villain::build(scratch.path());
    let status = Command::new("/proc/self/exe")
        .args(["--exact", "modes::dies", "--ignored"])
        .env("PATH", villain.path())
        .env(DIRECTORY, scratch.path())
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test]
#[ignore = "is run by the test above"]
async fn dies() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let villain = Villain::open(Path::new(&directory));
    let engine = Engine::open(&villain.file("cache")).await.unwrap();
    let outcome = villain.tries(&engine, "dies", "nothing", "").await;
    let expected = "the VMM exited with status 1: vmm: no such machine";
    assert_eq!(outcome, Outcome::Died(expected.to_owned()));
}
