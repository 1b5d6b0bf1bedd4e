//! The flags, as attributes for the frontend that reads the Dockerfile (BuildKit's `frontend/dockerfile`).

use std::collections::HashMap;

use anyhow::Context as _;
use clap::Args;
use container_buildkit::Connection;
use container_resource::attachment::{self, Choice};
use container_resource::container::{AttachmentConfiguration, HostEntry, Rlimit};
use container_resource::platform::Platform;
use container_resource::{host_entry, rlimit, size};

use super::pairs;
use crate::failure::Failure;

/// The first release of Docker whose BuildKit knows what flags beyond the old ones say.
const NEWER_DOCKER: u32 = 23;

/// What is built.
#[derive(Args, Clone, Debug)]
pub struct FrontendFlags {
    /// Add a line to /etc/hosts of the steps: <name>:<address>
    #[arg(long = "add-host", value_name = "HOST", value_parser = host_entry::parse)]
    hosts: Vec<HostEntry>,

    /// Give the steps a right: network.host or security.insecure
    #[arg(long, value_name = "RIGHT", value_parser = ["network.host", "security.insecure", "device"])]
    allow: Vec<String>,

    /// Attach a description to the image: type=provenance[,mode=max] or type=sbom[,generator=<image>]
    #[arg(long = "attest", value_name = "ATTESTATION", value_parser = attestation)]
    attestations: Vec<(String, String)>,

    /// Architecture of the image, or several, separated by commas (default: the host's)
    #[arg(
        short,
        long = "arch",
        value_name = "ARCHITECTURE",
        value_delimiter = ','
    )]
    architectures: Vec<String>,

    /// Additional files for the Dockerfile, with the name that it uses for them: <name>=<directory>, or <name>=docker-image://<image>
    #[arg(long = "build-context", value_name = "NAME=PATH", value_parser = pairs::pair)]
    pub contexts: Vec<(String, String)>,

    /// Set an argument of the Dockerfile: <key>=<value>, or <key> for the environment variable of that name
    #[arg(long = "build-arg", value_name = "KEY=VALUE")]
    build_arguments: Vec<String>,

    /// Set a label of the image
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pairs::pair)]
    labels: Vec<(String, String)>,

    /// Network of the steps: default, none, host (the builder's own interfaces), or a network to which the builder is then connected
    ///
    /// With egress= (as with `container run`) the builder, and so each step, reaches only destinations that a rule allows.
    #[arg(long, value_name = "NETWORK", value_parser = attachment::parse)]
    network: Option<Choice>,

    /// Do not use the cache
    #[arg(long)]
    no_cache: bool,

    /// Do not use the cache for these stages, separated by commas
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,

    /// Operating system of the image (default: linux)
    #[arg(
        long,
        value_name = "OS",
        default_value = "linux",
        hide_default_value = true
    )]
    os: String,

    /// Platform of the image as <os>/<architecture>[/<variant>], or several, separated by commas; overrides --os and --arch
    #[arg(
        long = "platform",
        value_name = "PLATFORM",
        value_delimiter = ',',
        env = "CONTAINER_DEFAULT_PLATFORM",
        hide_env_values = true
    )]
    platforms: Vec<Platform>,

    /// Attach a record of how the image was made: true, mode=min or mode=max (short for --attest=type=provenance)
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,

    /// Look for newer base images, even if older ones are stored here
    #[arg(long)]
    pull: bool,

    /// Attach a list of the image's contents: true, or generator=<image> (short for --attest=type=sbom)
    #[arg(long, value_name = "GENERATOR", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,

    /// Size of /dev/shm of the steps
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    shm_size: Option<u64>,

    /// Stage to build (default: the last one)
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// Limit of the steps: <type>=<soft>[:<hard>]
    #[arg(long = "ulimit", value_name = "LIMIT", value_parser = rlimit::parse)]
    limits: Vec<Rlimit>,
}

