//! The process of a network: started when somebody needs it, taken over from an apiserver before this one, and started again
//! when it dies while containers are on it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use container_api::network::network_client::NetworkClient;
use container_api::network::{DomainsRequest, InspectReply, InspectRequest};
use container_api::plugin::{self as plugins, ServiceKind};
use container_api::protocol::{CURRENT, understands};
use container_api::request::Channel;
use container_api::roots::Roots;
use container_api::{Chain, Error, Kind, lock, socket};
use container_resource::dns_domain::DnsDomain;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;
use tonic::{Response, Status};

use super::patience::patiently;
use crate::plugin;
use crate::trouble::Trouble;

/// How long the process may take to answer: it has to make a namespace first.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How long it may take to take its network down.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to clean what a network has left.
const CLEAN_LIMIT: Duration = Duration::from_secs(5);
/// The first and the longest pause before it is started again, for containers that are on it.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// After this long without a failure, earlier failures no longer count.
const CALM: Duration = Duration::from_secs(60);
/// Bytes of the reason of its end that are told.
const LAST_WORDS: u64 = 4096;
/// How long it may take to say them when it does not serve any more.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(2);

/// A network's process, as far as there is one.
#[derive(Debug)]
pub struct NetworkProcess {
    roots: Roots,
    name: String,
    plugin: String,
    /// Under which the host finds the network's containers.
    domains: watch::Receiver<Vec<DnsDomain>>,
    debug: bool,
    running: Mutex<Option<Running>>,
    /// Containers are connected: it is started again when it dies.
    wanted: watch::Sender<bool>,
    /// Rung when it has died.
    died: Arc<Notify>,
    /// How it failed lately.
    failed: watch::Sender<Failed>,
    /// How often it has answered: whether one that does not answer one call is busy with others.
    answered: AtomicU64,
}

/// Ends of a process that was wanted.
#[derive(Debug, Default)]
struct Failed {
    lately: Trouble,
    last: Option<Instant>,
}

impl Failed {
    fn is_over(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() > CALM)
    }

    fn add(&mut self, message: String) {
        if self.is_over() {
            self.lately = Trouble::default();
        }
        self.lately.add(message);
        self.last = Some(Instant::now());
    }
}

impl Drop for NetworkProcess {
    fn drop(&mut self) {
        // Whoever keeps it running has nothing more to do.
        self.died.notify_one();
    }
}

/// Starts a process again when it has died, for containers that are on its network.
async fn keep(process: Weak<NetworkProcess>, died: Arc<Notify>) {
    let mut pause = PAUSE.0;
    let mut begun = Instant::now();
    loop {
        died.notified().await;
        if begun.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        tokio::time::sleep(pause).await;
        let Some(process) = process.upgrade() else {
            return;
        };
        if !*process.wanted.borrow() {
            continue;
        }
        let name = &process.name;
        tracing::warn!("the process of network {name} has ended: it is started again");
        begun = Instant::now();
        pause = (pause * 2).min(PAUSE.1);
        let mut message = "its process has ended".to_owned();
        if let Err(error) = process.serving().await {
            tracing::error!("{error:#}");
            message = error.message();
            // There may be no process whose end would ring.
            died.notify_one();
        }
        process.failed.send_modify(|failed| failed.add(message));
    }
}

/// Where a process that was started here says why it ends, if that is not well: descriptor 5 in it.
#[derive(Debug)]
struct LastWords(pipe::Receiver);

impl LastWords {
    /// What it has said; nothing, where it lives or has said nothing.
    async fn heard(self) -> Option<String> {
        let mut words = Vec::new();
        let mut pipe = self.0.take(LAST_WORDS);
        let read = tokio::time::timeout(LAST_WORDS_LIMIT, pipe.read_to_end(&mut words));
        read.await.ok()?.ok()?;
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        (!words.is_empty()).then_some(words)
    }
}

/// A process that serves.
#[derive(Clone, Debug)]
pub struct Running {
    /// Calls.
    pub client: NetworkClient<Channel>,
    /// What it said of itself when it was met.
    pub about: Arc<InspectReply>,
    ended: watch::Receiver<bool>,
}

impl NetworkProcess {
    /// None yet.
    pub fn new(
        roots: &Roots,
        name: &str,
        plugin: &str,
        domains: watch::Receiver<Vec<DnsDomain>>,
        debug: bool,
    ) -> Arc<Self> {
        let died = Arc::new(Notify::new());
        let process = Arc::new(Self {
            roots: roots.clone(),
            name: name.to_owned(),
            plugin: plugin.to_owned(),
            domains,
            debug,
            running: Mutex::default(),
            wanted: watch::Sender::new(false),
            died: died.clone(),
            failed: watch::Sender::default(),
            answered: AtomicU64::new(0),
        });
        tokio::spawn(keep(Arc::downgrade(&process), died));
        process
    }

