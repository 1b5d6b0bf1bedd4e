//! Network namespaces that a test makes, and what is done in them.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace; gone when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// An empty one, with `lo` up.
    pub fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args([
                "-n",
                "sh",
                "-c",
                "ip link set lo up && echo ready && exec sleep 600",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut ready).unwrap();
        Self { holder }
    }

    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Runs `work` in a thread that is in the namespace. Sockets that it makes stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(self.pid());
                work()
            });
            inside.join().unwrap()
        })
    }

    /// As [`Self::run`], beside the test.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let pid = self.pid();
        std::thread::spawn(move || {
            enter(pid);
            work()
        })
    }

    /// Runs a command line of `ip` or another program; gives what it says.
    pub fn sh(&self, line: &str) -> String {
        let (output, status) = self.try_sh(line);
        assert!(status, "{line}: {output}");
        output
    }

    /// The same for one that may fail.
    pub fn try_sh(&self, line: &str) -> (String, bool) {
        let output = self.run(|| Command::new("sh").arg("-c").arg(line).output().unwrap());
        let words = [output.stdout, output.stderr].concat();
        (
            String::from_utf8_lossy(&words).into_owned(),
            output.status.success(),
        )
    }

    /// Joins two namespaces by a cable: interface `name` here, `peer` there.
    pub fn cable(&self, name: &str, other: &Self, peer: &str) {
        self.sh(&format!(
            "ip link add {name} type veth peer name {peer} netns {} && ip link set {name} up",
            other.pid()
        ));
        other.sh(&format!("ip link set {peer} up"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Moves the calling thread into the network namespace of a process.
pub fn enter(pid: u32) {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).unwrap();
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}
