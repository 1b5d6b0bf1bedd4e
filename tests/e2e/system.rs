//! A system under test.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::namespace::Namespace;

/// Seconds after which a command under test is ended. Far more than any needs, on a loaded machine.
const DEADLINE: &str = "120";
/// What containers' helpers are started from.
const RUNTIME: &str = "container-runtime-linux";

/// Flags of a container with little of everything.
pub const SMALL: [&str; 6] = ["-m", "256M", "-c", "1", "--network", "none"];

/// What a command under test printed, and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Standard output, lossy.
    pub stdout: String,
    /// Standard error, lossy.
    pub stderr: String,
    /// Exit code; 124 when the deadline passed.
    pub code: i32,
}

impl Outcome {
    /// Itself, if the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Itself, if the command ended with `code`.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Itself, if standard error holds `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "stderr lacks {text:?}: {self:?}"
        );
        self
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        }
    }
}

/// A started system with the busybox image, in an app root of its own. Dropped: stopped, and checked for
/// what it left behind.
#[derive(Debug)]
pub struct System {
    scratch: tempfile::TempDir,
    prefix: PathBuf,
    /// What runs its commands, where that is not the test itself: they are in a network namespace.
    runner: Vec<String>,
}

static SHARED: Mutex<Weak<System>> = Mutex::new(Weak::new());