    fn lock_path(&self) -> PathBuf {
        self.roots.network(&self.name).join("lock")
    }

    fn log_path(&self) -> PathBuf {
        self.roots.log.join(format!("network-{}.log", self.name))
    }

    /// That it ends again and again, though containers are on its network.
    pub fn trouble(&self) -> Option<Trouble> {
        let failed = self.failed.borrow();
        failed.lately.told().filter(|_| !failed.is_over())
    }

    /// Whether it has to be there.
    pub fn want(&self, wanted: bool) {
        self.wanted.send_replace(wanted);
    }

    /// The process if it serves, now; it is not started.
    pub async fn present(self: &Arc<Self>) -> Option<Running> {
        let mut running = self.running.lock().await;
        if let Some(present) = running.as_ref().filter(|present| !*present.ended.borrow()) {
            return Some(present.clone());
        }
        lock::holder(&self.lock_path()).ok().flatten()?;
        let met = self.meet(None).await.ok()?;
        if !understands(met.about.protocol) {
            return None;
        }
        *running = Some(met.clone());
        Some(met)
    }

    /// The process, which serves.
    ///
    /// # Errors
    /// When it cannot: what its last words were.
    pub async fn serving(self: &Arc<Self>) -> Result<Running, Error> {
        let mut running = self.running.lock().await;
        if let Some(present) = running.as_ref().filter(|present| !*present.ended.borrow()) {
            return Ok(present.clone());
        }
        *running = None;
        let mut met = match lock::holder(&self.lock_path()) {
            Ok(Some(_)) => self.meet(None).await?,
            _ => self.meet(Some(self.start()?)).await?,
        };
        if !understands(met.about.protocol) {
            // One of another release: the next one goes on with what is there.
            let told = met.about.protocol;
            tracing::warn!(
                "the process of network {} speaks protocol {told}: it is replaced",
                self.name
            );
            let lock = self.lock_path();
            let replaced = async {
                lock::signal_holder(&lock, Signal::KILL)?;
                lock::released(&lock).await
            };
            replaced.await.map_err(|error| self.failed(error))?;
            met = self.meet(Some(self.start()?)).await?;
        }
        let told = met.about.protocol;
        if !understands(told) {
            // Nobody would ever end it.
            let _ = lock::signal_holder(&self.lock_path(), Signal::KILL);
            let text = format!(
                "network {}: plugin '{}' speaks protocol {told}, and the container system service {CURRENT}",
                self.name, self.plugin
            );
            let hint = "Install a plugin that was made for this version of container.";
            return Err(Error::new(Kind::Unsupported, text).with_hint(hint));
        }
        *running = Some(met.clone());
        Ok(met)
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::caused(Kind::Unavailable, error).context(format_args!("start network {}", self.name))
    }

    /// Starts its plugin.
    fn start(&self) -> Result<(tokio::process::Child, LastWords), Error> {
        let plugin = plugins::service(&self.roots, &self.plugin, ServiceKind::Network)
            .map_err(|error| error.context(format_args!("network {}", self.name)))?;
        self.spawn(&plugin.program)
            .map_err(|error| self.failed(error))
    }

    fn spawn(&self, program: &Path) -> std::io::Result<(tokio::process::Child, LastWords)> {
        // The main one last: who can connect to it finds the other one, too.
        let descriptors = socket::bind(&self.roots.network_descriptors(&self.name))?;
        let main = socket::bind(&self.roots.network_socket(&self.name))?;
        let log = container_files::log(&self.log_path())?;
        let mut command = std::process::Command::new(program);
        command
            .arg("start")
            .arg("--state")
            .arg(self.roots.network(&self.name))
            .arg("--runtime-root")
            .arg(&self.roots.runtime);
        if self.debug {
            command.arg("--debug");
        }
        command.current_dir("/");
        let (words, end) = pipe_with(PipeFlags::CLOEXEC)?;
        let listeners = [main.into(), descriptors.into()];
        let child = plugin::spawn(command, listeners, vec![end], log)?;
        Ok((child, LastWords(pipe::Receiver::from_owned_fd(words)?)))
    }

