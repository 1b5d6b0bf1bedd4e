//! A real registry (Debian's docker-registry, a declared dependency of the tests) on loopback.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Registry {
    child: Child,
    pub address: String,
    _scratch: tempfile::TempDir,
}

impl Registry {
    /// Without encryption and without users.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With further configuration at its top level (YAML), in which `{}` is the scratch directory.
    pub fn start_with(extra: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "", extra)
    }

    /// `http` is configuration below that key.
    pub fn start_in(scratch: tempfile::TempDir, http: &str, extra: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let root = scratch.path().display().to_string();
        let configuration = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {root}\n  \
             delete:\n    enabled: true\nhttp:\n  addr: {address}\n{}{}",
            http.replace("{}", &root),
            extra.replace("{}", &root)
        );
        let path = scratch.path().join("config.yml");
        std::fs::write(&path, configuration).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self {
            child,
            address,
            _scratch: scratch,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `skopeo inspect` (a declared dependency of the tests) says of an image, named as it names one.
pub fn skopeo_inspect(image: &str) -> serde_json::Value {
    let output = Command::new("skopeo")
        .args(["inspect", image])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Copies an OCI archive into the registry by skopeo.
pub fn skopeo_copy(options: &[&str], archive: &Path, name: &str) {
    let output = Command::new("skopeo")
        .args(["copy", "--insecure-policy", "--dest-tls-verify=false"])
        .args(options)
        .arg(format!("oci-archive:{}", archive.display()))
        .arg(format!("docker://{name}"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A CA and a certificate for 127.0.0.1 in `directory`: `ca.crt`, `server.crt`, `server.key`.
pub fn make_certificates(directory: &Path) {
    let run = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    std::fs::write(directory.join("ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test-ca");
    run("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1");
    run(
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile ext",
    );
}
