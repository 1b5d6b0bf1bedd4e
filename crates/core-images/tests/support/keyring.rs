//! A session bus with a keyring (Debian's dbus and gnome-keyring, declared dependencies of the tests).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A bus that starts nothing by itself: a second keyring would be in the way of the first.
const CONFIGURATION: &str = r#"<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen>
    <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>"#;

pub struct Keyring {
    children: Vec<Child>,
    /// Of the bus.
    pub address: String,
    _scratch: tempfile::TempDir,
}

impl Keyring {
    /// With an open keyring of its own.
    pub fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let command = |program: &str| {
            let mut command = Command::new(program);
            command
                .env("HOME", scratch.path())
                .env("XDG_DATA_HOME", scratch.path())
                .env("XDG_RUNTIME_DIR", scratch.path())
                .stderr(Stdio::null());
            command
        };
        let configuration = scratch.path().join("bus.conf");
        std::fs::write(&configuration, CONFIGURATION).unwrap();
        let mut bus = command("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .arg(format!("--config-file={}", configuration.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        let address = address.trim().to_owned();
        let mut daemon = command("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        daemon.stdin.take().unwrap().write_all(b"open").unwrap();
        let keyring = Self {
            children: vec![daemon, bus],
            address,
            _scratch: scratch,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !keyring.has_default_collection() {
            assert!(Instant::now() < deadline, "the keyring does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        keyring
    }

    /// Closes the keyring; nobody is there to open it again.
    pub fn lock(&self) {
        let locked = Command::new("dbus-send")
            .args([
                "--session",
                "--print-reply",
                "--dest=org.freedesktop.secrets",
            ])
            .args([
                "/org/freedesktop/secrets",
                "org.freedesktop.Secret.Service.Lock",
            ])
            .arg("array:objpath:/org/freedesktop/secrets/aliases/default")
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .output()
            .unwrap();
        assert!(locked.status.success(), "{locked:?}");
        assert!(!self.has_default_collection());
    }

    fn has_default_collection(&self) -> bool {
        let asked = Command::new("dbus-send")
            .args([
                "--session",
                "--print-reply",
                "--dest=org.freedesktop.secrets",
            ])
            .arg("/org/freedesktop/secrets/aliases/default")
            .arg("org.freedesktop.DBus.Properties.Get")
            .args(["string:org.freedesktop.Secret.Collection", "string:Locked"])
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .output()
            .unwrap();
        String::from_utf8_lossy(&asked.stdout).contains("boolean false")
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
