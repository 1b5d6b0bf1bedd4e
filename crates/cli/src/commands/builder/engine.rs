//! Gets a builder that runs and answers: creates it, starts it and waits for it if necessary.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use container_api::api::{CreateRequest, DeleteRequest, StartRequest};
use container_api::images::GetReply;
use container_api::lock::{self, Lock};
use container_api::{Error, Kind, roots};
use container_buildkit::{Connection, ConnectionError, DEFAULT_IMAGE, Engine};
use container_resource::attachment::Choice;
use container_resource::builder::BuilderCreation;
use container_resource::container::{
    AttachmentConfiguration, ContainerState, CreateOptions, DnsConfiguration, ManagedContainer,
    PublishSocket,
};
use container_resource::image_settings::ImageSettings;
use container_resource::settings::BuildSettings;
use container_resource::{connectivity::Connectivity, cpus, dns, size};
use futures::FutureExt as _;
use futures::future::select_ok;
use jiff::Timestamp;

use super::super::creating::{describe, platform_of};
use super::super::fetch::FetchFlags;
use super::super::timeline;
use super::known;
use crate::configuration;
use crate::connection::Context;
use crate::failure::Failure;
use crate::session;

/// How long a builder has from its start to its first answer.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is asked meanwhile: no event tells a guest's first listening.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where engines listen in a builder: the name of the socket on the host, and its place in the container.
pub(super) const SOCKETS: [(Engine, &str, &str); 2] = [
    (
        Engine::Buildkitd,
        "buildkitd",
        "/run/buildkit/buildkitd.sock",
    ),
    (Engine::Dockerd, "docker", "/run/docker.sock"),
];

/// What a builder has.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Builder options")]
pub struct Resources {
    /// CPUs of the builder (default: 2, or build.cpus)
    #[arg(short, long, value_name = "NUMBER", value_parser = cpus::parse_whole)]
    cpus: Option<u32>,

    /// Memory of the builder with an optional unit (K, M, G, T or P; default: 2G, or build.memory)
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse_memory)]
    memory: Option<u64>,

    /// Name server of the builder (default: its network)
    #[arg(long = "dns", value_name = "ADDRESS", value_parser = dns::server)]
    dns_servers: Vec<String>,

    /// Domain in which short names are looked up
    #[arg(long, value_name = "DOMAIN", value_parser = dns::search)]
    dns_search: Vec<String>,

    /// Domain of the builder
    #[arg(long, value_name = "DOMAIN", value_parser = dns::domain)]
    dns_domain: Option<String>,

    /// Option of resolv.conf, such as ndots:1
    #[arg(long = "dns-option", visible_alias = "dns-opt", value_name = "OPTION", value_parser = dns::option)]
    dns_options: Vec<String>,

    /// Do not write resolv.conf; keep the image's
    #[arg(long)]
    no_dns: bool,

    /// The network that the builder is on, and what it may reach; absent: as it is.
    #[arg(skip)]
    network: Option<AttachmentConfiguration>,
}

/// A builder that answers. It is not stopped as long as this is held.
#[derive(Debug)]
pub struct Running {
    /// How it is reached.
    pub connection: Connection,
    _lock: Lock,
}

/// The builder `name`, with what `resources` ask for. A builder with other resources is created again, unless a client uses it; its cache
/// stays.
pub async fn ensure(
    context: &Context,
    name: &str,
    resources: &Resources,
) -> Result<Running, Failure> {
    resources.check()?;
    let deadline = Instant::now() + PATIENCE;
    let lock = share(context, name, deadline).await?;
    let settings = configuration::settings(&context.roots)?.build;
    let found = super::find(context, name).await?;
    let is_fit = found
        .as_ref()
        .is_some_and(|found| resources.fit(found, &settings));
    if !is_fit {
        let is_there = found.is_some();
        let others = lock.other_holder().context("look who uses the builder")?;
        let is_used = is_there && others.is_some();
        if is_used {
            let text = format!(
                "builder {name} is in use, and has other settings than those that are asked for"
            );
            let hint = "Wait for its builds to end, or take another one with --builder.";
            return Err(Error::new(Kind::InvalidState, text).with_hint(hint).into());
        }
        if is_there {
            remove(context, name).await?;
        }
        create(context, name, resources, &settings).await?;
    }
    let connection = start(context, name, deadline).await?;
    Ok(Running {
        connection,
        _lock: lock,
    })
}

