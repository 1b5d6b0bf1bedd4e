//! A container from an OCI bundle, without a daemon, with crun as the judge.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::pty::Pty;
use crate::system::{Outcome, System};

/// An OCI bundle with a busybox, and the configuration that `crun spec` makes.
struct OciBundle {
    system: System,
    config: Value,
}

impl OciBundle {
    fn new() -> Self {
        let system = System::stopped();
        let root = system.scratch().join("bundle/rootfs");
        for directory in ["bin", "etc", "proc", "dev", "sys", "tmp", "home"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let busybox = Command::new("sh")
            .args(["-c", "command -v busybox"])
            .output()
            .unwrap();
        let busybox = String::from_utf8(busybox.stdout).unwrap();
        fs::copy(busybox.trim(), root.join("bin/busybox")).unwrap();
        for name in [
            "sh", "cat", "id", "env", "pwd", "ls", "stat", "grep", "cut", "sed", "sort",
            "hostname", "stty", "sleep", "wc", "touch", "tr",
        ] {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1001::/home:/bin/sh\n",
        )
        .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1001:\n").unwrap();
        fs::write(root.join("etc/set-id"), "").unwrap();
        fs::set_permissions(root.join("etc/set-id"), fs::Permissions::from_mode(0o6751)).unwrap();
        fs::hard_link(root.join("etc/set-id"), root.join("etc/other-name")).unwrap();
        let spec = Command::new("crun")
            .arg("spec")
            .current_dir(root.parent().unwrap())
            .output()
            .unwrap();
        assert!(spec.status.success(), "{spec:?}");
        let config = fs::read(root.with_file_name("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config["process"]["terminal"] = json!(false);
        Self { system, config }
    }

    fn directory(&self) -> PathBuf {
        self.system.scratch().join("bundle")
    }

    fn write(&self, config: &Value) {
        fs::write(self.directory().join("config.json"), config.to_string()).unwrap();
    }

    /// `container-runtime-linux run` of this bundle.
    fn command(&self) -> Command {
        self.write(&self.config);
        let plugin =
            "libexec/container/plugins/container-runtime-linux/bin/container-runtime-linux";
        let mut command = Command::new("timeout");
        command
            .args(["-k", "5", "120"])
            .arg(self.system.prefix().join(plugin));
        command
            .args(["run", "--oci-bundle"])
            .arg(self.directory())
            .arg("c1");
        self.system.environment(&mut command);
        command
    }

    fn run(&self) -> Outcome {
        self.command().stdin(Stdio::null()).output().unwrap().into()
    }

    /// What crun makes of the same. It refuses to run where the older control groups are in use too, so it gets to see the new ones
    /// only, and what the specification says of them is left out.
    fn under_crun(&self) -> Outcome {
        let mut config = self.config.clone();
        config["linux"]["resources"].take();
        for list in ["/mounts", "/linux/namespaces"] {
            let list = config
                .pointer_mut(list)
                .and_then(Value::as_array_mut)
                .unwrap();
            list.retain(|entry| !entry.to_string().contains("cgroup"));
        }
        self.write(&config);
        let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec crun --cgroup-manager disabled run --bundle \"$1\" \"$2\"";
        let id = format!("e2e-{}", std::process::id());
        let arguments = ["60", "unshare", "--mount", "sh", "-c", script, "sh"].map(OsStr::new);
        let mut command = Command::new("timeout");
        command.args(arguments).arg(self.directory()).arg(id);
        command.stdin(Stdio::null()).output().unwrap().into()
    }

    /// Names in the directory where containers are kept while they run, without the locks, which stay.
    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.system.app().join("oci"))
            .into_iter()
            .flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect()
    }
}

#[test]
fn crun_and_a_machine_make_the_same_of_a_bundle() {
    const SEEN: &str = "grep -E 'Cap|NoNewPrivs|Groups|Umask' /proc/self/status; ulimit -n; env | sort; pwd; id; hostname; \
        stat -c '%n %a %u:%g %F %h' /etc/passwd /etc/set-id /etc/other-name /bin/sh /tmp /data /data/file; \
        cut -d' ' -f2-4 /proc/self/mounts | grep -E '^/(tmp|dev|dev/pts|dev/shm|proc) ' | sed 's/,inode64//' | sort; \
        cat /data/file /proc/sys/kernel/shmmni; ls /home; ls /data/inner 2>&1; cat /etc/group 2>&1 | wc -c; \
        touch /bin/x 2>&1 | grep -c 'Read-only'; touch /data/x 2>&1 | grep -c 'Read-only'; touch /tmp/x && echo written; echo error >&2; exit 7";
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut bundle = OciBundle::new();
    let data = bundle.system.scratch().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "from the host\n").unwrap();
    let config = &mut bundle.config;
    config["hostname"] = json!("box");
    config["process"]["args"] = json!(["sh", "-c", SEEN]);
    config["process"]["env"] = json!(["PATH=/bin", "HOME=/home", "A=b c"]);
    config["process"]["cwd"] = json!("/tmp");
    config["process"]["user"] =
        json!({"uid": 1000, "gid": 1001, "additionalGids": [44, 7], "umask": 0o27});
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "hard": 300, "soft": 200}]);
    config["linux"]["sysctl"] = json!({"kernel.shmmni": "123"});
    config["linux"]["maskedPaths"]
        .as_array_mut()
        .unwrap()
        .push(json!("/etc/group"));
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.push(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=1024k", "mode=1777"]}));
    mounts.push(
        json!({"destination": "/data", "type": "bind", "source": data, "options": ["rbind", "ro"]}),
    );
    let (ours, theirs) = (bundle.run(), bundle.under_crun());
    assert_eq!(theirs.code, 7, "{theirs:?}");
    assert!(
        theirs.stdout.contains("from the host") && theirs.stdout.contains("written"),
        "{theirs:?}"
    );
    assert_eq!(ours.stdout, theirs.stdout);
    assert_eq!((ours.stderr, ours.code), (theirs.stderr, theirs.code));
    assert!(bundle.kept().is_empty(), "{:?}", bundle.kept());
}

