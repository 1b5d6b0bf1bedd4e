//! A process that has confined itself tries what one that was taken over would.

use std::ffi::CStr;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use container_isolation::attack::{Answer, answer, call, in_a_child, word};

use super::*;

fn at(text: &'static CStr) -> usize {
    text.as_ptr() as usize
}

#[test]
fn nothing_is_left_but_what_is_open() {
    let parent = std::process::id() as usize;
    let (failures, status) = in_a_child(|| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = datagrams.local_addr().unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        enter().unwrap();
        let cwd = word(libc::AT_FDCWD);
        let (file, program, proc) = (at(c"/etc/passwd"), at(c"/bin/true"), at(c"/proc/self/mem"));
        let socket = word(ours.as_raw_fd());
        let readable = libc::PROT_READ.unsigned_abs() as usize;
        let executable = readable | libc::PROT_EXEC.unsigned_abs() as usize;
        let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).unsigned_abs() as usize;
        let map = |protection| {
            call(
                libc::SYS_mmap,
                [0, 4096, protection, anonymous, usize::MAX, 0],
            )
        };
        let open = |path| call(libc::SYS_openat, [cwd, path, 0, 0, 0, 0]);
        let no = libc::ENOSYS;
        let mut acts = vec![
            // What it needs.
            (
                "ask its network's process",
                answer(
                    ours.write_all(b"x")
                        .and_then(|()| theirs.read_exact(&mut [0])),
                ),
                0,
            ),
            ("answer by UDP", answer(datagrams.send_to(b"x", to)), 0),
            (
                "take a question",
                answer(datagrams.recv_from(&mut [0; 8])),
                0,
            ),
            ("take a client", answer(listener.accept()), 0),
            ("get memory", map(readable), 0),
            (
                "get random numbers",
                answer(
                    rustix::rand::getrandom(&mut [0; 8], rustix::rand::GetRandomFlags::empty())
                        .map_err(io::Error::from),
                ),
                0,
            ),
            // Files: Landlock would answer EACCES, the list does first.
            ("open a file", open(file), no),
            ("open its memory", open(proc), no),
            ("execute memory", map(executable), no),
            (
                "execute a program",
                call(libc::SYS_execve, [program, 0, 0, 0, 0, 0]),
                no,
            ),
            (
                "fork",
                call(libc::SYS_clone, [word(libc::SIGCHLD), 0, 0, 0, 0, 0]),
                no,
            ),
            ("signal", call(libc::SYS_kill, [parent, 0, 0, 0, 0, 0]), no),
            (
                "signal a thread",
                call(libc::SYS_tgkill, [parent, parent, 0, 0, 0, 0]),
                no,
            ),
            (
                "connect",
                call(libc::SYS_connect, [socket, file, 16, 0, 0, 0]),
                no,
            ),
            (
                "listen",
                call(libc::SYS_listen, [socket, 1, 0, 0, 0, 0]),
                no,
            ),
            (
                "type on a terminal",
                call(libc::SYS_ioctl, [0, 0x5412, file, 0, 0, 0]),
                no,
            ),
            (
                "make a tap",
                call(libc::SYS_ioctl, [socket, 0x4004_54ca, file, 0, 0, 0]),
                no,
            ),
        ];
        let control = |command, argument| {
            let arguments = [socket, word(command), argument, 0, 0, 0];
            call(libc::SYS_fcntl, arguments)
        };
        let (nonblocking, signals) = (word(libc::O_NONBLOCK), word(libc::O_ASYNC));
        let fast = word(libc::MSG_FASTOPEN);
        acts.extend([
            ("not wait", control(libc::F_SETFL, nonblocking), 0),
            ("look at a descriptor", control(libc::F_GETFD, 0), 0),
            (
                "have its owner signalled",
                control(libc::F_SETFL, nonblocking | signals),
                no,
            ),
            ("choose an owner", control(libc::F_SETOWN, parent), no),
            // F_SETOWN_EX and F_SETSIG of include/uapi/asm-generic/fcntl.h.
            ("choose a process", control(15, file), no),
            ("choose a signal", control(10, word(libc::SIGKILL)), no),
            (
                "choose a lease",
                control(libc::F_SETLEASE, word(libc::F_RDLCK)),
                no,
            ),
            (
                "connect by a message",
                call(libc::SYS_sendto, [socket, file, 1, fast, 0, 0]),
                no,
            ),
            (
                "connect by another message",
                call(libc::SYS_sendmsg, [socket, file, fast, 0, 0, 0]),
                no,
            ),
        ]);
        for family in [
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
            libc::AF_PACKET,
            libc::AF_VSOCK,
        ] {
            let arguments = [word(family), word(libc::SOCK_STREAM), 0, 0, 0, 0];
            acts.push(("make a socket", call(libc::SYS_socket, arguments), no));
        }
        for (name, number) in [
            ("open in the old way", libc::SYS_open),
            ("open in the new way", libc::SYS_openat2),
            ("open by handle", libc::SYS_open_by_handle_at),
            ("list a directory", libc::SYS_getdents64),
            ("remove", libc::SYS_unlinkat),
            ("move", libc::SYS_renameat2),
            ("link", libc::SYS_linkat),
            ("change a mode", libc::SYS_fchmodat),
            ("make a device", libc::SYS_mknodat),
            ("make a pair of sockets", libc::SYS_socketpair),
            ("bind", libc::SYS_bind),
            ("set an option of a socket", libc::SYS_setsockopt),
            ("fork in the new way", libc::SYS_clone3),
            ("fork in the old way", libc::SYS_vfork),
            ("execute a descriptor", libc::SYS_execveat),
            ("open a process", libc::SYS_pidfd_open),
            ("take a descriptor", libc::SYS_pidfd_getfd),
            ("read a process", libc::SYS_process_vm_readv),
            ("write a process", libc::SYS_process_vm_writev),
            ("trace", libc::SYS_ptrace),
            ("enter a namespace", libc::SYS_setns),
            ("make a namespace", libc::SYS_unshare),
            ("mount", libc::SYS_mount),
            ("copy a mount", libc::SYS_open_tree),
            ("change the root", libc::SYS_pivot_root),
            ("become another user", libc::SYS_setuid),
            ("take capabilities", libc::SYS_capset),
            ("change itself", libc::SYS_prctl),
            ("set limits", libc::SYS_prlimit64),
            ("set another filter", libc::SYS_seccomp),
            ("restrict itself", libc::SYS_landlock_create_ruleset),
            ("load a program of the kernel's", libc::SYS_bpf),
            ("use a ring", libc::SYS_io_uring_setup),
            ("load a module", libc::SYS_finit_module),
            ("use keys", libc::SYS_keyctl),
            ("handle faults", libc::SYS_userfaultfd),
            ("count events", libc::SYS_perf_event_open),
            ("make a memory file", libc::SYS_memfd_create),
            ("get shared memory", libc::SYS_shmget),
            ("set the time", libc::SYS_clock_settime),
            ("restart the host", libc::SYS_reboot),
        ] {
            acts.push((name, call(number, [0; 6]), no));
        }
        drop(client);
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
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
}