    /// Speaks to the process, which was `started` here or lived before this apiserver, and watches it from now on.
    async fn meet(
        self: &Arc<Self>,
        started: Option<(tokio::process::Child, LastWords)>,
    ) -> Result<Running, Error> {
        let (child, last_words) = started.unzip();
        let (ended, watched) = watch::channel(false);
        let lock = self.lock_path();
        let died = self.died.clone();
        let gone = async move {
            match child {
                // Its end is seen on its connection, too: this reaps it.
                Some(mut child) => {
                    let _ = child.wait().await;
                }
                None => {
                    if let Err(error) = lock::released(&lock).await {
                        tracing::warn!("cannot watch {}: {error:#}", lock.display());
                    }
                }
            }
            ended.send_replace(true);
            died.notify_one();
        };
        let channel = socket::connect(&self.roots.network_socket(&self.name));
        tokio::spawn(gone);
        let met = match channel {
            Ok(channel) => self.ask_what_it_is(channel).await,
            Err(error) => Err(Chain(&error).to_string()),
        };
        let (client, about) = match met {
            Ok(met) => met,
            Err(error) => {
                let said = match last_words {
                    Some(words) => words.heard().await,
                    None => None,
                };
                let text = format!("network {}: {}", self.name, said.unwrap_or(error));
                return Err(Error::new(Kind::Unavailable, text).with_hint(
                    "`container system doctor` tells what this host lacks for networks.",
                ));
            }
        };
        if !self.domains.borrow().is_empty() {
            if let Some(problem) = self.say_domains(client.clone()).await {
                tracing::warn!("network {}: names for the host: {problem}", self.name);
            }
        }
        Ok(Running {
            client,
            about: Arc::new(about),
            ended: watched,
        })
    }