/// `type=<kind>[,<key>=<value>…]`: the kind, and the rest.
fn attestation(text: &str) -> Result<(String, String), String> {
    let mut kind = None;
    let mut rest = Vec::new();
    for (key, value) in pairs::parse(text)? {
        match (key.as_str(), value) {
            ("type", Some(value)) => kind = Some(value),
            (_, Some(value)) => rest.push(format!("{key}={value}")),
            (_, None) => return Err(format!("'{key}' is no <key>=<value>")),
        }
    }
    match kind.as_deref() {
        Some(kind @ ("provenance" | "sbom")) => Ok((kind.to_owned(), rest.join(","))),
        _ => Err("type=provenance or type=sbom is expected".to_owned()),
    }
}

impl FrontendFlags {
    /// What is to be told beside the image.
    fn attestations(&self) -> Vec<(String, String)> {
        let short = [("provenance", &self.provenance), ("sbom", &self.sbom)];
        let short = short.into_iter().filter_map(|(kind, value)| {
            let value = match value.as_deref()? {
                "false" => return None,
                "true" => "",
                other => other,
            };
            Some((kind.to_owned(), value.to_owned()))
        });
        self.attestations.iter().cloned().chain(short).collect()
    }

    /// As the frontend takes them.
    pub fn attributes(&self) -> Result<HashMap<String, String>, Failure> {
        let mut all: HashMap<String, String> = HashMap::new();
        let mut set = |key: &str, value: String| {
            all.insert(key.to_owned(), value);
        };
        for (key, value) in self.arguments() {
            set(&format!("build-arg:{key}"), value);
        }
        for (key, value) in &self.labels {
            set(&format!("label:{key}"), value.clone());
        }
        for (kind, value) in self.attestations() {
            set(&format!("attest:{kind}"), value);
        }
        if let Some(target) = &self.target {
            set("target", target.clone());
        }
        if self.no_cache {
            set("no-cache", String::new());
        } else if !self.no_cache_filter.is_empty() {
            set("no-cache", self.no_cache_filter.join(","));
        }
        if self.pull {
            set("image-resolve-mode", "pull".to_owned());
        }
        let platforms = self.platforms()?;
        if !platforms.is_empty() {
            let texts: Vec<_> = platforms.iter().map(Platform::to_string).collect();
            set("platform", texts.join(","));
        }
        match &self.network {
            None | Some(Choice::Network(_)) => {}
            Some(Choice::None) => set("force-network-mode", "none".to_owned()),
            Some(Choice::Host) => set("force-network-mode", "host".to_owned()),
        }
        if !self.hosts.is_empty() {
            let hosts = self.hosts.iter();
            let hosts = hosts.map(|host| format!("{}={}", host.hostname, host.address));
            set("add-hosts", hosts.collect::<Vec<_>>().join(","));
        }
        if let Some(bytes) = self.shm_size {
            set("shm-size", bytes.to_string());
        }
        if !self.limits.is_empty() {
            let limits = self.limits.iter();
            let limits = limits.map(|limit| {
                let name = limit.limit.trim_start_matches("RLIMIT_").to_lowercase();
                format!("{name}={}:{}", limit.soft, limit.hard)
            });
            set("ulimit", limits.collect::<Vec<_>>().join(","));
        }
        Ok(all)
    }

    /// Values of the Dockerfile's arguments. One without a value is the variable of its name, and nothing where there is none.
    pub fn arguments(&self) -> HashMap<String, String> {
        let given = self.build_arguments.iter();
        given
            .filter_map(|text| match text.split_once('=') {
                Some((key, value)) => Some((key.to_owned(), value.to_owned())),
                None => Some((text.clone(), std::env::var(text).ok()?)),
            })
            .collect()
    }

