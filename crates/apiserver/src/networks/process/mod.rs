//! The process of a network: started when somebody needs it, taken over from an apiserver before this one, and started again
//! when it dies while containers are on it.

mod end;
mod keep;
mod start;

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use container_api::network::network_client::NetworkClient;
use container_api::network::{InspectReply, InspectRequest};
use container_api::protocol::{CURRENT, understands};
use container_api::request::Channel;
use container_api::roots::Roots;
use container_api::{Error, Kind, lock};
use container_resource::dns_domain::DnsDomain;
use rustix::process::Signal;
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tonic::{Response, Status};

use self::keep::Failed;
use super::patience::patiently;

/// How long the process may take to answer: it has to make a namespace first.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How long it takes until the end of a process that was killed is known.
const ENDING: Duration = Duration::from_secs(2);

/// A network's process, as far as there is one.
#[derive(Debug)]
pub struct NetworkProcess {
    roots: Roots,
    name: String,
    plugin: String,
    /// Under which the host finds the network's containers.
    domains: watch::Receiver<Vec<DnsDomain>>,
    debug: bool,
    known: Mutex<Known>,
    /// Containers are connected: it is started again when it dies.
    wanted: watch::Sender<bool>,
    /// Rung when it has died.
    died: Arc<Notify>,
    /// How it failed lately.
    failed: watch::Sender<Failed>,
    /// Told the network's name when it was started anew for containers that are on it.
    anew: mpsc::UnboundedSender<String>,
    /// What it last said of the network.
    last: SyncMutex<Option<InspectReply>>,
    /// How often it has answered: whether one that does not answer one call is busy with others.
    answered: AtomicU64,
}

/// What is known of whether it is there.
#[derive(Debug, Default)]
struct Known {
    running: Option<Running>,
    /// The network was taken down: nobody starts it again, however late he asks.
    over: bool,
}

/// Why the process that was asked something is there no more.
#[derive(Debug, thiserror::Error)]
enum Killed {
    /// It was killed, or ended.
    #[error("its process has ended")]
    Ended,
    /// It hung, and was killed for that.
    #[error("its process does not answer")]
    Silent,
}

impl Killed {
    fn of(self, name: &str) -> Error {
        Error::caused(Kind::Unavailable, self)
            .context(format_args!("network {name}"))
            .with_hint("It is started again by itself: try once more.")
    }
}

/// That the process of the network `name` was killed meanwhile: whoever asks [once more](once_more) finds the next one, which goes on
/// with what is there.
pub fn killed(name: &str) -> Error {
    Killed::Ended.of(name)
}

/// Does `work`, and does it once more where a network's process is killed meanwhile. One that cannot serve would only say the same again.
///
/// # Errors
/// The work's.
pub async fn once_more<T, F: Future<Output = Result<T, Error>>>(
    work: impl Fn() -> F,
) -> Result<T, Error> {
    match work().await {
        Err(error) if is_killed(&error) => work().await,
        done => done,
    }
}

