//! Starting a network's process, and speaking to it for the first time.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use container_api::network::network_client::NetworkClient;
use container_api::network::{DomainsRequest, InspectReply, InspectRequest};
use container_api::plugin::{self as plugins, ServiceKind};
use container_api::request::Channel;
use container_api::{Chain, Error, Kind, lock, socket};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::{ANSWER_LIMIT, NetworkProcess, Running};
use crate::plugin;

/// Bytes of the reason of its end that are told.
const LAST_WORDS: u64 = 4096;
/// How long it may take to say them when it does not serve any more.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(2);

/// Where a process that was started here says why it ends, if that is not well: descriptor 5 in it.
#[derive(Debug)]
pub(super) struct LastWords(pipe::Receiver);

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

/// Why nobody serves the network.
#[derive(Debug)]
pub(super) enum Unmet {
    /// The process has ended, and has said why.
    Said(String),
    /// It has ended without a word, as one that is killed.
    Ended,
    /// It cannot be spoken with.
    Silent(String),
}

impl NetworkProcess {
    /// Meets the process that is there, or starts one; once more where it is killed meanwhile.
    ///
    /// # Errors
    /// What its last words were, or that it has none.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<Running, Error> {
        let met = match self.meet_or_start().await? {
            Err(Unmet::Ended) => self.meet_or_start().await?,
            met => met,
        };
        met.map_err(|unmet| self.explain(unmet))
    }

    async fn meet_or_start(self: &Arc<Self>) -> Result<Result<Running, Unmet>, Error> {
        match lock::holder(&self.lock_path()) {
            Ok(Some(_)) => Ok(self.meet(None).await),
            _ => self.start_and_meet().await,
        }
    }

    async fn start_and_meet(self: &Arc<Self>) -> Result<Result<Running, Unmet>, Error> {
        let met = self.meet(Some(self.start()?)).await;
        if met.is_ok() && self.is_wanted() {
            // Who is gone has nobody to tell.
            let _ = self.anew.send(self.name.clone());
        }
        Ok(met)
    }

    /// Starts it in the place of one that is gone.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub(super) async fn replace(self: &Arc<Self>) -> Result<Running, Error> {
        let met = self.start_and_meet().await?;
        met.map_err(|unmet| self.explain(unmet))
    }

    fn explain(&self, unmet: Unmet) -> Error {
        let (why, hint) = match unmet {
            Unmet::Said(words) => (
                words,
                "`container system doctor` tells what this host lacks for networks.",
            ),
            Unmet::Ended => (
                "its process has ended".to_owned(),
                "It is started again by itself: try once more.",
            ),
            Unmet::Silent(why) => (why, "`container system logs` may tell why."),
        };
        let text = format!("network {}: {why}", self.name);
        Error::new(Kind::Unavailable, text).with_hint(hint)
    }

    pub(super) fn failed(&self, error: std::io::Error) -> Error {
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
    pub(super) async fn meet(
        self: &Arc<Self>,
        started: Option<(tokio::process::Child, LastWords)>,
    ) -> Result<Running, Unmet> {
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
            // Nobody has the other end of its socket any more.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err(Unmet::Ended),
            Err(error) => Err(Unmet::Silent(Chain(&error).to_string())),
        };
        let (client, about) = match met {
            Ok(met) => met,
            Err(unmet) => {
                let said = match last_words {
                    Some(words) => words.heard().await,
                    None => None,
                };
                return Err(said.map_or(unmet, Unmet::Said));
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
    ) -> Result<(NetworkClient<Channel>, InspectReply), Unmet> {
        let mut client =
            NetworkClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT);
        let asked = tokio::time::timeout(ANSWER_LIMIT, client.inspect(InspectRequest {})).await;
        match asked {
            Ok(Ok(reply)) => Ok((client, reply.into_inner())),
            Ok(Err(status)) => Err(match Error::from(status) {
                error if error.kind == Kind::Unavailable => Unmet::Ended,
                error => Unmet::Silent(error.message()),
            }),
            Err(_) => {
                // It may hang for ever, with its lock.
                let _ = lock::signal_holder(&self.lock_path(), Signal::KILL);
                Err(Unmet::Silent("its process does not answer".to_owned()))
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
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use std::path::PathBuf;

    use container_api::roots::Roots;
    use tokio::sync::mpsc;

    use super::*;

    /// A system below `scratch` with the network `web` of the plugin `fake`, and the plugin's program.
    pub(in super::super) fn system(scratch: &Path) -> (Roots, PathBuf) {
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

    pub(in super::super) fn write_script(program: &Path, words: &str) {
        std::fs::write(program, format!("#!/bin/sh\n{words}\nexit 1\n")).unwrap();
        std::fs::set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
    }

    pub(in super::super) fn process_of(roots: &Roots) -> Arc<NetworkProcess> {
        let domains = watch::channel(Vec::new()).1;
        let anew = mpsc::unbounded_channel().0;
        NetworkProcess::new(roots, "web", "fake", domains, anew, false)
    }

    #[tokio::test]
    async fn the_reason_is_what_the_process_says_itself() {
        let scratch = tempfile::tempdir().unwrap();
        let (roots, plugin) = system(scratch.path());
        // What an earlier one has logged is nobody's reason.
        let log = roots.log.join("network-web.log");
        std::fs::write(log, "2026-01-01T00:00:00Z ERROR a: an old reason\n").unwrap();
        let process = process_of(&roots);
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
    async fn one_that_says_why_it_cannot_serve_is_started_once() {
        let scratch = tempfile::tempdir().unwrap();
        let (roots, plugin) = system(scratch.path());
        let process = process_of(&roots);
        let starts = scratch.path().join("starts");
        let script = format!("echo again >>{}; echo 'no bridge' >&5", starts.display());
        write_script(&plugin, &script);
        let error = process.inspect().await.unwrap_err();
        assert_eq!(error.message(), "network web: no bridge");
        assert_eq!(std::fs::read_to_string(starts).unwrap().lines().count(), 1);
    }

    #[tokio::test]
    async fn one_that_is_killed_as_it_starts_is_started_once_more() {
        let scratch = tempfile::tempdir().unwrap();
        let (roots, plugin) = system(scratch.path());
        let process = process_of(&roots);
        let starts = scratch.path().join("starts");
        write_script(
            &plugin,
            &format!("echo again >>{}; kill -9 $$", starts.display()),
        );
        let error = process.serving().await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        assert_eq!(error.message(), "network web: its process has ended");
        assert_eq!(std::fs::read_to_string(&starts).unwrap().lines().count(), 2);
        std::fs::remove_file(&starts).unwrap();
        // Who asks it something does not try still more often.
        let error = process.inspect().await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        let hint = error.hint.unwrap();
        assert!(!hint.contains("doctor"), "{hint}");
        assert_eq!(std::fs::read_to_string(starts).unwrap().lines().count(), 2);
    }
}
