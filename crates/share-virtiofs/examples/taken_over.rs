//! The process of the shares in somebody else's hands: it does one act where it would serve, and says what became of it.
//!
//! Standard input is the request; the argument is the act. The answer is `0` or an error's number; a process that was ended for its call
//! says nothing.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use container_resource::share::Request;
use container_share_virtiofs::{Identity, filter, namespaces, request};

fn main() -> ExitCode {
    let request = request::read().expect("the request");
    namespaces::run(&request, work).expect("a confined process")
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "what the file server takes over"
)]
fn work(_: &Identity, _: &Request, place: namespaces::Place) -> Result<(), namespaces::ShareError> {
    filter::for_start().map_err(|error| namespaces::ShareError::Serve(error.into()))?;
    filter::for_service().map_err(|error| namespaces::ShareError::Serve(error.into()))?;
    let act = std::env::args().nth(1).expect("an act");
    println!("{}", outcome(&act, &place.descriptors));
    Ok(())
}

#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "each act is one call, for one reason"
)]
fn outcome(act: &str, descriptors: &OwnedFd) -> i64 {
    let (verb, path) = act.split_once(' ').unwrap_or((act, ""));
    let path = CString::new(path).expect("no NUL");
    let at = |flags: libc::c_int| {
        // SAFETY: the path ends in a NUL.
        let opened = unsafe { libc::openat(libc::AT_FDCWD, path.as_ptr(), flags, 0o600) };
        answer(opened.into())
    };
    // SAFETY: calls with paths that end in a NUL, and null where the kernel refuses before it looks.
    unsafe {
        match verb {
            "read" => at(libc::O_RDONLY),
            "write" => at(libc::O_WRONLY),
            "create" => at(libc::O_WRONLY | libc::O_CREAT),
            "reopen" => {
                let file = libc::open(path.as_ptr(), libc::O_RDONLY);
                let name = CString::new(file.to_string()).expect("a number");
                let flags = libc::O_WRONLY;
                answer(libc::openat(descriptors.as_raw_fd(), name.as_ptr(), flags).into())
            }
            "above" => answer(libc::openat(descriptors.as_raw_fd(), path.as_ptr(), 0).into()),
            "mkdir" => answer(libc::mkdirat(libc::AT_FDCWD, path.as_ptr(), 0o700).into()),
            "device" => {
                let disk = libc::makedev(8, 0);
                let mode = libc::S_IFBLK | 0o600;
                answer(libc::mknodat(libc::AT_FDCWD, path.as_ptr(), mode, disk).into())
            }
            "capability" => {
                // VFS_CAP_REVISION_2 with CAP_SYS_ADMIN (linux/capability.h).
                let value: [u32; 5] = [0x0200_0001, 1 << 21, 0, 0, 0];
                let name = c"security.capability".as_ptr();
                answer(libc::setxattr(path.as_ptr(), name, value.as_ptr().cast(), 20, 0).into())
            }
            "chown" => answer(libc::fchownat(libc::AT_FDCWD, path.as_ptr(), 4242, 4242, 0).into()),
            "capset" => {
                let mut header = [0x2008_0522_u32, 0];
                let all = [u32::MAX; 6];
                answer(libc::syscall(
                    libc::SYS_capset,
                    header.as_mut_ptr(),
                    all.as_ptr(),
                ))
            }
            "handle" => answer(libc::syscall(libc::SYS_open_by_handle_at, -1, 0_usize, 0)),
            // Changes elsewhere than in its shares.
            "events" => answer(libc::fanotify_init(0, 0).into()),
            "thread" => answer(libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0_usize)),
            "program" => answer(libc::syscall(
                libc::SYS_execve,
                path.as_ptr(),
                0_usize,
                0_usize,
            )),
            "socket" => answer(libc::syscall(
                libc::SYS_socket,
                libc::AF_INET,
                libc::SOCK_STREAM,
                0,
            )),
            "mount" => answer(libc::syscall(
                libc::SYS_mount,
                0_usize,
                0_usize,
                0_usize,
                0,
                0_usize,
            )),
            "remount" => answer(libc::syscall(
                libc::SYS_mount_setattr,
                -1,
                0_usize,
                0,
                0_usize,
                0,
            )),
            "namespace" => answer(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER)),
            "trace" => answer(libc::syscall(libc::SYS_ptrace, 16, 1, 0, 0)),
            "kill" => answer(libc::syscall(libc::SYS_kill, 1, 0)),
            "limit" => answer(libc::syscall(libc::SYS_prlimit64, 0, 7, 0_usize, 0_usize)),
            "code" => {
                let protection = libc::PROT_READ | libc::PROT_EXEC;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                answer(libc::syscall(
                    libc::SYS_mmap,
                    0_usize,
                    4096,
                    protection,
                    flags,
                    -1,
                    0,
                ))
            }
            "memory" => {
                let (protection, flags) = (
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                );
                let bytes = 2_usize << 30;
                answer(libc::syscall(
                    libc::SYS_mmap,
                    0_usize,
                    bytes,
                    protection,
                    flags,
                    -1,
                    0,
                ))
            }
            _ => panic!("no act: {act}"),
        }
    }
}

fn answer(returned: i64) -> i64 {
    if returned >= 0 {
        return 0;
    }
    let error = std::io::Error::last_os_error();
    error.raw_os_error().unwrap_or(-1).into()
}