#[test]
fn a_bundles_process_has_the_terminal_and_the_signals() {
    let mut bundle = OciBundle::new();
    bundle.config["process"]["terminal"] = json!(true);
    // As root in the user's own container.
    let script = "trap 'echo caught; exit 3' TERM; stty size; read line; echo \"got $line\"; while :; do sleep 0.1; done";
    bundle.config["process"]["args"] = json!(["sh", "-c", script]);
    let mut terminal = Pty::spawn(bundle.command(), 31, 97);
    terminal.expect("31 97");
    terminal.send("words\r");
    terminal.expect("got words");
    let front = bundle.system.pids("run --oci-bundle");
    assert_eq!(bundle.kept(), ["c1"]);
    let second = bundle.run().code(125);
    assert!(
        second
            .stderr
            .contains("a container c1 is being run already"),
        "{second:?}"
    );
    // `timeout` is the first of them.
    let pid = rustix::process::Pid::from_raw(i32::try_from(*front.iter().max().unwrap()).unwrap());
    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM).unwrap();
    terminal.expect("caught");
    let (status, _) = terminal.finish();
    assert_eq!(status.code(), Some(3));
    assert!(bundle.kept().is_empty(), "{:?}", bundle.kept());
}

#[test]
fn what_a_machine_cannot_carry_out_is_refused() {
    let bundle = OciBundle::new();
    let refused = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut bundle = OciBundle {
            system: System::stopped(),
            config: bundle.config.clone(),
        };
        fs::create_dir_all(bundle.directory().join("rootfs")).unwrap();
        change(&mut bundle.config);
        let outcome = bundle.run().code(125);
        assert!(outcome.stderr.contains(expected), "{expected}: {outcome:?}");
        assert!(bundle.kept().is_empty(), "{:?}", bundle.kept());
    };
    let set = |place: &'static str, value: Value| {
        move |config: &mut Value| {
            let (above, name) = place.rsplit_once('/').unwrap();
            config.pointer_mut(above).unwrap()[name] = value.clone();
        }
    };
    refused(
        &set("/hooks", json!({"prestart": [{"path": "/bin/true"}]})),
        "`hooks` is not supported",
    );
    refused(
        &set(
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 1, "size": 1}]),
        ),
        "`linux.uidMappings`",
    );
    refused(
        &set("/linux/namespaces", json!([{"type": "mount"}])),
        "would share the host's processes",
    );
    refused(
        &set(
            "/linux/devices",
            json!([{"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}]),
        ),
        "linux.devices: /dev/sda",
    );
    refused(
        &set("/process/apparmorProfile", json!("strict")),
        "`process.apparmorProfile`",
    );
    refused(&set("/root/path", json!("none")), "the root file system");
    refused(&set("/ociVersion", json!("2.0.0")), "version");
    refused(
        &|config| *config = json!("text"),
        "config.json is not valid",
    );
    let gone = |config: &mut Value| {
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/m", "type": "ext4", "source": "/dev/sda1"}));
    };
    refused(&gone, "`mounts: /m`");
    assert!(Path::new(&bundle.directory()).exists());
}
