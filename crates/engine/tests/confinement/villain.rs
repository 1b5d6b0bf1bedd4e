//! Starts `probe.c` as the VMM, and learns what became of its act.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use container_engine::{
    Accelerator, Device, Disk, DiskRole, Engine, ExitCause, Nic, StartError, VmSpec,
};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Longest wait for an act, on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// What its call returned: a value, or an error's number with a minus.
    Returned(i64),
    /// The VMM was ended for this system call.
    Ended(String),
    /// The VMM ended, or did not start: in the engine's words.
    Died(String),
}

/// A directory with the probe as `qemu-system-x86_64`, a kernel that looks like one, and a read-only disk.
#[derive(Debug)]
pub struct Villain {
    directory: PathBuf,
}

impl Villain {
    /// Builds the probe in `directory`, readable by everybody.
    pub fn build(directory: &Path) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let for_all = |path: &Path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        for_all(directory);
        let binaries = directory.join("bin");
        std::fs::create_dir(&binaries).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/confinement/probe.c");
        let status = Command::new("cc")
            .args(["-O1", "-o"])
            .arg(binaries.join("qemu-system-x86_64"))
            .arg(source)
            .status();
        assert!(status.unwrap().success());
        for_all(&binaries);
        for_all(&binaries.join("qemu-system-x86_64"));
        // As much of an ELF file as the engine looks at.
        let mut elf = vec![0u8; 120];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[18], elf[32], elf[54], elf[56]) = (62, 64, 56, 1);
        std::fs::write(directory.join("kernel"), elf).unwrap();
        std::fs::write(directory.join("layer"), vec![b'l'; 8192]).unwrap();
        Self::open(directory)
    }

    /// One that was built before.
    pub fn open(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Where the engine looks for its VMM.
    pub fn path(&self) -> PathBuf {
        self.directory.join("bin")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Has the probe do `act`, when it is `when`: "starting" or "running".
    pub async fn tries(&self, engine: &Engine, when: &str, act: &str, target: &str) -> Outcome {
        self.tries_with(None, engine, when, act, target).await
    }

    /// The same in a machine that has a NIC.
    pub async fn tries_with(
        &self,
        nic: Option<Nic>,
        engine: &Engine,
        when: &str,
        act: &str,
        target: &str,
    ) -> Outcome {
        let layer = Disk::read_only(DiskRole::Root, &self.file("layer"), 8192);
        let mut devices = vec![
            Device::Disk(layer),
            Device::GuestChannel {
                name: "c".to_owned(),
            },
            Device::Console { record: None },
        ];
        devices.extend(nic.map(Device::Nic));
        let spec = VmSpec {
            kernel: self.file("kernel"),
            initramfs: None,
            command_line: format!("when={when} act={act} target={target}"),
            vcpus: NonZeroU32::MIN,
            memory_bytes: 64 << 20,
            devices,
            accelerator: Accelerator::Software,
            firmware_tables: false,
            nested_virtualization: false,
        };
        let mut vm = match engine.start(&spec).await {
            Ok(vm) => vm,
            Err(StartError::Died(reason)) => return Outcome::Died(reason),
            Err(error) => return Outcome::Died(chain(&error)),
        };
        let channel = BufReader::new(vm.take_channel().unwrap());
        let answer = async {
            let line = channel.lines().next_line().await.ok().flatten()?;
            Some(Outcome::Returned(line.parse().unwrap()))
        };
        let ended = async {
            let exit = vm.wait().await.unwrap();
            match &exit.cause {
                ExitCause::Forbidden(call) => Outcome::Ended(call.clone()),
                _ => Outcome::Died(exit.to_string()),
            }
        };
        let outcome = async {
            match answer.await {
                Some(outcome) => outcome,
                None => ended.await,
            }
        };
        tokio::time::timeout(PATIENCE, outcome)
            .await
            .unwrap_or_else(|_| panic!("{act} did not end"))
    }
}

/// An error and its sources.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
