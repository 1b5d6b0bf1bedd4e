use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use container_resource::connectivity::Connectivity;
use container_resource::container::{Device, ImageDescription, Mount, RestartPolicy};
use container_resource::creation::{Creation, DEFAULT_RUNTIME};
use container_resource::health::HealthOptions;
use container_resource::platform::Platform;
use container_resource::process::ProcessOptions;
use container_resource::settings::{ContainerDefaults, VminitSettings};
use container_resource::{
    bind, capability, device, hidden_path, host_name, label, mount, name, restart, signal, size,
    sysctl, tmpfs,
};

use super::grace::{self, Grace};
use super::process::entries_of;
use super::security::SecurityOptions;
use super::{PlatformFlags, ResourceFlags};
use crate::completion;
use crate::failure::Failure;

/// What a container is and how it is treated.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Management options")]
pub struct ManagementFlags {
    #[command(flatten)]
    pub platform: PlatformFlags,

    /// Add a Linux capability (or ALL)
    #[arg(long, value_name = "CAPABILITY", value_parser = capability::parse)]
    cap_add: Vec<String>,

    /// Take away a Linux capability (or ALL)
    #[arg(long, value_name = "CAPABILITY", value_parser = capability::parse)]
    cap_drop: Vec<String>,

    /// Write the container's id to this file, which must not exist yet
    #[arg(long, value_name = "PATH")]
    pub cidfile: Option<PathBuf>,

    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub detach: bool,

    /// Give the container a device of its own machine: <path>[:<path in the container>][:<rwm>]
    #[arg(long = "device", value_name = "DEVICE", value_parser = device::parse)]
    devices: Vec<Device>,

    /// Run this program instead of the image's entrypoint; an empty text removes the entrypoint
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,

    /// Host name in the container (default: its id)
    #[arg(long, value_name = "NAME", value_parser = or_empty(hostname))]
    hostname: Option<String>,

    /// Run a small init as the first process, which forwards signals and reaps processes
    #[arg(long)]
    init: bool,

    /// Init image to boot the guest from; its /sbin/vminitd becomes PID 1 (default: vminit.image of the configuration; an empty text: the
    /// init that is installed)
    #[arg(long, value_name = "IMAGE", add = completion::images())]
    init_image: Option<String>,

    /// Guest kernel to boot
    #[arg(short, long, value_name = "PATH")]
    kernel: Option<PathBuf>,

    /// Add a word to the guest kernel's command line
    #[arg(long = "kernel-arg", value_name = "WORD", value_parser = kernel_word)]
    kernel_arguments: Vec<String>,

