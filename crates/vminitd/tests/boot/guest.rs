//! A guest under QEMU with a root made from the machine's own static busybox.

use std::fs;
use std::io::BufRead;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use container_api::guest::{ExecRequest, Root, ShutdownRequest, StartRequest, WaitRequest};
use container_api::guest_channel::{Calls, Guest as Connection};
use container_api::streams::StandardStream;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running machine.
pub struct Guest {
    /// None while it reconnects.
    connection: Option<Connection>,
    pub hello: Value,
    pub directory: TempDir,
    listener: UnixListener,
    vmm: Child,
}

/// Under emulation `rep movsb` goes byte by byte, so the guest had better not prefer it.
const CPU: &str = "max,-svm,-erms,-fsrm";

/// How the machine is made.
pub struct Options {
    pub upper: bool,
    pub memory_mib: u32,
    /// MAC addresses of network devices, which are all on one wire.
    pub nics: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            upper: true,
            memory_mib: 512,
            nics: &[],
        }
    }
}

impl Guest {
    /// Boots a machine up to its hello line.
    pub async fn boot(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        make_image(&path("tree"), &path("image"));
        let socket = path("guest.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        // The machine must not outlive the test, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-accel", "tcg", "-cpu", CPU, "-m"]);
        command.arg(options.memory_mib.to_string());
        command.args([
            "-M",
            "microvm,acpi=off,rtc=off",
            "-nodefaults",
            "-no-user-config",
        ]);
        command
            .args(["-nographic", "-no-reboot", "-kernel"])
            .arg(kernel());
        command.arg("-initrd").arg(initramfs());
        let append = format!(
            "console=hvc0 quiet tsc_early_khz={} reboot=t panic=-1",
            tsc_khz()
        );
        command.args(["-append", &append]);
        command.args(["-device", "virtio-serial-device,bus=virtio-mmio-bus.0"]);
        command.arg("-chardev").arg(format!(
            "file,id=console,path={}",
            path("console").display()
        ));
        command.args(["-device", "virtconsole,chardev=console"]);
        command.arg("-chardev").arg(format!(
            "socket,id=guest,reconnect=1,path={}",
            socket.display()
        ));
        command.args([
            "-device",
            "virtserialport,chardev=guest,name=container.guest",
        ]);
        for (index, mac) in options.nics.iter().enumerate() {
            command
                .arg("-netdev")
                .arg(format!("hubport,id=n{index},hubid=0"))
                .arg("-device")
                .arg(format!(
                    "virtio-net-device,bus=virtio-mmio-bus.{},netdev=n{index},mac={mac}",
                    index + 1
                ));
        }
        if options.upper {
            make_upper(&path("upper"));
            // Which transport a disk has says nothing.
            disk(&mut command, 7, "upper", &path("upper"), false);
        }
        disk(&mut command, 5, "root", &path("image"), true);
        let vmm = command.stdin(Stdio::null()).spawn().unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut line = String::new();
        // One byte at a time would be needed if anything could follow the line before we speak.
        std::io::BufReader::new(&stream)
            .read_line(&mut line)
            .unwrap();
        let hello = line.strip_prefix("CONTAINER-GUEST 1 ").unwrap_or_else(|| {
            panic!(
                "{line:?} {}",
                fs::read_to_string(path("console")).unwrap_or_default()
            )
        });
        let hello = serde_json::from_str(hello).unwrap();
        Self {
            connection: Some(connect(stream).await),
            hello,
            directory,
            listener,
            vmm,
        }
    }

    /// Leaves the connection and waits for the VMM to come back.
    pub async fn reconnect(&mut self) {
        // The old connection ends when the last client is gone and the runtime has seen it.
        self.connection = None;
        let listener = self.listener.try_clone().unwrap();
        let accepted = tokio::task::spawn_blocking(move || listener.accept().unwrap().0);
        self.connection = Some(connect(accepted.await.unwrap()).await);
    }

    /// What the guest has printed on its console.
    pub fn console(&self) -> String {
        fs::read_to_string(self.directory.path().join("console")).unwrap()
    }

    /// The connection into the guest.
    pub fn connection(&self) -> Connection {
        self.connection.clone().unwrap()
    }

    /// Calls into the guest.
    pub fn calls(&self) -> Calls {
        self.connection().calls()
    }

    /// Output of a process to its end.
    pub async fn output(&self, process: &str, stream: StandardStream) -> Vec<u8> {
        let mut output = self.connection().output(stream, process).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(data) = output.next().await.unwrap() {
            bytes.extend_from_slice(&data);
        }
        bytes
    }

    /// Standard output as text.
    pub async fn stdout(&self, process: &str) -> String {
        String::from_utf8(self.output(process, StandardStream::Stdout).await).unwrap()
    }

    /// Standard error as text.
    pub async fn stderr(&self, process: &str) -> String {
        String::from_utf8(self.output(process, StandardStream::Stderr).await).unwrap()
    }

    /// Exit code of a process.
    pub async fn wait(&self, process: &str) -> i32 {
        let request = WaitRequest {
            process: process.to_owned(),
        };
        self.calls()
            .wait(request)
            .await
            .unwrap()
            .into_inner()
            .exit_code
    }

    /// Feeds `data` and closes.
    pub async fn stdin(&self, process: &str, data: Vec<u8>) {
        let chunks: Vec<Bytes> = data.chunks(64 * 1024).map(Bytes::copy_from_slice).collect();
        let data = futures::stream::iter(chunks);
        self.connection().stdin(process, data).await.unwrap();
    }

    /// Runs a command in the container; its exit code, output and errors.
    pub async fn exec(&self, id: &str, args: &[&str]) -> (i32, String, String) {
        self.exec_process(id, process(args), "").await
    }

    /// The same with more to say.
    pub async fn exec_process(
        &self,
        id: &str,
        process: Value,
        user: &str,
    ) -> (i32, String, String) {
        let request = exec_request(id, &process, user);
        self.calls().exec(request).await.unwrap();
        let (out, err) = tokio::join!(self.stdout(id), self.stderr(id));
        (self.wait(id).await, out, err)
    }

    /// Ends the machine in order; the VMM must be gone within a second or two.
    pub async fn shut_down(mut self) {
        self.calls()
            .shutdown(ShutdownRequest::default())
            .await
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.vmm.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < deadline,
                "the machine goes on: {}",
                self.console()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!self.console().contains("vminitd:"), "{}", self.console());
        self.check_upper();
    }

    /// The writable layer needs neither a repair nor its journal.
    fn check_upper(&self) {
        let upper = self.directory.path().join("upper");
        if upper.exists() {
            let header = Command::new("/sbin/dumpe2fs")
                .arg("-h")
                .arg(&upper)
                .output()
                .unwrap();
            let header = String::from_utf8_lossy(&header.stdout).into_owned();
            assert!(!header.contains("needs_recovery"), "{header}");
            run(Command::new("/sbin/e2fsck").arg("-fn").arg(&upper));
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("VMINITD_CONSOLE").is_some() {
            println!("{}", self.console());
        }
        let _ = self.vmm.kill();
        let _ = self.vmm.wait();
    }
}