/// Whether `error` is one of [`killed`].
pub fn is_killed(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(present) = cause {
        if present.is::<Killed>() {
            return true;
        }
        cause = present.source();
    }
    false
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
        anew: mpsc::UnboundedSender<String>,
        debug: bool,
    ) -> Arc<Self> {
        let died = Arc::new(Notify::new());
        let process = Arc::new(Self {
            roots: roots.clone(),
            name: name.to_owned(),
            plugin: plugin.to_owned(),
            domains,
            debug,
            known: Mutex::default(),
            wanted: watch::Sender::new(false),
            died: died.clone(),
            failed: watch::Sender::default(),
            anew,
            last: SyncMutex::default(),
            answered: AtomicU64::new(0),
        });
        tokio::spawn(keep::keep(Arc::downgrade(&process), died));
        process
    }

    fn lock_path(&self) -> PathBuf {
        self.roots.network(&self.name).join("lock")
    }

    fn log_path(&self) -> PathBuf {
        self.roots.log.join(format!("network-{}.log", self.name))
    }

    /// The process if it serves, now; it is not started.
    pub async fn present(self: &Arc<Self>) -> Option<Running> {
        let mut known = self.known.lock().await;
        let running = &mut known.running;
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
    /// When it cannot: what its last words were; and when the network was taken down.
    pub async fn serving(self: &Arc<Self>) -> Result<Running, Error> {
        let mut known = self.known.lock().await;
        if known.over {
            let text = format!("network {} has been taken down", self.name);
            return Err(Error::new(Kind::Unavailable, text));
        }
        self.serve(&mut known.running).await
    }

    /// As [`Self::serving`], for who has what is known.
    async fn serve(self: &Arc<Self>, running: &mut Option<Running>) -> Result<Running, Error> {
        if let Some(present) = running.as_ref().filter(|present| !*present.ended.borrow()) {
            return Ok(present.clone());
        }
        *running = None;
        let mut met = self.begin().await?;
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
            met = self.replace().await?;
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

    /// Asks it something, for as long as it answers; once more where it is killed meanwhile: the next one goes on with what is there.
    ///
    /// # Errors
    /// Its own, and when it does not serve.
    pub async fn call<T, F>(
        self: &Arc<Self>,
        call: impl Fn(NetworkClient<Channel>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        once_more(|| self.call_once(&call)).await
    }

    /// As [`Self::call`], of what cannot be asked twice.
    ///
    /// # Errors
    /// As [`Self::call`]; [`killed`] where it is.
    pub async fn call_once<T, F>(
        self: &Arc<Self>,
        call: impl FnOnce(NetworkClient<Channel>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let running = self.serving().await?;
        self.ask(running, call).await
    }

    async fn ask<T, F>(
        &self,
        running: Running,
        call: impl FnOnce(NetworkClient<Channel>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let Running {
            client, mut ended, ..
        } = running;
        let why = match patiently(call(client), &self.answered, ANSWER_LIMIT).await {
            Some(Ok(reply)) => return Ok(reply.into_inner()),
            Some(Err(status)) => match Error::from(status) {
                error if error.kind == Kind::Unavailable => Killed::Ended,
                error => return Err(error.context(format_args!("network {}", self.name))),
            },
            None => {
                // It may hang for ever: the next one goes on with what is there.
                let _ = lock::signal_holder(&self.lock_path(), Signal::KILL);
                Killed::Silent
            }
        };
        // Whoever tries again is not to meet it once more.
        let _ = tokio::time::timeout(ENDING, ended.wait_for(|ended| *ended)).await;
        Err(why.of(&self.name))
    }

    /// What the network is now.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn inspect(self: &Arc<Self>) -> Result<InspectReply, Error> {
        let asked = self.call(|mut client| async move { client.inspect(InspectRequest {}).await });
        Ok(self.noted(asked.await?))
    }

    /// The same of a process that is there; one that could not be started lately is not started for this.
    ///
    /// # Errors
    /// As [`Self::call`], and why it could not be started.
    pub async fn inspect_present(self: &Arc<Self>) -> Result<InspectReply, Error> {
        let Some(why) = self.broken() else {
            return self.inspect().await;
        };
        let Some(running) = self.present().await else {
            return Err(Error::new(Kind::Unavailable, why));
        };
        let asked = |mut client: NetworkClient<Channel>| async move {
            client.inspect(InspectRequest {}).await
        };
        Ok(self.noted(self.ask(running, asked).await?))
    }

    fn noted(&self, reply: InspectReply) -> InspectReply {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(reply.clone());
        reply
    }

    /// What it last said of the network to this apiserver.
    pub fn last_said(&self) -> Option<InspectReply> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_that_is_gone_is_asked_once_more_and_no_other() {
        type Make = fn() -> Error;
        let errors: [(Make, u32); 3] = [
            (|| killed("a"), 2),
            (|| Killed::Silent.of("a").context("attach"), 2),
            (|| Error::new(Kind::Unavailable, "no"), 1),
        ];
        for (error, times) in errors {
            let asked = AtomicU32::new(0);
            let work = || async {
                asked.fetch_add(1, Ordering::Relaxed);
                Err::<(), _>(error())
            };
            once_more(work).await.unwrap_err();
            assert_eq!(asked.into_inner(), times);
        }
        let silent = Killed::Silent.of("a").message();
        assert_eq!(silent, "network a: its process does not answer");
    }
}