impl System {
    /// A system that tests share which only make and remove containers of their own.
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(system) = shared.upgrade() {
            return system;
        }
        let system = Arc::new(Self::start());
        *shared = Arc::downgrade(&system);
        system
    }

    /// A system of the test's own, which it may do harm to.
    pub fn start() -> Self {
        let system = Self::stopped();
        system.set_up();
        system
    }

    /// Starts its daemon and loads the busybox image.
    pub fn set_up(&self) {
        self.run(["system", "start", "--enable-kernel-install"])
            .ok();
        if std::env::var_os("CONTAINER_TEST_ACCELERATOR").is_some_and(|wanted| wanted == "kvm") {
            // What this system finds, its machines use; the tests would pass without KVM, too.
            let report = self.run(["system", "doctor", "--format", "json"]).ok();
            assert!(report.stdout.contains("\"KVM works\""), "{report:?}");
        }
        self.load_image();
    }

    /// Loads the busybox image.
    pub fn load_image(&self) {
        let loaded = self.run([
            OsStr::new("image"),
            OsStr::new("load"),
            OsStr::new("-i"),
            image().as_os_str(),
        ]);
        loaded.ok();
    }

    /// The same with another prefix.
    pub fn with_prefix(mut self, prefix: PathBuf) -> Self {
        self.prefix = prefix;
        self
    }

    /// The same with a copy of its prefix, which may be changed.
    pub fn with_own_prefix(self) -> Self {
        let prefix = self.scratch.path().join("prefix");
        let script = "mkdir -p \"$2/bin\" \"$2/libexec/container\" && cp \"$1\"/bin/* \"$2/bin\" && \
            cp -r \"$1/libexec/container/plugins\" \"$2/libexec/container\" && ln -s \"$1/share\" \"$2/share\"";
        let made = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&self.prefix)
            .arg(&prefix)
            .output()
            .unwrap();
        Outcome::from(made).ok();
        self.with_prefix(prefix)
    }

    /// The same in a network namespace, which plays the host.
    pub fn in_namespace(self, host: &Namespace) -> Self {
        self.with_runner(["nsenter", &host.flag()])
    }

    /// The same, with its commands run by `runner`.
    pub fn with_runner<const N: usize>(mut self, runner: [&str; N]) -> Self {
        self.runner = runner.map(str::to_owned).to_vec();
        self
    }

    /// An app root without a daemon.
    pub fn stopped() -> Self {
        let prefix = PathBuf::from(
            std::env::var_os("CONTAINER_TEST_PREFIX")
                .expect("CONTAINER_TEST_PREFIX: run `make e2e`"),
        );
        let system = Self {
            scratch: tempfile::Builder::new()
                .prefix("container-e2e")
                .tempdir()
                .unwrap(),
            prefix,
            runner: Vec::new(),
        };
        // Where a machine comes from would depend on what the machine under the tests is busy with.
        if std::env::var_os("CONTAINER_TEST_STANDBY").is_none() {
            system.configure("[container]\nstandby = false\n");
        }
        system
    }

    /// Has `text` be its configuration from its next start on.
    pub fn configure(&self, text: &str) {
        let directory = self.scratch.path().join("config/container");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("config.toml"), text).unwrap();
    }

    /// The app root.
    pub fn app(&self) -> PathBuf {
        self.scratch.path().join("app")
    }

    /// A directory for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The installed prefix.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The bundle of the container `id`.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.app().join("containers").join(id)
    }

    /// `container` with `arguments`, to be run by the test. It has no deadline.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let program = self.prefix.join("bin/container");
        let mut command = match self.runner.split_first() {
            Some((runner, words)) => {
                let mut command = Command::new(runner);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments);
        self.environment(&mut command);
        command
    }

    /// What makes a command one of this system.
    pub fn environment(&self, command: &mut Command) {
        command
            .env("CONTAINER_APP_ROOT", self.app())
            .env("XDG_RUNTIME_DIR", self.scratch.path());
        command.env("XDG_CONFIG_HOME", self.scratch.path().join("config"));
        command
            .env_remove("CONTAINER_DEBUG")
            .env_remove("CONTAINER_INSTALL_ROOT");
    }

    pub fn with_deadline<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", DEADLINE])
            .args(&self.runner)
            .arg(self.prefix.join("bin/container"))
            .args(arguments);
        self.environment(&mut command);
        command
    }

    /// Runs `container` with `arguments` and no input.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        self.with_deadline(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .into()
    }

    /// Runs `container` with `arguments` and `input` on a pipe.
    pub fn pipe<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Output {
        let mut child = self
            .with_deadline(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // The container may end before it has read everything.
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap();
        output
    }

    /// Starts `container` with `arguments` in the background; ended when dropped.
    pub fn spawn<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Background {
        let child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Background(Some(child))
    }

    /// The containers, as `list --all --format json` shows them.
    pub fn list(&self) -> Vec<Value> {
        let listed = self.run(["list", "--all", "--format", "json"]).ok();
        serde_json::from_str(&listed.stdout).unwrap()
    }

    /// One container, as `inspect` shows it.
    pub fn inspect(&self, id: &str) -> Value {
        let shown = self.run(["inspect", id]).ok();
        let mut shown: Vec<Value> = serde_json::from_str(&shown.stdout).unwrap();
        shown.remove(0)
    }

    /// One sample of what a container uses, as `stats` shows it.
    pub fn sample(&self, id: &str) -> Value {
        let shown = self.run(["stats", "--no-stream", "--format", "json", id]);
        let mut shown: Vec<Value> = serde_json::from_str(&shown.ok().stdout).unwrap();
        shown.remove(0)
    }

    /// State of a container.
    pub fn state(&self, id: &str) -> String {
        self.inspect(id)["status"]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Runs `sleep` in a container `id` in the background.
    pub fn sleeper(&self, id: &str) {
        self.run([
            "run", "-d", "--name", id, "-m", "256M", "-c", "1", "busybox", "sleep", "100000",
        ])
        .ok();
    }

    /// Processes whose command line names this system.
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mark = self.scratch.path().to_str().unwrap().to_owned();
        let own = std::process::id();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if pid != own && line.contains(&mark) {
                found.push((pid, line));
            }
        }
        found
    }

    /// Process ids of those whose command line also holds `text`.
    pub fn pids(&self, text: &str) -> Vec<u32> {
        self.processes()
            .into_iter()
            .filter(|(_, line)| line.contains(text))
            .map(|(pid, _)| pid)
            .collect()
    }

    /// Directories of its networks.
    fn networks(&self) -> Vec<PathBuf> {
        let networks = std::fs::read_dir(self.app().join("networks"));
        let paths = networks.into_iter().flatten().flatten();
        paths.map(|entry| entry.path()).collect()
    }

    /// A program where its commands run.
    fn host_command(&self, program: &OsStr) -> Command {
        let words: Vec<&OsStr> = self.runner.iter().map(OsStr::new).collect();
        let words = [&words[..], &[program]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
    }

    /// The tables of nftables that its networks have on the host.
    fn tables(&self) -> Vec<String> {
        let mut found = Vec::new();
        for network in self.networks() {
            // As crates/network-bridge/src/network/remains.rs names them.
            let script = "nft list table inet cnb$(printf %s \"$0\" | sha256sum | cut -c 1-10)";
            let mut command = self.host_command(OsStr::new("sh"));
            let listed = command.arg("-c").arg(script).arg(network).output().unwrap();
            if listed.status.success() {
                found.push(String::from_utf8_lossy(&listed.stdout).into_owned());
            }
        }
        found
    }

    /// Removes what its networks, whose processes are gone, have left on the host.
    fn clean_host(&self) {
        let program = self.prefix.join(
            "libexec/container/plugins/container-network-bridge/bin/container-network-bridge",
        );
        for network in self.networks() {
            let mut command = self.host_command(program.as_os_str());
            let _ = command.args(["clean", "--state"]).arg(network).status();
        }
    }

    /// The containers' helpers, by their process ids, and the names that they have taken.
    pub fn helpers(&self) -> Vec<(u32, String)> {
        let named = |(pid, line): (u32, String)| {
            // One that is just being started has its name in its arguments alone.
            if let Some((_, id)) = line.split_once(" start --bundle ") {
                let id = id.split_once(" --id ")?.1.split(' ').next()?;
                return Some((pid, id.get(..15).unwrap_or(id).to_owned()));
            }
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let name = name.trim_end().to_owned();
            // Until it has its container it is called after its program.
            (!RUNTIME.starts_with(&name)).then_some((pid, name))
        };
        let runs = |(_, line): &(u32, String)| line.contains(RUNTIME);
        let processes = self.processes().into_iter();
        processes.filter(runs).filter_map(named).collect()
    }

    /// Process ids of the helpers that have no container yet.
    pub fn waiting_helpers(&self) -> Vec<u32> {
        let named: Vec<u32> = self.helpers().into_iter().map(|(pid, _)| pid).collect();
        let all = self.pids(" standby --app-root ").into_iter();
        all.filter(|pid| !named.contains(pid)).collect()
    }

    /// Process id of the helper of `id`.
    pub fn helper(&self, id: &str) -> Option<u32> {
        // The kernel keeps so many bytes of a name (prctl(2)).
        let name = id.get(..15).unwrap_or(id);
        let mut helpers = self.helpers().into_iter();
        helpers.find(|(_, own)| own == name).map(|(pid, _)| pid)
    }

    /// Process ids of the VMMs: children of the helper of `id`.
    pub fn vmm(&self, id: &str) -> u32 {
        let helper = self.helper(id).unwrap();
        let children =
            std::fs::read_to_string(format!("/proc/{helper}/task/{helper}/children")).unwrap();
        // The keeper of its sockets and the process of its shares are ours.
        let is_vmm = |pid: &&str| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| !name.starts_with("container-"))
        };
        let vmm = children.split_whitespace().find(is_vmm);
        vmm.unwrap().parse().unwrap()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let stopped = self.run(["system", "stop"]);
        if std::thread::panicking() {
            eprintln!("{stopped:?}");
            for log in ["apiserver.log", "core-images.log"] {
                let text =
                    std::fs::read_to_string(self.app().join("log").join(log)).unwrap_or_default();
                eprintln!("--- {log}\n{text}");
            }
            for bundle in std::fs::read_dir(self.app().join("containers"))
                .into_iter()
                .flatten()
                .flatten()
            {
                for log in ["boot.log", "runtime.log"] {
                    let text = std::fs::read(bundle.path().join(log)).unwrap_or_default();
                    eprintln!(
                        "--- {:?} {log}\n{}",
                        bundle.file_name(),
                        String::from_utf8_lossy(&text)
                    );
                }
            }
            for (pid, _) in self.processes() {
                kill(pid, rustix::process::Signal::KILL);
            }
            self.clean_host();
            return;
        }
        assert_eq!(stopped.code, 0, "{stopped:?}");
        eventually("every process has ended", || self.processes().is_empty());
        let sockets = Command::new("find")
            .arg(self.scratch.path())
            .args(["-type", "s"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&sockets.stdout),
            "",
            "sockets are left"
        );
        let tables = self.tables();
        assert!(tables.is_empty(), "tables of nftables are left: {tables:?}");
    }
}