/// An exec of `process`.
pub fn exec_request(id: &str, process: &Value, user: &str) -> ExecRequest {
    ExecRequest {
        process: id.to_owned(),
        oci_process: process.to_string().into(),
        user: user.to_owned(),
        stdin: false,
        apart: false,
    }
}

/// A request to run `args` as the container's first process.
pub fn start_request(args: &[&str]) -> StartRequest {
    start_with(&spec(args))
}

/// The same with a specification.
pub fn start_with(spec: &Value) -> StartRequest {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    StartRequest {
        id: "box".to_owned(),
        hostname: "box".to_owned(),
        realtime_ns: u64::try_from(now.as_nanos()).unwrap(),
        entropy: vec![7; 64].into(),
        root: Some(Root {
            image_disk: "root".to_owned(),
            upper_disk: Some("upper".to_owned()),
            read_only: false,
        }),
        oci_spec: spec.to_string().into(),
        ..StartRequest::default()
    }
}

/// `process` with the default capabilities.
pub fn process(args: &[&str]) -> Value {
    let capabilities = [
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ];
    json!({
        "args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}],
    })
}

/// config.json as the host makes it.
pub fn spec(args: &[&str]) -> Value {
    let strict = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&str]| -> Vec<String> {
        strict
            .iter()
            .chain(more)
            .map(|&option| option.to_owned())
            .collect()
    };
    json!({
        "ociVersion": "1.2.0",
        "process": process(args),
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": strict},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": with(&["mode=1777", "size=65536k"])},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": strict},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": with(&["ro"])},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": with(&["relatime", "ro"])},
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"},
                           {"type": "cgroup"}],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list",
                            "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                              "/proc/sysrq-trigger"],
        },
    })
}

