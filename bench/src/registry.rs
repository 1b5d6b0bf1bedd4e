//! Debian's docker-registry on loopback, with images made for the measurement.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

const KIB: usize = 1024;
/// One layer: many small files and a few large ones that no compressor makes smaller, and text that one does.
/// About 37 MiB compressed, 66 MiB unpacked.
const SMALL: (usize, usize) = (1000, 16 * KIB);
const LARGE: (usize, usize) = (5, 4096 * KIB);
const TEXT: (usize, usize) = (300, 100 * KIB);

/// A registry that ends when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: String,
    scratch: tempfile::TempDir,
}

impl Registry {
    /// Starts the registry on a free port.
    pub fn start() -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let configuration = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            scratch.path().join("storage").display()
        );
        let path = scratch.path().join("config.yml");
        fs::write(&path, configuration)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start docker-registry")?;
        let registry = Self {
            child,
            address,
            scratch,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.address).is_err() {
            ensure!(Instant::now() < deadline, "docker-registry does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(registry)
    }

    /// Name of an image in it.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// Makes an image of the layers with these numbers, on top of those of the archive `base`. A number stands for
    /// the same layer in every image.
    pub fn publish(
        &self,
        image: &str,
        base: Option<&Path>,
        layers: impl IntoIterator<Item = u32>,
    ) -> anyhow::Result<()> {
        let layout = self.scratch.path().join("layout");
        let tagged = format!("{}:{image}", layout.display());
        if !layout.exists() {
            run(Command::new("umoci")
                .args(["init", "--layout"])
                .arg(&layout))?;
        }
        match base {
            Some(archive) => run(Command::new("skopeo")
                .args(["copy", "--insecure-policy"])
                .arg(format!("oci-archive:{}", archive.display()))
                .arg(format!("oci:{tagged}")))?,
            None => run(Command::new("umoci").args(["new", "--image", &tagged]))?,
        }
        for layer in layers {
            let tar = self.layer(layer)?;
            run(Command::new("umoci")
                .args(["raw", "add-layer", "--image", &tagged])
                .arg(tar))?;
        }
        run(Command::new("skopeo")
            .args(["copy", "--insecure-policy", "--dest-tls-verify=false"])
            .arg(format!("oci:{tagged}"))
            .arg(format!("docker://{}", self.name(image))))
    }

    fn layer(&self, number: u32) -> anyhow::Result<std::path::PathBuf> {
        let tar = self.scratch.path().join(format!("{number}.tar"));
        if tar.exists() {
            return Ok(tar);
        }
        let tree = self.scratch.path().join("tree");
        let data = tree.join(format!("data/{number}"));
        fs::create_dir_all(&data)?;
        fill(&data, "small", SMALL, &mut File::open("/dev/urandom")?)?;
        fill(&data, "large", LARGE, &mut File::open("/dev/urandom")?)?;
        let line = format!("line of the text of layer {number}\n");
        fill(&data, "text", TEXT, &mut Repeated(line.as_bytes(), 0))?;
        run(Command::new("tar")
            .args(["--sort=name", "-C"])
            .arg(&tree)
            .arg("-cf")
            .arg(&tar)
            .arg("data"))?;
        fs::remove_dir_all(&tree)?;
        Ok(tar)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn fill(
    directory: &Path,
    kind: &str,
    (files, size): (usize, usize),
    source: &mut impl Read,
) -> anyhow::Result<()> {
    let mut content = vec![0; size];
    for number in 0..files {
        source.read_exact(&mut content)?;
        File::create(directory.join(format!("{kind}-{number}")))?.write_all(&content)?;
    }
    Ok(())
}

/// Endless text.
struct Repeated<'a>(&'a [u8], usize);

impl Read for Repeated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for byte in &mut *buffer {
            *byte = self.0[self.1];
            self.1 = (self.1 + 1) % self.0.len();
        }
        Ok(buffer.len())
    }
}

/// Runs a tool to its success.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