/// A command in the background.
#[derive(Debug)]
pub struct Background(Option<Child>);

impl Background {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Whether it has printed something that was not read yet.
    pub fn has_output(&self) -> bool {
        let output = self.0.as_ref().unwrap().stdout.as_ref().unwrap();
        rustix::io::ioctl_fionread(output).unwrap() > 0
    }

    /// Waits for its end.
    pub fn outcome(mut self) -> Outcome {
        self.0.take().unwrap().wait_with_output().unwrap().into()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends `signal` to a process of the test's own system.
pub fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended by itself.
    let _ = rustix::process::kill_process(pid, signal);
}

/// Waits until `condition` holds; there is no event to wait for across processes.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    within(Duration::from_secs(60), what, condition);
}

/// As [`eventually`], for at most `limit`.
///
/// A condition is often a command, and what is waited for may run with a low priority: asking takes a fifth of a processor at most.
#[track_caller]
pub fn within(limit: Duration, what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        if condition() {
            return;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20).max(asked.elapsed() * 4));
    }
}

/// Asserts that `seconds` since the epoch, as a guest printed them, are about now.
#[track_caller]
pub fn expect_now(seconds: &str) {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let guest: u64 = seconds.parse().unwrap();
    assert!(now.abs_diff(guest) < 60, "guest {guest}, host {now}");
}

/// The busybox image archive.
pub fn image() -> PathBuf {
    PathBuf::from(
        std::env::var_os("CONTAINER_TEST_IMAGE").expect("CONTAINER_TEST_IMAGE: run `make e2e`"),
    )
}