#[test]
fn files_are_out_of_reach_without_the_list_of_calls_too() {
    let (failures, _) = in_a_child(|| {
        privileges::give_up().unwrap();
        restrict_files().unwrap();
        let port = TcpListener::bind("127.0.0.1:0");
        vec![
            (
                "read a file",
                answer(std::fs::File::open("/etc/passwd")),
                libc::EACCES,
            ),
            (
                "look into itself",
                answer(std::fs::File::open("/proc/self/maps")),
                libc::EACCES,
            ),
            (
                "make a file",
                answer(std::fs::write("/tmp/made-by-a-confined-process", "")),
                libc::EACCES,
            ),
            ("bind", answer(port), libc::EACCES),
            (
                "connect",
                answer(std::net::TcpStream::connect("127.0.0.1:53")),
                libc::EACCES,
            ),
        ]
    });
    assert_eq!(failures, Vec::<String>::new());
}

#[test]
fn who_changes_networks_has_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (failures, status) = in_a_child(|| {
        keep_those_of_networks().unwrap();
        let output = std::process::Command::new("sh")
            .args([
                "-c",
                "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f2 | sort -u",
            ])
            .output()
            .unwrap();
        let sets = String::from_utf8_lossy(&output.stdout).lines().count();
        vec![("run a program with more", Answer::from(sets != 1), 0)]
    });
    assert_eq!(failures, Vec::<String>::new());
    // CAP_NET_BIND_SERVICE and CAP_NET_ADMIN.
    assert!(status.contains("CapEff:\t0000000000001400"), "{status}");
    assert!(status.contains("CapBnd:\t0000000000001400"), "{status}");
}