/// Takes part in what the builder's users share.
async fn share(context: &Context, name: &str, deadline: Instant) -> Result<Lock, Failure> {
    let path = context.roots.builder_lock(name);
    let failed = || format!("lock {}", path.display());
    if let Some(directory) = path.parent() {
        roots::create_private(directory).with_context(failed)?;
    }
    loop {
        match lock::share(&path) {
            Ok(lock) => return Ok(lock),
            // It is being stopped.
            Err(error)
                if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline =>
            {
                tokio::time::sleep(INTERVAL).await;
            }
            Err(error) => return Err(Failure::from(anyhow::Error::new(error).context(failed()))),
        }
    }
}

impl Resources {
    /// On the network that `attachment` says.
    #[must_use]
    pub fn on(mut self, attachment: AttachmentConfiguration) -> Self {
        self.network = Some(attachment);
        self
    }

    fn choices(&self) -> Vec<Choice> {
        let network = self.network.iter().cloned();
        network
            .map(|attachment| Choice::Network(Box::new(attachment)))
            .collect()
    }

    fn fit(&self, found: &ManagedContainer, settings: &BuildSettings) -> bool {
        let configuration = &found.configuration;
        let resources = &configuration.resources;
        let image = settings.image.as_deref();
        // A resource without a request stays as it is.
        let cpus = self.cpus.or(settings.cpus);
        let set = settings.memory.as_ref().map(|_| settings.memory());
        let memory = self.memory.or(set);
        cpus.is_none_or(|cpus| cpus == resources.cpus)
            && memory.is_none_or(|memory| memory == resources.memory_in_bytes)
            && image.is_none_or(|image| is_same_image(image, &configuration.image.reference))
            && (!self.has_dns() || configuration.dns == self.dns())
            && self
                .network
                .as_ref()
                .is_none_or(|network| is_on(network, &configuration.networks))
    }

    /// Whether the flags go together.
    fn check(&self) -> Result<(), Failure> {
        if self.no_dns && self.says_dns() {
            let text = "--no-dns conflicts with the other --dns flags";
            return Err(Failure::usage(text));
        }
        Ok(())
    }

    fn has_dns(&self) -> bool {
        self.no_dns || self.says_dns()
    }

    fn says_dns(&self) -> bool {
        !(self.dns_servers.is_empty()
            && self.dns_search.is_empty()
            && self.dns_domain.is_none()
            && self.dns_options.is_empty())
    }

    fn dns(&self) -> Option<DnsConfiguration> {
        (!self.no_dns).then(|| DnsConfiguration {
            nameservers: self.dns_servers.clone(),
            domain: self.dns_domain.clone(),
            search_domains: self.dns_search.clone(),
            options: self.dns_options.clone(),
        })
    }
}

/// Whether `networks` are the one that is asked for, with what may be reached from it.
fn is_on(wanted: &AttachmentConfiguration, networks: &[AttachmentConfiguration]) -> bool {
    let [only] = networks else { return false };
    let mut only = only.clone();
    // What the name of the container and nobody's asking have made of it.
    only.options.hostname.clone_from(&wanted.options.hostname);
    only.options.implied = wanted.options.implied;
    only == *wanted
}

/// Whether `full` may be what `short` says: what is left out is the registry, `library/`, and the tag.
fn is_same_image(short: &str, full: &str) -> bool {
    let tagged = format!("{short}:latest");
    [short, tagged.as_str()].iter().any(|name| {
        full.strip_suffix(name)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    })
}

/// Deletes the builder `name`, whether it runs or not. Its cache stays.
pub async fn remove(context: &Context, name: &str) -> Result<(), Failure> {
    let request = DeleteRequest {
        id: name.to_owned(),
        force: true,
        volumes: false,
    };
    context.containers()?.delete(request).await?;
    known::forget(context, name);
    Ok(())
}