    /// Set a label
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = label::parse)]
    labels: Vec<(String, String)>,

    /// Read labels from a file, one to a line
    #[arg(long = "label-file", value_name = "PATH")]
    label_files: Vec<PathBuf>,

    /// Hide a path from the container, in addition to the default ones (NONE: without the default ones)
    #[arg(long = "masked-path", value_name = "PATH", value_parser = hidden_path::parse)]
    masked_paths: Vec<String>,

    /// Mount a directory or a file of the host: type=bind,source=<path>,target=<path>[,readonly]; a volume:
    /// type=volume,source=<volume>,target=<path>[,readonly]; or a file system in memory:
    /// type=tmpfs,target=<path>[,size=<size>][,mode=<mode>][,readonly]
    ///
    /// Of a volume also: volume-subpath=<path in the volume>, which has to be there, and mounts only what is there; volume-nocopy does not
    /// fill it; volume-opt=<key>=<value> and volume-label=<key>=<value> are for a volume that is created by this. noexec, nosuid, nodev and
    /// noatime may follow with each type.
    #[arg(long = "mount", value_name = "MOUNT", value_parser = mount::parse)]
    mounts: Vec<Mount>,

    /// Name of the container (default: a new UUID)
    #[arg(long, value_name = "NAME", value_parser = or_empty(container_name))]
    name: Option<String>,

    /// Boot a new machine, even if a saved machine could be restored
    #[arg(long)]
    pub no_template: bool,

    /// Largest number of processes in the container (-1: no limit but the guest's)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..=4_194_304))]
    pids_limit: Option<i64>,

    /// Give the container every capability, every device of its machine, and access to paths that are otherwise read-only or hidden. The
    /// machine still separates it from the host
    #[arg(long)]
    privileged: bool,

    /// Mount the root read-only
    #[arg(long)]
    read_only: bool,

    /// Make a path read-only, in addition to the default ones (NONE: without the default ones)
    #[arg(long = "read-only-path", value_name = "PATH", value_parser = hidden_path::parse)]
    read_only_paths: Vec<String>,

    /// Delete the container when it has stopped
    #[arg(long = "rm", visible_alias = "remove")]
    pub remove: bool,

    /// Start the container again when it ends: no, on-failure[:<retries>], always, unless-stopped
    #[arg(long, value_name = "POLICY", value_parser = restart::parse)]
    restart: Option<RestartPolicy>,

    /// Apple's translation of amd64 programs
    #[arg(long, hide = true)]
    rosetta: bool,

    /// Plugin that runs the container
    #[arg(long, value_name = "PLUGIN", default_value = DEFAULT_RUNTIME, hide_default_value = true)]
    runtime: String,

    /// Security option: no-new-privileges, seccomp=<path of a profile>, seccomp=unconfined, systempaths=unconfined,
    /// label=disable, apparmor=unconfined
    ///
    /// By default no seccomp profile applies: system calls go to the kernel of the container's own machine, and the machine separates the
    /// container from the host.
    #[arg(long = "security-opt", value_name = "OPTION")]
    security_options: Vec<String>,

    /// Size of /dev/shm (default, and for 0: 64M)
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    shm_size: Option<u64>,

    /// Let the container use your SSH agent
    ///
    /// Each start uses the agent that `SSH_AUTH_SOCK` names at that time. Programs in the container find the agent as ssh does. They can use
    /// its keys while the container runs, but cannot read them.
    #[arg(long)]
    ssh: bool,

    /// Signal that stops the container (default: the image's, else SIGTERM)
    #[arg(long, value_name = "SIGNAL", value_parser = or_empty(stop_signal))]
    stop_signal: Option<String>,

    /// Seconds to wait for a stop before the container is killed (default: 5; -1: no limit)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = grace::parse)]
    stop_timeout: Option<Grace>,

    /// Set a kernel parameter of the guest
    #[arg(long = "sysctl", value_name = "NAME=VALUE", value_parser = sysctl::parse)]
    sysctls: Vec<(String, String)>,

    /// Mount a file system in memory at this path: <path>[:<options>]
    #[arg(long, value_name = "PATH", value_parser = tmpfs::parse)]
    tmpfs: Vec<Mount>,

    /// Let the container run virtual machines, if the host supports this
    #[arg(long)]
    virtualization: bool,

    /// Mount a directory or a file of the host, or a volume: [<path or volume>:]<path in the container>[:<options>]
    ///
    /// A missing volume is created. An empty volume is filled with the image's files at that path. Without a name a new volume is created.
    /// Options are separated by commas: ro makes the mount read-only, and the guest cannot undo that.
    #[arg(short = 'v', long = "volume", value_name = "VOLUME", value_parser = mount::parse_short)]
    volumes: Vec<Mount>,
}

