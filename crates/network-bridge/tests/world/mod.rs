//! A host, an internet and a LAN, made of namespaces; the program runs in the first.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

pub mod dns;
pub mod frames;
pub mod guest;
pub mod namespace;
pub mod station;
pub mod tap;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use container_api::network::network_client::NetworkClient;
use container_api::network::*;
use container_api::request::Channel;
use container_api::{Error, descriptors, handover, socket};
use tokio::net::UnixStream;

use self::guest::Guest;
use self::namespace::Namespace;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the addresses of `namespaces` are usable: a link-local one is tried out for a second first, and by it a router asks for its
/// neighbours.
pub fn tried_out(namespaces: &[&Namespace]) {
    let begun = std::time::Instant::now();
    let is_done = |namespace: &&Namespace| namespace.sh("ip -6 address show tentative").is_empty();
    while !namespaces.iter().all(is_done) {
        assert!(
            begun.elapsed() < PATIENCE,
            "addresses are tried out without end"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Addresses of the world: the host's, and a peer's on its LAN, which is its router to everywhere.
pub const HOST: &str = "203.0.113.2";
pub const HOST6: &str = "2001:db8:1::2";
pub const PEER: &str = "203.0.113.1";
pub const PEER6: &str = "2001:db8:1::1";
/// A server beyond the router.
pub const SERVER: &str = "198.51.100.7";
pub const SERVER6: &str = "2001:db8:2::7";

/// Who the program runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    Root,
    /// A user without rights, in a host where users may open `/dev/net/tun`, as they usually may.
    User,
}

/// A user id that has no account.
const USER: &str = "61234";

pub struct World {
    who: As,
    pub host: Namespace,
    pub outside: Namespace,
    pub scratch: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self::of(As::Root)
    }

    pub fn of(who: As) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root"
        );
        let (host, outside) = (Namespace::new(), Namespace::new());
        host.cable("lan", &outside, "lan");
        // Most hosts forward nothing; a new namespace does as this machine's first one.
        host.sh(&format!(
            "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 &&
             ip address add {HOST}/24 dev lan && ip address add {HOST6}/64 dev lan nodad &&
             ip route add default via {PEER} && ip route add default via {PEER6}"
        ));
        // It knows the host alone: what comes from elsewhere gets no answer.
        outside.sh(&format!(
            "ip address add {PEER}/24 dev lan && ip address add {PEER6}/64 dev lan nodad &&
             ip address add {SERVER}/32 dev lo && ip address add {SERVER6}/128 dev lo nodad"
        ));
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("resolv.conf"), "").unwrap();
        if who == As::User {
            let path = scratch.path().display();
            host.sh(&format!("mknod -m 666 {path}/tun c 10 200 && chmod 755 {path} && chmod 644 {path}/resolv.conf"));
        }
        Self {
            who,
            host,
            outside,
            scratch,
        }
    }

    /// Starts the network `name` with `change`d configuration.
    pub fn network(&self, name: &str, change: impl FnOnce(&mut serde_json::Value)) -> Network<'_> {
        let state = self.scratch.path().join(name);
        std::fs::create_dir_all(&state).unwrap();
        let mut configuration = serde_json::json!({
            "name": name, "creationDate": "2026-01-02T03:04:05Z", "plugin": "container-network-bridge",
            "ipv4Subnet": "192.168.64.0/24", "ipv6Subnet": "fd00:64::/64",
        });
        change(&mut configuration);
        std::fs::write(state.join("network.json"), configuration.to_string()).unwrap();
        if self.who == As::User {
            self.host
                .sh(&format!("chown -R {USER}:{USER} {}", state.display()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut network = Network {
            world: self,
            name: name.to_owned(),
            state,
            process: None,
            runtime,
        };
        network.start();
        network
    }

    /// Puts a script in the place of a program of the host; what it is called with goes to the file that this gives.
    pub fn stand_in(&self, program: &str) -> PathBuf {
        let directory = self.scratch.path().join("bin");
        std::fs::create_dir_all(&directory).unwrap();
        let (script, calls) = (directory.join(program), directory.join("calls"));
        std::fs::write(
            &script,
            format!("#!/bin/sh\necho \"$@\" >>{}\n", calls.display()),
        )
        .unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        std::fs::write(&calls, "").unwrap();
        calls
    }

    /// The program, as whoever it runs as.
    fn command(&self) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}/bin:{path}", self.scratch.path().display());
        let mut command = self.program();
        command.env("PATH", path);
        command
    }

    fn program(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_container-network-bridge");
        if self.who == As::Root {
            return Command::new(program);
        }
        let mut command = Command::new("unshare");
        let script = format!(
            "mount --bind {}/tun /dev/net/tun && exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$0\" \"$@\"",
            self.scratch.path().display()
        );
        command.args([
            "-m",
            "--propagation",
            "private",
            "sh",
            "-c",
            &script,
            program,
        ]);
        command
    }

    pub fn resolv_conf(&self) -> PathBuf {
        self.scratch.path().join("resolv.conf")
    }
}