    /// Asks the process at the other end of `channel` what its network is.
    async fn ask_what_it_is(
        &self,
        channel: Channel,
    ) -> Result<(NetworkClient<Channel>, InspectReply), String> {
        let mut client =
            NetworkClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT);
        let asked = tokio::time::timeout(ANSWER_LIMIT, client.inspect(InspectRequest {})).await;
        match asked {
            Ok(Ok(reply)) => Ok((client, reply.into_inner())),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => {
                // It may hang for ever, with its lock.
                let _ = lock::signal_holder(&self.lock_path(), Signal::KILL);
                Err("its process does not answer".to_owned())
            }
        }
    }

    /// Tells it under which domains the host finds containers; gives the reason why the host does not.
    pub async fn tell_domains(self: &Arc<Self>) -> Option<String> {
        match self.serving().await {
            Ok(running) => self.say_domains(running.client).await,
            Err(error) => Some(error.message()),
        }
    }

    async fn say_domains(&self, mut client: NetworkClient<Channel>) -> Option<String> {
        let domains = self.domains.borrow().clone();
        let domains = match serde_json::to_vec(&domains) {
            Ok(domains) => domains.into(),
            Err(error) => return Some(error.to_string()),
        };
        let told = client.domains(DomainsRequest { domains });
        match tokio::time::timeout(ANSWER_LIMIT, told).await {
            Ok(Ok(reply)) => Some(reply.into_inner().problem).filter(|problem| !problem.is_empty()),
            Ok(Err(status)) => Some(status.message().to_owned()),
            Err(_) => Some("its process does not answer".to_owned()),
        }
    }

    /// Asks it something, for as long as it answers.
    ///
    /// # Errors
    /// Its own, and when it does not serve.
    pub async fn call<T, F>(
        self: &Arc<Self>,
        call: impl FnOnce(NetworkClient<Channel>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Running { client, .. } = self.serving().await?;
        match patiently(call(client), &self.answered, ANSWER_LIMIT).await {
            Some(Ok(reply)) => Ok(reply.into_inner()),
            Some(Err(status)) => {
                Err(Error::from(status).context(format_args!("network {}", self.name)))
            }
            None => {
                // It may hang for ever: the next one goes on with what is there.
                let _ = lock::signal_holder(&self.lock_path(), Signal::KILL);
                let text = format!("network {}: its process does not answer", self.name);
                Err(Error::new(Kind::Timeout, text))
            }
        }
    }

    /// What the network is now.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn inspect(self: &Arc<Self>) -> Result<InspectReply, Error> {
        self.call(|mut client| async move { client.inspect(InspectRequest {}).await })
            .await
    }

    /// Has it take its network down, and waits until it has. It does not as long as a machine is there, and cannot where it was
    /// killed: then the next one does, which finds what is left.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub async fn stop(self: &Arc<Self>) -> std::io::Result<()> {
        self.want(false);
        let namespace = self.roots.network(&self.name).join("namespace.lock");
        let deadline = tokio::time::Instant::now() + STOP_LIMIT;
        let mut killed = false;
        loop {
            self.end().await?;
            if lock::holder(&namespace)?.is_none() {
                break;
            }
            if tokio::time::Instant::now() >= deadline {
                tracing::warn!(
                    "something of network {} stays: a machine is on it",
                    self.name
                );
                break;
            }
            // A machine that was told to end is gone in a moment; no event of its end comes here.
            tokio::time::sleep(PAUSE.0).await;
            if let Err(error) = self.serving().await {
                tracing::warn!("{error:#}");
                lock::signal_holder(&namespace, Signal::KILL)?;
                killed = true;
            }
        }
        if killed {
            self.clean().await;
        }
        for path in [
            self.roots.network_socket(&self.name),
            self.roots.network_descriptors(&self.name),
        ] {
            // Already gone is as good.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    /// Takes away what the network has left in the host, if its processes were all killed: rules that lead its ports nowhere.
    pub async fn clean(&self) {
        let plugin = match plugins::service(&self.roots, &self.plugin, ServiceKind::Network) {
            Ok(plugin) => plugin,
            Err(error) => {
                tracing::warn!("network {}: {error:#}", self.name);
                return;
            }
        };
        let mut command = tokio::process::Command::new(plugin.program);
        command
            .arg("clean")
            .arg("--state")
            .arg(self.roots.network(&self.name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        // It refuses where a process serves the network, which is well then.
        match tokio::time::timeout(CLEAN_LIMIT, command.status()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("network {}: {error:#}", self.name),
            Err(_) => tracing::warn!("network {}: it is not cleaned in time", self.name),
        }
    }

    /// Ends the process, if there is one.
    async fn end(&self) -> std::io::Result<()> {
        let path = self.lock_path();
        lock::signal_holder(&path, Signal::TERM)?;
        // One that is stopped hears it only when it goes on.
        lock::signal_holder(&path, Signal::CONT)?;
        if tokio::time::timeout(STOP_LIMIT, lock::released(&path))
            .await
            .is_err()
        {
            lock::signal_holder(&path, Signal::KILL)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A system below `scratch` with the network `web` of the plugin `fake`, and the plugin's program.
    fn system(scratch: &Path) -> (Roots, PathBuf) {
        let at = |name: &str| scratch.join(name);
        let mut roots = Roots::new(at("app"), at("install"), None).unwrap();
        roots.runtime = at("run");
        let plugin = roots.plugin("fake");
        let directory = roots.install.join("libexec/container/plugins/fake");
        for directory in [
            &directory.join("bin"),
            &roots.runtime,
            &roots.network("web"),
            &roots.log,
        ] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let manifest = "[[servicesConfig.services]]\ntype = \"network\"\n";
        std::fs::write(directory.join("config.toml"), manifest).unwrap();
        (roots, plugin)
    }

    fn write_script(program: &Path, words: &str) {
        std::fs::write(program, format!("#!/bin/sh\n{words}\nexit 1\n")).unwrap();
        std::fs::set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn the_reason_is_what_the_process_says_itself() {
        let scratch = tempfile::tempdir().unwrap();
        let (roots, plugin) = system(scratch.path());
        // What an earlier one has logged is nobody's reason.
        let log = roots.log.join("network-web.log");
        std::fs::write(log, "2026-01-01T00:00:00Z ERROR a: an old reason\n").unwrap();
        let (_, domains) = watch::channel(Vec::new());
        let process = NetworkProcess::new(&roots, "web", "fake", domains, false);
        write_script(
            &plugin,
            "echo ' ERROR a: in the log'; echo 'cannot run nft: not found' >&5",
        );
        let error = process.serving().await.unwrap_err();
        assert_eq!(error.message(), "network web: cannot run nft: not found");
        write_script(&plugin, "echo ' ERROR a: in the log'");
        let error = process.serving().await.unwrap_err();
        assert!(!error.message().contains("log"), "{error}");
        assert!(!error.message().contains("old reason"), "{error}");
    }

    #[tokio::test]
    async fn a_process_that_ends_again_and_again_is_told_of() {
        let scratch = tempfile::tempdir().unwrap();
        let (roots, plugin) = system(scratch.path());
        write_script(&plugin, "echo 'no bridge' >&5");
        let (_, domains) = watch::channel(Vec::new());
        let process = NetworkProcess::new(&roots, "web", "fake", domains, false);
        assert!(process.trouble().is_none());
        let begun = Instant::now();
        process.want(true);
        process.died.notify_one();
        let mut failed = process.failed.subscribe();
        let often = |failed: &Failed| failed.lately.failures >= 3;
        failed.wait_for(often).await.unwrap();
        // Each pause is longer than the one before.
        assert!(begun.elapsed() >= PAUSE.0 * 7);
        let trouble = process.trouble().unwrap();
        assert_eq!(trouble.message, "network web: no bridge");
        process.want(false);
    }
}
