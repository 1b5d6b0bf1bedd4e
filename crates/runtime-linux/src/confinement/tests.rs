//! A process that has confined itself tries what a helper that was taken over would.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use container_isolation::attack::{answer, call, in_a_child, word};

use super::*;

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

#[test]
fn nothing_is_left_but_the_bundle_and_what_is_open() {
    let scratch = tempfile::tempdir().unwrap();
    let (bundle, other) = (scratch.path().join("bundle"), scratch.path().join("other"));
    for directory in [&bundle, &other] {
        std::fs::create_dir(directory).unwrap();
        std::fs::write(directory.join("config.json"), "{}").unwrap();
    }
    let parent = std::process::id();
    let (bundle, other) = (bundle.as_path(), other.as_path());
    let (failures, status) = in_a_child(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let listener_path = bundle.join("s");
        let listener = std::os::unix::net::UnixListener::bind(&listener_path).unwrap();
        let _client = UnixStream::connect(&listener_path).unwrap();
        #[expect(
            clippy::zombie_processes,
            reason = "the test waits by descriptor, as the engine does"
        )]
        let vmm = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = rustix::process::Pid::from_child(&vmm);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let memory = File::open(format!("/proc/{}/smaps_rollup", vmm.id())).unwrap();
        let confined = enter(bundle, false).unwrap();
        assert!(confined.landlock.is_some());

        let file = |directory: &Path, name: &str| directory.join(name);
        let own = c_string(&file(bundle, "config.json"));
        let program = c_string(Path::new("/bin/true"));
        let (own, program) = (own.as_ptr() as usize, program.as_ptr() as usize);
        let at = word(libc::AT_FDCWD);
        let process = parent as usize;
        let readable = libc::PROT_READ.unsigned_abs() as usize;
        let executable = readable | libc::PROT_EXEC.unsigned_abs() as usize;
        let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).unsigned_abs() as usize;
        let terminal = [0_u8; 1];
        let terminal = terminal.as_ptr() as usize;
        let mut acts = Vec::new();
        // What it needs.
        acts.extend([
            (
                "read its bundle",
                answer(std::fs::read(file(bundle, "config.json"))),
                0,
            ),
            ("write a record", answer(write_record(bundle)), 0),
            ("go on with a log", answer(rotate(bundle)), 0),
            (
                "use a socket",
                answer(
                    ours.write_all(b"x")
                        .and_then(|()| theirs.read_exact(&mut [0])),
                ),
                0,
            ),
            ("take a client", answer(listener.accept()), 0),
            (
                "make a thread",
                answer(
                    std::thread::Builder::new()
                        .spawn(|| 1)
                        .map(std::thread::JoinHandle::join),
                ),
                0,
            ),
            (
                "ask for the machine's memory",
                answer(std::os::unix::fs::FileExt::read_at(
                    &memory,
                    &mut [0; 64],
                    0,
                )),
                0,
            ),
            (
                "kill its VMM",
                answer(
                    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL)
                        .map_err(io::Error::from),
                ),
                0,
            ),
            ("wait for its VMM", answer(wait(&pidfd)), 0),
            (
                "get memory",
                call(
                    libc::SYS_mmap,
                    [0, 4096, readable, anonymous, usize::MAX, 0],
                ),
                0,
            ),
        ]);
        // Files.
        acts.extend([
            (
                "read another bundle",
                answer(File::open(file(other, "config.json"))),
                libc::EACCES,
            ),
            (
                "list another bundle",
                answer(std::fs::read_dir(other)),
                libc::EACCES,
            ),
            (
                "write to another bundle",
                answer(std::fs::write(file(other, "x"), "")),
                libc::EACCES,
            ),
            (
                "remove from another bundle",
                answer(std::fs::remove_file(file(other, "config.json"))),
                libc::EACCES,
            ),
            (
                "move to another bundle",
                answer(std::fs::rename(
                    file(bundle, "config.json"),
                    file(other, "x"),
                )),
                libc::EACCES,
            ),
            (
                "link to another bundle",
                answer(std::fs::hard_link(
                    file(bundle, "config.json"),
                    file(other, "x"),
                )),
                libc::EACCES,
            ),
            (
                "read a file of the host",
                answer(File::open("/etc/passwd")),
                libc::EACCES,
            ),
            (
                "read a program",
                answer(File::open("/bin/true")),
                libc::EACCES,
            ),
            (
                "open a device",
                answer(File::open("/dev/null")),
                libc::EACCES,
            ),
            (
                "look into its process",
                answer(File::open("/proc/self/maps")),
                libc::EACCES,
            ),
            (
                "look into another process",
                answer(File::open(format!("/proc/{parent}/environ"))),
                libc::EACCES,
            ),
            (
                "make a directory",
                call(libc::SYS_mkdirat, [at, own, 0o700, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "make a symbolic link",
                call(libc::SYS_symlinkat, [own, at, program, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "make a device",
                call(libc::SYS_mknodat, [at, own, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "change a mode",
                call(libc::SYS_fchmodat, [at, own, 0o4755, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "change an owner",
                call(libc::SYS_fchownat, [at, own, 1, 1, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "change an attribute",
                call(libc::SYS_setxattr, [own, own, own, 1, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "open by handle",
                call(libc::SYS_open_by_handle_at, [at, own, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
        ]);
        // Sockets.
        for (name, family) in [
            ("make a Unix socket", libc::AF_UNIX),
            ("make an internet socket", libc::AF_INET),
            ("make a netlink socket", libc::AF_NETLINK),
            ("make a packet socket", libc::AF_PACKET),
            ("make a vsock socket", libc::AF_VSOCK),
        ] {
            acts.push((
                name,
                call(
                    libc::SYS_socket,
                    [word(family), word(libc::SOCK_STREAM), 0, 0, 0, 0],
                ),
                libc::ENOSYS,
            ));
        }
        let socket = word(ours.as_raw_fd());
        acts.extend([
            (
                "connect",
                call(libc::SYS_connect, [socket, own, 16, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "listen",
                call(libc::SYS_listen, [socket, 1, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "send to an address",
                call(libc::SYS_sendto, [socket, own, 1, 0, own, 16]),
                libc::ENOSYS,
            ),
        ]);
        // Processes.
        acts.extend([
            (
                "execute",
                call(libc::SYS_execve, [program, 0, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "execute a descriptor",
                call(libc::SYS_execveat, [at, program, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "fork",
                call(libc::SYS_clone, [word(libc::SIGCHLD), 0, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "fork otherwise",
                call(libc::SYS_clone3, [0, 0, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "signal",
                call(libc::SYS_kill, [process, 0, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "signal a thread",
                call(libc::SYS_tgkill, [process, process, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "open a process",
                call(libc::SYS_pidfd_open, [process, 0, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "trace",
                call(libc::SYS_ptrace, [16, process, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "limit another process",
                call(libc::SYS_prlimit64, [process, 7, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "change its own limit",
                call(libc::SYS_prlimit64, [0, 7, own, own, 0, 0]),
                libc::ENOSYS,
            ),
        ]);
        // Power.
        acts.extend([
            (
                "become root",
                call(libc::SYS_setresuid, [0, 0, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "get capabilities",
                call(libc::SYS_capset, [own, own, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "be dumped",
                call(libc::SYS_prctl, [4, 1, 0, 0, 0, 0]),
                libc::ENOSYS,
            ),
            (
                "type on a terminal",
                call(
                    libc::SYS_ioctl,
                    [
                        0,
                        usize::try_from(libc::TIOCSTI).unwrap(),
                        terminal,
                        0,
                        0,
                        0,
                    ],
                ),
                libc::ENOSYS,
            ),
            (
                "write code",
                call(
                    libc::SYS_mmap,
                    [0, 4096, executable, anonymous, usize::MAX, 0],
                ),
                libc::ENOSYS,
            ),
        ]);
        for (name, number) in [
            ("mount", libc::SYS_mount),
            ("open a tree", libc::SYS_open_tree),
            ("make namespaces", libc::SYS_unshare),
            ("enter namespaces", libc::SYS_setns),
            ("change the root", libc::SYS_chroot),
            ("make rings", libc::SYS_io_uring_setup),
            ("load a program into the kernel", libc::SYS_bpf),
            ("use keys", libc::SYS_keyctl),
            ("handle faults", libc::SYS_userfaultfd),
            ("count events", libc::SYS_perf_event_open),
            ("make a memory file", libc::SYS_memfd_create),
            ("get shared memory", libc::SYS_shmget),
            ("open a queue", libc::SYS_mq_open),
            ("set the time", libc::SYS_clock_settime),
            ("restart the host", libc::SYS_reboot),
        ] {
            acts.push((name, call(number, [0; 6]), libc::ENOSYS));
        }
        let _ = std::fs::remove_file(listener_path);
        acts
    });
    assert_eq!(failures, Vec::<String>::new());
    let line = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap().trim().to_owned()
    };
    assert_eq!(
        (line("NoNewPrivs:"), line("Seccomp:")),
        ("1".into(), "2".into())
    );
    // Root keeps CAP_KILL, the sixth.
    let kept = if rustix::process::geteuid().is_root() {
        1 << 5
    } else {
        0
    };
    for set in ["CapEff:", "CapPrm:"] {
        assert_eq!(
            u64::from_str_radix(&line(set), 16).unwrap() & !kept,
            0,
            "{set}"
        );
    }
    assert_eq!(std::fs::read_dir(other).unwrap().count(), 1);
}

fn write_record(bundle: &Path) -> io::Result<()> {
    container_resource::bundle::write_json(&bundle.join("exit.json"), &1)?;
    let read: u32 = container_resource::bundle::read_json(&bundle.join("exit.json"))?;
    assert_eq!(read, 1);
    Ok(())
}

/// As the log does when it is full.
fn rotate(bundle: &Path) -> io::Result<()> {
    let [log, old, new] =
        ["stdio.log", "stdio.log.1", "stdio.log.partial"].map(|name| bundle.join(name));
    container_files::append(&log)?.write_all(b"x")?;
    container_files::append(&new)?.set_len(0)?;
    std::fs::hard_link(&log, &old)?;
    std::fs::rename(&new, &log)
}

fn wait(process: &std::os::fd::OwnedFd) -> io::Result<()> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    use std::os::fd::AsFd;
    waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED)?;
    Ok(())
}