/// A running process of a network.
pub struct Network<'w> {
    world: &'w World,
    pub name: String,
    pub state: PathBuf,
    process: Option<Child>,
    pub runtime: tokio::runtime::Runtime,
}

impl Network<'_> {
    /// Starts the process and waits until it answers.
    pub fn start(&mut self) -> Duration {
        let begun = Instant::now();
        let mut command = self.world.command();
        command
            .args(["start", "--state"])
            .arg(&self.state)
            .arg("--runtime-root")
            .arg(self.world.scratch.path())
            .arg("--resolv-conf")
            .arg(self.world.resolv_conf());
        // The test listens for it, as the apiserver does: who listens is who is trusted.
        let sockets = ["network", "taps"].map(|what| {
            let name = format!("{what}-{}.sock", self.name);
            let path = self.world.scratch.path().join(name);
            let socket = socket::bind(&path).unwrap();
            if self.world.who == As::User {
                // Processes of the user's other networks connect to it.
                let user = USER.parse().ok();
                std::os::unix::fs::chown(&path, user, user).unwrap();
            }
            OwnedFd::from(socket)
        });
        let mappings = sockets
            .into_iter()
            .zip(3..)
            .map(|(parent_fd, child_fd)| FdMapping {
                parent_fd,
                child_fd,
            });
        command.fd_mappings(mappings.collect()).unwrap();
        command.env("CONTAINER_LISTEN_FDS", "2");
        let process = self.world.host.run(|| command.spawn().unwrap());
        self.process = Some(process);
        loop {
            if self
                .call(|mut client| async move { client.inspect(InspectRequest {}).await })
                .is_ok()
            {
                return begun.elapsed();
            }
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "it does not start: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs a command line in the network's namespace; gives what it says.
    pub fn sh(&self, line: &str) -> String {
        let holder = container_api::lock::holder(&self.state.join("namespace.lock"));
        let holder = holder.unwrap().unwrap().as_raw_nonzero();
        let mut command = Command::new("nsenter");
        command.args(["-t", &holder.to_string(), "-n", "sh", "-c", line]);
        let output = command.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// Kills the process as the kernel would.
    pub fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Kills the process that keeps the namespace, too.
    pub fn kill_holder(&self) {
        let lock = self.state.join("namespace.lock");
        container_api::lock::signal_holder(&lock, rustix::process::Signal::KILL).unwrap();
        let runtime = &self.runtime;
        runtime
            .block_on(container_api::lock::released(&lock))
            .unwrap();
    }

    /// Waits until it has ended by itself.
    pub fn ends(&mut self) {
        let mut process = self.process.take().unwrap();
        let begun = Instant::now();
        while process.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it by SIGTERM.
    pub fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(process.wait().unwrap().success());
    }

    pub fn call<T, F>(&self, call: impl FnOnce(NetworkClient<Channel>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let path = self
            .world
            .scratch
            .path()
            .join(format!("network-{}.sock", self.name));
        self.runtime.block_on(async {
            let channel = socket::connect(&path)
                .map_err(|error| Error::new(container_api::Kind::Unavailable, error.to_string()))?;
            let outcome = tokio::time::timeout(PATIENCE, call(NetworkClient::new(channel))).await;
            Ok(outcome.expect("an answer in time")?.into_inner())
        })
    }

    pub fn allocate(&self, request: AllocateRequest) -> Result<Addresses, Error> {
        let reply = self.call(|mut client| async move { client.allocate(request).await });
        reply.map(|reply| reply.addresses.unwrap())
    }

    /// Attaches a container: the reply and its tap.
    pub fn attach(&self, mut request: AttachRequest) -> Result<(AttachReply, OwnedFd), Error> {
        let (mut ours, token) = self.receiver();
        request.token = token;
        let reply = self.call(|mut client| async move { client.attach(request).await })?;
        Ok((reply, self.receive(&mut ours)))
    }

    /// A tap that is nobody's yet.
    pub fn spare(&self) -> OwnedFd {
        let (mut ours, token) = self.receiver();
        self.call(|mut client| async move { client.spare(SpareRequest { token }).await })
            .unwrap();
        self.receive(&mut ours)
    }

    /// A socket on which a tap will come, and the token that names it.
    fn receiver(&self) -> (UnixStream, String) {
        let path = self
            .world
            .scratch
            .path()
            .join(format!("taps-{}.sock", self.name));
        self.runtime.block_on(async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let token = descriptors::send(&path, &[theirs.as_fd()]).await.unwrap();
            (ours, token)
        })
    }

    fn receive(&self, ours: &mut UnixStream) -> OwnedFd {
        self.runtime.block_on(async {
            let (_, taps) = handover::receive::<handover::Tap>(ours)
                .await
                .unwrap()
                .unwrap();
            taps.into_iter().next().unwrap()
        })
    }

    /// A machine of a container of that name.
    pub fn guest(&self, container: &str) -> Guest {
        self.guest_with(container, AttachRequest::default()).0
    }

    /// The same with ports or rules.
    pub fn guest_with(&self, container: &str, request: AttachRequest) -> (Guest, AttachReply) {
        let names = vec![container.to_owned()];
        self.allocate(AllocateRequest {
            container: container.to_owned(),
            names,
            ..AllocateRequest::default()
        })
        .unwrap();
        let request = AttachRequest {
            container: container.to_owned(),
            ..request
        };
        let (reply, tap) = self.attach(request).unwrap();
        let guest = Guest::start(tap, reply.addresses.clone().unwrap());
        (guest, reply)
    }

    pub fn detach(&self, container: &str) {
        let container = container.to_owned();
        self.call(|mut client| async move { client.detach(DetachRequest { container }).await })
            .unwrap();
    }

    /// Tells it under which domains names are found; gives the reason why the host does not find them.
    pub fn domains(&self, domains: &serde_json::Value) -> String {
        let domains = domains.to_string().into_bytes().into();
        let reply =
            self.call(|mut client| async move { client.domains(DomainsRequest { domains }).await });
        reply.unwrap().problem
    }

    pub fn member(&self, container: &str) -> Member {
        let reply = self.call(|mut client| async move { client.inspect(InspectRequest {}).await });
        let mut members = reply.unwrap().members.into_iter();
        members
            .find(|member| member.container == container)
            .unwrap()
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        // The namespace's holder outlives its network's process.
        for lock in ["namespace.lock", "uplink.lock"] {
            let lock = self.state.join(lock);
            let _ = container_api::lock::signal_holder(&lock, rustix::process::Signal::TERM);
        }
    }
}

/// A TCP server that answers each connection with the address of its peer, and what it got when that has ended.
pub fn serve(namespace: &Namespace, address: &str) -> SocketAddr {
    let listener = namespace.run(|| TcpListener::bind(address).unwrap());
    let found = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    found
}

fn answer(mut stream: TcpStream) {
    let mut said = String::new();
    let peer = stream.peer_addr().unwrap().ip().to_canonical();
    let _ = stream.read_to_string(&mut said);
    let _ = write!(stream, "{peer} {said}");
}

/// A UDP server that answers each datagram with the address it came from.
pub fn serve_udp(namespace: &Namespace, address: &str) -> SocketAddr {
    let socket = namespace.run(|| UdpSocket::bind(address).unwrap());
    let found = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, peer)) = socket.recv_from(&mut datagram) {
            let said = String::from_utf8_lossy(&datagram[..length]).into_owned();
            let _ = socket.send_to(
                format!("{} {said}", peer.ip().to_canonical()).as_bytes(),
                peer,
            );
        }
    });
    found
}

/// Asks such a server: says `hello`, closes that direction, and reads the answer.
pub fn ask(namespace: &Namespace, address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"hello")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// Waits until such a server is reached: a port that a process carries is open a moment after somebody listens.
pub fn reached(namespace: &Namespace, address: &str) {
    let begun = Instant::now();
    while let Err(error) = ask(namespace, address) {
        assert!(begun.elapsed() < PATIENCE, "{address}: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same by UDP.
pub fn ask_udp(namespace: &Namespace, address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    namespace.run(|| {
        let any = if address.is_ipv6() {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut answer = [0; 2048];
        // A datagram may be lost while an address is looked for.
        for _ in 0..4 {
            socket.send(b"hello")?;
            match socket.recv(&mut answer) {
                Ok(length) => return Ok(String::from_utf8_lossy(&answer[..length]).into_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::ErrorKind::TimedOut.into())
    })
}