async fn connect(stream: std::os::unix::net::UnixStream) -> Connection {
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::UnixStream::from_std(stream).unwrap();
    Connection::connect(stream).await.unwrap()
}

/// busybox with all its names, and users.
fn make_image(tree: &Path, image: &Path) {
    for directory in ["bin", "etc", "tmp", "home/user", "root"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    // An owner and a mode that a new directory does not have by itself.
    fs::set_permissions(tree, fs::Permissions::from_mode(0o1751)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(tree, Some(7), Some(8)).unwrap();
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox")).unwrap();
    let names = Command::new("/bin/busybox")
        .arg("--list")
        .output()
        .unwrap()
        .stdout;
    for name in String::from_utf8(names)
        .unwrap()
        .lines()
        .filter(|name| *name != "busybox")
    {
        symlink("busybox", tree.join("bin").join(name)).unwrap();
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n";
    fs::write(tree.join("etc/passwd"), passwd).unwrap();
    fs::write(
        tree.join("etc/group"),
        "root:x:0:\nuser:x:1001:\nvideo:x:44:user\n",
    )
    .unwrap();
    fs::write(tree.join("etc/not-a-program"), "text").unwrap();
    fs::write(tree.join("bin/broken"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(
        tree.join("bin/broken"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    run(Command::new("mkfs.erofs")
        .arg("--quiet")
        .arg(image)
        .arg(tree));
}

fn make_upper(path: &Path) {
    fs::File::create(path).unwrap().set_len(256 << 20).unwrap();
    run(Command::new("/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-E", "lazy_itable_init=1"])
        .arg(path));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn disk(command: &mut Command, transport: u32, serial: &str, path: &Path, read_only: bool) {
    let access = if read_only { "on" } else { "off" };
    let file = path.display();
    command
        .args([
            "-drive",
            &format!("id={serial},if=none,format=raw,file={file},readonly={access}"),
        ])
        .args([
            "-device",
            &format!(
                "virtio-blk-device,bus=virtio-mmio-bus.{transport},drive={serial},serial={serial}"
            ),
        ]);
}

fn kernel() -> PathBuf {
    from_environment("VMINITD_KERNEL", "kernel/vmlinux")
}

fn initramfs() -> PathBuf {
    from_environment("VMINITD_INITRAMFS", "kernel/initramfs")
}

fn from_environment(variable: &str, built: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target")
        .join(built);
    std::env::var_os(variable).map_or(target, PathBuf::from)
}

/// The host's time stamp counter frequency, without which the guest has to measure it.
fn tsc_khz() -> u64 {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let mhz = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("cpu MHz")?.split_once(": "));
    let mhz: f64 = mhz.unwrap().1.trim().parse().unwrap();
    format!("{:.0}", mhz * 1000.0).parse().unwrap()
}

/// What a process of `spec` prints under crun, with `root` as its root.
pub fn crun(root: &Path, spec: &Value) -> String {
    let bundle = tempfile::tempdir().unwrap();
    let mut spec = spec.clone();
    spec["ociVersion"] = json!("1.0.2");
    spec["root"]["path"] = json!(root);
    // What this machine's control groups are is not of interest.
    spec["linux"]["resources"].take();
    for list in ["/mounts", "/linux/namespaces"] {
        let list = spec
            .pointer_mut(list)
            .and_then(Value::as_array_mut)
            .unwrap();
        list.retain(|entry| !entry.to_string().contains("cgroup"));
    }
    fs::write(bundle.path().join("config.json"), spec.to_string()).unwrap();
    let id = format!("vminitd-{}", std::process::id());
    // It refuses to run where the older hierarchies are in use too, so it gets to see the new one only.
    let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && \
        exec crun --cgroup-manager disabled run --bundle \"$1\" \"$2\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(bundle.path())
        .arg(id)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