    /// The stage that is built; nothing: the last one.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref().filter(|target| !target.is_empty())
    }

    /// Whether newer base images are looked for.
    pub fn pull(&self) -> bool {
        self.pull
    }

    /// What is built for; nothing: the host's.
    pub fn platforms(&self) -> Result<Vec<Platform>, Failure> {
        if !self.platforms.is_empty() {
            return Ok(self.platforms.clone());
        }
        let architectures = self.architectures.iter();
        let parsed =
            architectures.map(|architecture| format!("{}/{architecture}", self.os).parse());
        parsed.collect::<Result<_, _>>().map_err(Failure::usage)
    }

    /// Rights that the flags need.
    pub fn entitlements(&self) -> Vec<String> {
        let mut rights = Vec::new();
        if self.network == Some(Choice::Host) {
            rights.push("network.host".to_owned());
        }
        for right in &self.allow {
            if !rights.contains(right) {
                rights.push(right.clone());
            }
        }
        rights
    }

    /// The network that the builder is to be on.
    pub fn builder_network(&self) -> Option<&AttachmentConfiguration> {
        match &self.network {
            Some(Choice::Network(network)) => Some(network),
            _ => None,
        }
    }

    /// Whether the builder can do what the flags ask for: it would not say.
    pub async fn check(&self, connection: &Connection) -> Result<(), Failure> {
        let platforms = self.platforms()?;
        let Some(docker) = connection.docker() else {
            return Ok(());
        };
        let newer: [(bool, &str); 4] = [
            (self.shm_size.is_some(), "--shm-size"),
            (!self.limits.is_empty(), "--ulimit"),
            (!self.no_cache_filter.is_empty(), "--no-cache-filter"),
            (!self.contexts.is_empty(), "--build-context"),
        ];
        let wanted = newer.iter().find(|(is_wanted, _)| *is_wanted);
        if let Some((_, flag)) = wanted {
            let version = docker.major_version().await.context("ask the builder")?;
            if version < NEWER_DOCKER {
                let text = format!("{flag} needs a newer builder: it is Docker {version}");
                return Err(anyhow::anyhow!(text).into());
            }
        }
        if !self.attestations().is_empty() && !connection.has_layouts() {
            let text = "attestations need a builder with buildkitd, or a dockerd with containerd's image store";
            return Err(anyhow::anyhow!(text).into());
        }
        if platforms.len() > 1 && !connection.has_layouts() {
            let text = "an image for several platforms needs a builder with buildkitd, or a dockerd with containerd's image store";
            return Err(anyhow::anyhow!(text).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        flags: FrontendFlags,
    }

    fn attributes(words: &[&str]) -> HashMap<String, String> {
        let words = ["build"].iter().chain(words);
        Flags::try_parse_from(words)
            .unwrap()
            .flags
            .attributes()
            .unwrap()
    }

    #[test]
    fn flags_are_attributes() {
        for (words, key, value) in [
            (&["--build-arg", "A=b=c"][..], "build-arg:A", "b=c"),
            (&["--label", "x="], "label:x", ""),
            (&["--target", "app"], "target", "app"),
            (&["--no-cache"], "no-cache", ""),
            (&["--no-cache-filter", "a,b"], "no-cache", "a,b"),
            (&["--pull"], "image-resolve-mode", "pull"),
            (
                &["--platform", "linux/amd64,linux/arm64"],
                "platform",
                "linux/amd64,linux/arm64",
            ),
            (
                &["-a", "amd64", "-a", "arm64"],
                "platform",
                "linux/amd64,linux/arm64",
            ),
            (&["--network", "none"], "force-network-mode", "none"),
            (&["--network", "host"], "force-network-mode", "host"),
            (&["--provenance"], "attest:provenance", ""),
            (&["--provenance=mode=max"], "attest:provenance", "mode=max"),
            (&["--sbom=generator=x"], "attest:sbom", "generator=x"),
            (
                &["--attest", "type=provenance,mode=min"],
                "attest:provenance",
                "mode=min",
            ),
            (
                &["--add-host", "a:10.0.0.1", "--add-host", "b:10.0.0.2"],
                "add-hosts",
                "a=10.0.0.1,b=10.0.0.2",
            ),
            (&["--shm-size", "1m"], "shm-size", "1048576"),
            (&["--ulimit", "nofile=10:20"], "ulimit", "nofile=10:20"),
        ] {
            let all = attributes(words);
            assert_eq!(
                all.get(key).map(String::as_str),
                Some(value),
                "{words:?}: {all:?}"
            );
        }
        for words in [
            &["--network", "default,egress=none"][..],
            &["--sbom=false", "--provenance=false"],
        ] {
            assert!(attributes(words).is_empty(), "{words:?}");
        }
        assert!(attestation("type=x").is_err() && attestation("mode=max").is_err());
        assert!(attributes(&["--build-arg", "NO_SUCH_VARIABLE_HERE"]).is_empty());
    }
}