async fn create(
    context: &Context,
    name: &str,
    resources: &Resources,
    settings: &BuildSettings,
) -> Result<(), Failure> {
    let reference = settings.image.as_deref().unwrap_or(DEFAULT_IMAGE);
    let image = image(context, reference).await?;
    let sockets = SOCKETS.iter().map(|(_, host, container)| {
        let path = context.roots.builder_socket(name, host);
        PublishSocket {
            host_path: path.to_string_lossy().into_owned(),
            container_path: (*container).to_owned(),
            permissions: None,
        }
    });
    let creation = BuilderCreation {
        name: name.to_owned(),
        platform: platform_of(&image, "")?,
        image: describe(&image)?,
        cpus: resources.cpus.unwrap_or_else(|| settings.cpus()),
        memory: resources.memory.unwrap_or_else(|| settings.memory()),
        connectivity: Connectivity {
            dns: resources.dns(),
            choices: resources.choices(),
            ..Connectivity::default()
        },
        sockets: sockets.collect(),
    };
    let parsed = ImageSettings::parse(&image.config).map_err(Failure::usage_chain)?;
    let configuration = creation
        .configuration(&parsed, Timestamp::now())
        .with_context(|| format!("make a builder of image {reference}"))?;
    let request = CreateRequest {
        configuration: serde_json::to_vec(&configuration)?.into(),
        options: serde_json::to_vec(&CreateOptions::default())?.into(),
    };
    match context
        .containers()?
        .create(request)
        .await
        .map_err(Error::from)
    {
        // Another build was faster.
        Err(error) if error.kind == Kind::Exists => match super::find(context, name).await? {
            Some(_) => Ok(()),
            None => Err(error
                .context(format!("builder {name}"))
                .with_hint(
                    "A container of that name is no builder: take another name with --builder.",
                )
                .into()),
        },
        other => Ok(other.map(drop)?),
    }
}

async fn image(context: &Context, reference: &str) -> Result<GetReply, Failure> {
    let found = FetchFlags::missing()
        .image(context, reference, String::new())
        .await;
    found.map_err(|failure| match failure {
        Failure::Service(error) => error
            .context("the builder's image")
            .with_hint("`build.image` in the configuration names another one: see the README, Building images.")
            .into(),
        other => other,
    })
}

/// Starts the builder, unless it runs, and waits until one of its engines answers.
async fn start(context: &Context, name: &str, deadline: Instant) -> Result<Connection, Failure> {
    let mut containers = context.containers()?;
    let request = StartRequest {
        id: name.to_owned(),
        stdio: session::detached(true),
        ssh_agent: String::new(),
    };
    let reply = containers.start(request.clone()).await?.into_inner();
    timeline::warn(&reply);
    if let Some(connection) = known::resume(context, name, &reply.run).await {
        return Ok(connection);
    }
    loop {
        // The first that answers; one without a listener in the guest refuses.
        let asked = SOCKETS.map(|(engine, socket, _)| {
            let path = context.roots.builder_socket(name, socket);
            async move { Connection::open(&path, engine).await }.boxed()
        });
        let last = match select_ok(asked).await {
            Ok((connection, _)) => {
                known::keep(context, name, &reply.run, &connection);
                return Ok(connection);
            }
            Err(error) => error,
        };
        let found = super::find(context, name).await?;
        let state = found.map_or(ContainerState::Stopped, |found| found.status.state);
        if state != ContainerState::Running {
            return Err(silent(name, "ended before it could build anything", None));
        }
        if Instant::now() >= deadline {
            return Err(silent(name, "does not answer", Some(last)));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn silent(name: &str, what: &str, cause: Option<ConnectionError>) -> Failure {
    let text = format!("builder {name} {what}");
    let error = match cause {
        Some(cause) => Error::caused(Kind::Unavailable, cause).context(text),
        None => Error::new(Kind::Unavailable, text),
    };
    let hint = format!("`container logs {name}` shows its messages.");
    error.with_hint(hint).into()
}

#[cfg(test)]
mod tests {
    use container_resource::attachment;

    use super::*;

    #[test]
    fn a_builder_is_on_the_network_that_is_asked_for() {
        let network = |text: &str| match attachment::parse(text).unwrap() {
            Choice::Network(network) => *network,
            other => panic!("{other:?}"),
        };
        let made = |choices| Connectivity {
            choices,
            ..Connectivity::default()
        };
        let usual = made(Vec::new()).networks("buildkit");
        assert!(is_on(&network("default"), &usual));
        assert!(!is_on(&network("other"), &usual));
        let bounded = network("default,egress=none");
        assert!(!is_on(&bounded, &usual));
        let chosen = Resources::default().on(bounded.clone()).choices();
        let networks = made(chosen).networks("buildkit");
        assert!(is_on(&bounded, &networks));
        assert!(!is_on(&network("default"), &networks));
    }

    #[test]
    fn an_image_is_the_same_however_short_it_is_said() {
        for (short, full, expected) in [
            (
                "moby/buildkit:v1",
                "registry.example/moby/buildkit:v1",
                true,
            ),
            (
                "moby/buildkit:v1",
                "registry.example/moby/buildkit:v2",
                false,
            ),
            ("builder", "registry.example/library/builder:latest", true),
            ("kit:v1", "registry.example/moby/buildkit:v1", false),
        ] {
            assert_eq!(is_same_image(short, full), expected, "{short} {full}");
        }
    }
}
