//! What the flags say to the frontend that reads the Dockerfile (BuildKit's `frontend/dockerfile`).

use std::collections::HashMap;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use container_buildkit::{CacheEntry, Connection, Engine};
use container_resource::container::{HostEntry, Rlimit};
use container_resource::platform::Platform;
use container_resource::{host_entry, rlimit, size};

use super::pairs;
use crate::failure::Failure;

/// The first release of Docker whose BuildKit knows what flags beyond the old ones say.
const NEWER_DOCKER: u32 = 23;

/// How steps reach a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StepNetwork {
    /// That of the builder.
    #[default]
    Default,
    /// None.
    None,
    /// The builder's own interfaces.
    Host,
}

/// What is built.
#[derive(Args, Clone, Debug)]
pub struct FrontendFlags {
    /// Add a line to /etc/hosts of the steps: <name>:<address>
    #[arg(long = "add-host", value_name = "HOST", value_parser = host_entry::parse)]
    hosts: Vec<HostEntry>,

    /// Architecture of the image, or several with commas (default: the host's)
    #[arg(
        short,
        long = "arch",
        value_name = "ARCHITECTURE",
        value_delimiter = ','
    )]
    architectures: Vec<String>,

    /// Further files for the Dockerfile, by the name that it has for them: <name>=<directory>, or <name>=docker-image://<image>
    #[arg(long = "build-context", value_name = "NAME=PATH", value_parser = pairs::pair)]
    pub contexts: Vec<(String, String)>,

    /// Set an argument of the Dockerfile: <key>=<value>, or <key> for the variable of that name
    #[arg(long = "build-arg", value_name = "KEY=VALUE")]
    build_arguments: Vec<String>,

    /// Cache to look into: type=registry,ref=<name>, or the name
    #[arg(long, alias = "cache-in", value_name = "CACHE", value_parser = cache)]
    cache_from: Vec<CacheWords>,

    /// Cache to fill: type=inline, or type=registry,ref=<name>[,mode=max]
    #[arg(long, alias = "cache-out", value_name = "CACHE", value_parser = cache)]
    cache_to: Vec<CacheWords>,

    /// Set a label of the image
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pairs::pair)]
    labels: Vec<(String, String)>,

    /// Network of the steps
    #[arg(long, value_name = "NETWORK", value_enum, default_value_t)]
    network: StepNetwork,

    /// Use nothing that is cached
    #[arg(long)]
    no_cache: bool,

    /// Use nothing that is cached of these stages, with commas
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

    /// Platform of the image as <os>/<architecture>[/<variant>], or several with commas; stands above --os and --arch
    #[arg(
        long = "platform",
        value_name = "PLATFORM",
        value_delimiter = ',',
        env = "CONTAINER_DEFAULT_PLATFORM",
        hide_env_values = true
    )]
    platforms: Vec<Platform>,

    /// Look for newer base images, even if some are there
    #[arg(long)]
    pull: bool,

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

/// `--cache-from` and `--cache-to`, parsed.
type CacheWords = (String, Vec<(String, String)>);

fn cache(text: &str) -> Result<CacheWords, String> {
    let mut kind = String::new();
    let mut attributes = Vec::new();
    for (key, value) in pairs::parse(text)? {
        match (key.as_str(), value) {
            ("type", Some(value)) => kind = value,
            (_, Some(value)) => attributes.push((key, value)),
            // As docker has it: a name alone is a cache in a registry.
            (_, None) => {
                "registry".clone_into(&mut kind);
                attributes.push(("ref".to_owned(), key));
            }
        }
    }
    match kind.as_str() {
        "registry" | "inline" | "gha" | "s3" | "azblob" => Ok((kind, attributes)),
        "local" => Err(
            "type=local is not available yet: the builder keeps its cache, and type=inline and type=registry take it elsewhere"
                .to_owned(),
        ),
        "" => Err("type=<type> is expected".to_owned()),
        other => Err(format!("unknown type '{other}' of a cache: registry and inline are known")),
    }
}

impl FrontendFlags {
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
        match self.network {
            StepNetwork::Default => {}
            StepNetwork::None => set("force-network-mode", "none".to_owned()),
            StepNetwork::Host => set("force-network-mode", "host".to_owned()),
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

    fn platforms(&self) -> Result<Vec<Platform>, Failure> {
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
        match self.network {
            StepNetwork::Host => vec!["network.host".to_owned()],
            _ => Vec::new(),
        }
    }

    /// Whether the builder can do what the flags ask for: it would not say.
    pub async fn check(&self, connection: &Connection) -> Result<(), Failure> {
        let can: Vec<Platform> = connection
            .platforms()
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        let platforms = self.platforms()?;
        for wanted in &platforms {
            let is_known = can.iter().any(|can| can.distance(wanted).is_some());
            if !can.is_empty() && !is_known {
                let all = connection.platforms().join(", ");
                let text = format!("the builder cannot run programs of {wanted}: it has {all}");
                return Err(anyhow::anyhow!(text).into());
            }
        }
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
        if platforms.len() > 1 {
            let text = "an image for several platforms needs a builder with buildkitd: this one is a dockerd";
            return Err(anyhow::anyhow!(text).into());
        }
        Ok(())
    }

    /// Caches to look into.
    pub fn cache_from(&self, engine: Engine) -> Result<Vec<CacheEntry>, Failure> {
        entries(&self.cache_from, engine)
    }

    /// Caches to fill.
    pub fn cache_to(&self, engine: Engine) -> Result<Vec<CacheEntry>, Failure> {
        entries(&self.cache_to, engine)
    }
}

fn entries(words: &[CacheWords], engine: Engine) -> Result<Vec<CacheEntry>, Failure> {
    let refused = |kind: &str| engine == Engine::Dockerd && !matches!(kind, "inline" | "registry");
    words
        .iter()
        .map(|(kind, attributes)| {
            if refused(kind) {
                let text = format!("a cache of type {kind} needs a builder with buildkitd");
                return Err(anyhow::anyhow!(text).into());
            }
            Ok(CacheEntry {
                kind: kind.clone(),
                attributes: attributes.iter().cloned().collect(),
            })
        })
        .collect()
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
        assert!(attributes(&["--build-arg", "NO_SUCH_VARIABLE_HERE"]).is_empty());
    }

    #[test]
    fn caches() {
        let (kind, words) = cache("example/cache").unwrap();
        assert_eq!((kind.as_str(), words[0].0.as_str()), ("registry", "ref"));
        assert_eq!(cache("type=inline").unwrap().0, "inline");
        assert!(
            cache("type=local,dest=x")
                .unwrap_err()
                .contains("not available")
        );
        assert!(cache("mode=max").is_err());
    }
}
