//! What a container's life needs around it: a bundle, an image, a kernel that passes for one.

use std::path::Path;
use std::sync::Arc;

use container_api::Error;
use container_engine::scripted::Script;
use container_resource::bundle::{self, Boot, Bundle};
use container_resource::container::ContainerConfiguration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::container::Container;
use crate::machine::{Host, Standby, TemplateRequest};

/// A directory with everything in it.
#[derive(Debug)]
pub struct System {
    directory: TempDir,
}

/// A container that lives.
#[derive(Debug)]
pub struct Life {
    pub container: Arc<Container>,
    living: Option<JoinHandle<()>>,
}

impl Life {
    /// Waits for its end.
    pub async fn over(mut self) -> Self {
        if let Some(living) = self.living.take() {
            living.await.unwrap();
        }
        self
    }
}

impl System {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // An ELF header of x86-64 with one program header (elf.h): as much of a kernel as is looked at.
        let mut kernel = [0; 120];
        kernel[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (kernel[18], kernel[32], kernel[54], kernel[56]) = (62, 64, 56, 1);
        for (name, content) in [
            ("kernel", &kernel[..]),
            ("initramfs", b"x"),
            ("image", &[0; 4096]),
        ] {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        Self { directory }
    }

    /// Lives a container in a new machine.
    pub fn live(&self, script: &Script, options: &str) -> Life {
        self.live_in(script, options, None)
    }

    /// Lives a container with a volume, in a new machine.
    pub fn live_with_volume(&self, script: &Script, options: &str) -> Life {
        let disk = self.path("volume.img");
        std::fs::write(&disk, [0; 4096]).unwrap();
        let mut mount = container_resource::volume::parse("v:/v").unwrap();
        mount.source = disk.display().to_string();
        let mut configuration = configuration();
        configuration.mounts.push(mount);
        self.live_as(&configuration, script, options, None)
    }

    /// Lives a container, in `standby` if there is one.
    pub fn live_in(&self, script: &Script, options: &str, standby: Option<Standby>) -> Life {
        self.live_as(&configuration(), script, options, standby)
    }

    fn live_as(
        &self,
        configuration: &ContainerConfiguration,
        script: &Script,
        options: &str,
        standby: Option<Standby>,
    ) -> Life {
        let bundle = Bundle::new(self.path("bundle"));
        let _ = std::fs::remove_dir_all(bundle.directory());
        std::fs::create_dir(bundle.directory()).unwrap();
        bundle::write_json(&bundle.configuration(), configuration).unwrap();
        bundle::write_json(&bundle.boot(), &self.boot()).unwrap();
        std::fs::write(bundle.options(), options).unwrap();
        let mut container = Container::open(bundle).unwrap();
        container.host = Host::Scripted(script.engine().unwrap());
        let container = Arc::new(container);
        let living = container.clone();
        Life {
            living: Some(tokio::spawn(async move {
                crate::live(&living, Vec::new(), standby).await;
            })),
            container,
        }
    }

    /// Asks for a template or a standby machine for such containers.
    pub fn request(&self, script: &Script) -> TemplateRequest {
        TemplateRequest {
            configuration: configuration(),
            boot: self.boot(),
            host: Host::Scripted(script.engine().unwrap()),
        }
    }

    pub async fn standby(&self, script: &Script) -> Result<Standby, Error> {
        Standby::prepare(&self.request(script), Vec::new()).await
    }

    fn boot(&self) -> Boot {
        serde_json::from_value(serde_json::json!({
            "kernel": self.path("kernel"),
            "initramfs": self.path("initramfs"),
            "root": {"extents": [{"path": self.path("image"), "offset": 0, "length": 4096}], "size": 4096},
            "cache": self.path("cache"),
            "requestedUs": 0,
        }))
        .unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.directory.path()).join(name)
    }
}

fn configuration() -> ContainerConfiguration {
    let mut configuration = crate::oci::tests::configuration();
    configuration.resources.storage = Some(64 << 20);
    configuration
}