impl ManagementFlags {
    /// Reference of the image that the guest boots from, unless that is the installation's own initramfs.
    pub fn init_image<'a>(&'a self, defaults: &'a VminitSettings) -> Option<&'a str> {
        let chosen = self.init_image.as_ref().or(defaults.image.as_ref());
        chosen.map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Labels of the files, with those of the command line over them.
    pub fn labels(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut labels = BTreeMap::new();
        for path in &self.label_files {
            let read = entries_of(path, label::parse)
                .with_context(|| format!("--label-file {}", path.display()));
            labels.extend(read.map_err(Failure::usage_chain)?);
        }
        labels.extend(self.labels.iter().cloned());
        Ok(labels)
    }

    /// What is mounted, by whatever flag; at each place one thing.
    fn all_mounts(&self) -> Result<Vec<Mount>, Failure> {
        let all = self.volumes.iter().chain(&self.mounts).chain(&self.tmpfs);
        let current = std::env::current_dir()
            .context("where this is")
            .map_err(Failure::usage_chain)?;
        let mut mounts: Vec<Mount> = Vec::new();
        for mount in all {
            let place = &mount.destination;
            if mounts.iter().any(|other| other.destination == *place) {
                let text = format!("duplicate mount point: {place}");
                return Err(Failure::usage(text));
            }
            // The host's paths as they are from anywhere.
            let mut mount = mount.clone();
            bind::resolve(&mut mount, &current).map_err(Failure::usage_chain)?;
            mounts.push(mount);
        }
        Ok(mounts)
    }

    /// Whether the flags can be together.
    pub fn check(&self) -> Result<(), Failure> {
        let restarts = self
            .restart
            .as_ref()
            .is_some_and(|policy| *policy != RestartPolicy::No {});
        if self.remove && restarts {
            return Err(Failure::usage("conflicting options: --restart and --rm"));
        }
        Ok(())
    }

    /// What the flags say of a container of `image`.
    pub fn creation(
        &self,
        process: ProcessOptions,
        resources: &ResourceFlags,
        defaults: &ContainerDefaults,
        image: ImageDescription,
        platform: Platform,
        arguments: &[String],
    ) -> Result<Creation, Failure> {
        if self.rosetta && std::env::consts::ARCH != "aarch64" {
            return Err(Failure::usage("--rosetta flag requires an arm64 host"));
        }
        let security = SecurityOptions::parse(&self.security_options)?;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let cleared = security.unconfined_paths.then_some(hidden_path::NONE);
        let paths = |paths: &[String]| {
            let given = paths.iter().cloned();
            cleared
                .map(str::to_owned)
                .into_iter()
                .chain(given)
                .collect()
        };
        Ok(Creation {
            id: given(&self.name).unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            image,
            platform,
            entrypoint: self.entrypoint.clone(),
            arguments: arguments.to_vec(),
            process,
            cpus: resources.cpus(defaults),
            memory: resources.memory(defaults),
            mounts: self.all_mounts()?,
            storage: resources.storage(),
            journal: resources.journal(),
            labels: BTreeMap::new(),
            sysctls: self.sysctls.iter().cloned().collect(),
            virtualization: self.virtualization,
            read_only: self.read_only,
            use_init: self.init,
            runtime: self.runtime.clone(),
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            shm_size: self.shm_size.filter(|size| *size > 0),
            stop_signal: given(&self.stop_signal),
            stop_timeout: self.stop_timeout.map(Grace::seconds),
            masked_paths: paths(&self.masked_paths),
            read_only_paths: paths(&self.read_only_paths),
            hostname: given(&self.hostname),
            // Docker's 0 has no bound either.
            pids_limit: self
                .pids_limit
                .and_then(|limit| u64::try_from(limit).ok())
                .filter(|limit| *limit > 0),
            privileged: self.privileged,
            devices: self.devices.clone(),
            no_new_privileges: security.no_new_privileges,
            seccomp_profile: security.seccomp_profile,
            kernel_arguments: self.kernel_arguments.clone(),
            kernel: self.kernel.as_deref().map(kernel_path).transpose()?,
            init_image: None,
            restart: self.restart.clone(),
            health: HealthOptions::default(),
            connectivity: Connectivity::default(),
            published_sockets: Vec::new(),
            ssh: self.ssh,
        })
    }
}

/// The `path` of `--kernel` as the system, which runs in another directory, finds it.
pub fn kernel_path(path: &Path) -> Result<String, Failure> {
    let absolute = path
        .canonicalize()
        .with_context(|| format!("kernel {}", path.display()))
        .map_err(Failure::usage_chain)?;
    let text = absolute.into_os_string().into_string();
    text.map_err(|_| Failure::usage("the path of the kernel is not UTF-8"))
}

/// A parser that takes an empty text, too: as with Docker, that says nothing.
fn or_empty<E: std::fmt::Display>(
    parse: impl Fn(&str) -> Result<String, E> + Clone,
) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |text| match text {
        "" => Ok(String::new()),
        text => parse(text).map_err(|error| error.to_string()),
    }
}

fn container_name(text: &str) -> Result<String, name::NameError> {
    name::validate(text).map(|()| text.to_owned())
}

fn stop_signal(text: &str) -> Result<String, signal::SignalError> {
    signal::parse(text).map(signal::name)
}

fn hostname(text: &str) -> Result<String, String> {
    host_name::is_valid(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "letters, digits, '-' and '.' are allowed, at most 64 of them".to_owned())
}

/// A word is one parameter: white space would make it two.
fn kernel_word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a word without white space is expected".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        for text in ["a", "web-1", "web.example", &"a".repeat(64)] {
            assert!(hostname(text).is_ok(), "{text}");
        }
        assert_eq!(or_empty(hostname)("").as_deref(), Ok(""));
        for text in ["", "-a", "a-", "a..b", "a_b", "a b", &"a".repeat(65)] {
            assert!(hostname(text).is_err(), "{text}");
        }
    }

    #[test]
    fn kernel_words_are_words() {
        assert!(kernel_word("quiet").is_ok());
        assert!(kernel_word("a=b,c").is_ok());
        for text in ["", "a b", "a\n"] {
            assert!(kernel_word(text).is_err());
        }
    }
}
