//! The standby machine: prepared when a container was started, for the next one like it.
//!
//! It is restored from the template, has rehearsed a start, and stands still; a helper waits with it. There is one, of the
//! shape that was started last.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use container_api::handover::{self, Assignment, Ready, Taken};
use container_api::memory;
use container_api::roots::Roots;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::networks::{Networks, Spare};
use crate::templates::Request;

/// How long nothing must have been started before a machine is prepared: it would be in the way of starts that come one
/// after the other.
const QUIET: Duration = Duration::from_secs(1);
/// How long a machine is kept for a container that does not come.
const KEPT: Duration = Duration::from_secs(5 * 60);
/// How long its preparation may take.
const PREPARATION_LIMIT: Duration = Duration::from_secs(120);
/// How long its helper may take to accept a container, and to be gone after SIGKILL. Another helper starts in that time.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of memory that the host must have left.
const MEMORY_LEFT: u64 = 1 << 30;

/// The standby machine of a system, if it has one.
#[derive(Clone, Debug)]
pub struct Standby {
    app: PathBuf,
    networks: Arc<Networks>,
    log: PathBuf,
    debug: bool,
    enabled: bool,
    wanted: watch::Sender<Option<Preparation>>,
    waiting: Arc<Mutex<Option<(Preparation, Waiting)>>>,
}

/// Most volumes of a machine that waits: with a network each of them has a place of its own on the machine.
const WAITING_VOLUMES: usize = 2;

/// Why no machine is prepared for containers like one that was started from a template. What keeps a container from that is decided by the
/// engine of its helper, and no machine is prepared after such a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotPrepared {
    /// Others would have to be prepared for the machine's taps.
    #[error("it is on several networks")]
    SeveralNetworks,
    /// A network that it is to be on did not take it in, or its files alone were wanted.
    #[error("it was started without its network")]
    WithoutNetwork,
    /// Its volumes would share a place of the machine.
    #[error("it has more than {WAITING_VOLUMES} volumes")]
    ManyVolumes,
}

impl NotPrepared {
    /// Nothing, where a machine can be prepared for containers like that of `request`.
    fn reason(request: &Request) -> Option<Self> {
        let interfaces = request.boot.interfaces.len();
        if interfaces > 1 {
            Some(Self::SeveralNetworks)
        } else if interfaces != request.configuration.networks.len() {
            Some(Self::WithoutNetwork)
        } else if request.boot.volumes.len() > WAITING_VOLUMES {
            Some(Self::ManyVolumes)
        } else {
            None
        }
    }
}

/// What a machine is prepared for.
#[derive(Clone, Debug)]
struct Preparation {
    program: PathBuf,
    request: Request,
}

impl Preparation {
    /// Whether a container of `request`, run by `program`, is what it was prepared for.
    fn fits(&self, program: &Path, request: &Request) -> bool {
        self.program == program && self.request.is_like(request)
    }
}

/// A helper that waits with a machine. Dropped: it ends.
#[derive(Debug)]
pub struct Waiting {
    stream: UnixStream,
    helper: Option<Child>,
    template: String,
    /// The tap that its machine has.
    pub spare: Option<Spare>,
}

impl Standby {
    /// That of `roots`; never one unless `enabled`.
    pub fn new(roots: &Roots, networks: &Arc<Networks>, enabled: bool, debug: bool) -> Self {
        Self {
            app: roots.app.clone(),
            networks: networks.clone(),
            log: roots.log.join("standby.log"),
            debug,
            enabled,
            wanted: watch::Sender::new(None),
            waiting: Arc::default(),
        }
    }

    /// A container like that of `request` was started from a template by its runtime `program`: another one may follow.
    pub fn want(&self, program: PathBuf, request: Request) {
        if !self.enabled {
            return;
        }
        match NotPrepared::reason(&request) {
            Some(reason) => {
                let id = &request.configuration.id;
                tracing::debug!("no machine is prepared for another container like {id}: {reason}");
            }
            None => {
                self.wanted
                    .send_replace(Some(Preparation { program, request }));
            }
        }
    }

    /// The machine that waits for such a container.
    pub fn take(&self, program: &Path, request: &Request) -> Option<Waiting> {
        let fits = |(wanted, _): &mut (Preparation, Waiting)| wanted.fits(program, request);
        let (_, waiting) = self.waiting().take_if(fits)?;
        waiting.is_alive().then_some(waiting)
    }

    /// Key of the template from which the machine that waits was started.
    pub fn template(&self) -> Option<String> {
        let waiting = self.waiting();
        let (_, waiting) = waiting.as_ref()?;
        waiting.is_alive().then(|| waiting.template.clone())
    }

    /// Ends the machine that waits, or is being prepared. Another one follows the next start.
    pub fn end(&self) {
        self.wanted.send_replace(None);
        self.put(None);
    }

    /// As [`Self::end`]; returns when the machine that waited is gone, with the tap that it had.
    pub async fn ended(&self) {
        self.wanted.send_replace(None);
        let waiting = self.waiting().take();
        if let Some((_, waiting)) = waiting {
            waiting.ended().await;
        }
    }

    /// Prepares machines for what is wanted, and lets go of those that are not.
    pub async fn serve(self) {
        let mut wanted = self.wanted.subscribe();
        loop {
            match tokio::time::timeout(KEPT, wanted.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    self.put(None);
                    continue;
                }
            }
            while tokio::time::timeout(QUIET, wanted.changed()).await.is_ok() {}
            let Some(wanted) = wanted.borrow_and_update().clone() else {
                continue;
            };
            if self.has(&wanted) {
                continue;
            }
            self.put(None);
            if memory::available().is_some_and(|bytes| bytes < MEMORY_LEFT) {
                continue;
            }
            let mut given_up = self.wanted.subscribe();
            let prepared = tokio::select! {
                biased;
                _ = given_up.wait_for(Option::is_none) => continue,
                prepared = tokio::time::timeout(PREPARATION_LIMIT, self.prepare(&wanted)) => prepared,
            };
            match prepared {
                Ok(Ok(waiting)) => self.put(Some((wanted, waiting))),
                Ok(Err(error)) => tracing::warn!("no standby machine: {error:#}"),
                Err(_) => tracing::warn!("no standby machine: its helper is not ready in time"),
            }
        }
    }

    fn put(&self, waiting: Option<(Preparation, Waiting)>) {
        *self.waiting() = waiting;
    }

    fn has(&self, wanted: &Preparation) -> bool {
        self.waiting().as_ref().is_some_and(|(present, waiting)| {
            present.fits(&wanted.program, &wanted.request) && waiting.is_alive()
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Option<(Preparation, Waiting)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn prepare(&self, wanted: &Preparation) -> io::Result<Waiting> {
        let (stream, theirs) = UnixStream::pair()?;
        let theirs: OwnedFd = theirs.into_std()?.into();
        let log = container_files::create(&self.log)?;
        let mut command = Command::new(&wanted.program);
        command.arg("standby").arg("--app-root").arg(&self.app);
        container_api::log::pass_on(command.as_std_mut());
        if self.debug {
            command.arg("--debug");
        }
        command
            .current_dir("/")
            .stdin(theirs)
            .stdout(log.try_clone()?)
            .stderr(log)
            // A signal to the apiserver's group is not for the containers.
            .process_group(0);
        let helper = Some(command.spawn()?);
        // It holds the other end of the stream.
        drop(command);
        let mut waiting = Waiting {
            stream,
            helper,
            template: String::new(),
            spare: None,
        };
        let mut request = wanted.request.clone();
        if let Some(interface) = request.boot.interfaces.first_mut() {
            let spare = self.networks.spare(interface).await;
            let spare = spare.map_err(io::Error::other)?;
            interface.clone_from(&spare.interface);
            waiting.spare = Some(spare);
        }
        let taps: Vec<_> = waiting
            .spare
            .iter()
            .map(|spare| spare.tap.as_fd())
            .collect();
        handover::send(&mut waiting.stream, &request, &taps).await?;
        let ready = handover::receive::<Ready>(&mut waiting.stream).await?;
        let (ready, _) = ready.ok_or_else(|| {
            let text = format!("its helper has ended, see {}", self.log.display());
            io::Error::other(text)
        })?;
        waiting.template = ready.template;
        Ok(waiting)
    }
}

impl Waiting {
    /// One whose helper has the other end of `stream`, and is no process.
    #[cfg(test)]
    pub fn on(stream: UnixStream) -> Self {
        Self {
            stream,
            helper: None,
            template: String::new(),
            spare: None,
        }
    }

    /// Whether it still waits: it says nothing more, so what can be read is its end.
    fn is_alive(&self) -> bool {
        let mut byte = [0];
        let read = self.stream.try_read(&mut byte);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Ends it, and waits until it has ended its machine.
    async fn ended(mut self) {
        // What it waits for will not be said.
        let _ = self.stream.shutdown().await;
        if let Some(helper) = &mut self.helper {
            // One that does not hear it is killed when this is dropped.
            let _ = tokio::time::timeout(ANSWER_LIMIT, helper.wait()).await;
        }
    }

    /// Makes it the helper of a container, with its listeners and its log.
    ///
    /// # Errors
    /// When it has ended, or does not answer. It is gone then, and another helper can have the container.
    pub async fn assign(
        mut self,
        assignment: &Assignment,
        descriptors: [&OwnedFd; 3],
    ) -> io::Result<()> {
        let descriptors = descriptors.map(AsFd::as_fd);
        let stream = &mut self.stream;
        let taken = tokio::time::timeout(ANSWER_LIMIT, async {
            handover::send(stream, assignment, &descriptors).await?;
            let taken = handover::receive::<Taken>(stream).await?;
            taken.map(drop).ok_or(io::ErrorKind::UnexpectedEof.into())
        });
        let taken = taken
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if let Some(mut helper) = self.helper.take() {
            if taken.is_ok() {
                tokio::spawn(async move {
                    // Only to reap it, as any other helper.
                    let _ = helper.wait().await;
                });
            } else {
                // One that the kernel keeps from dying does nothing more either.
                let _ = tokio::time::timeout(ANSWER_LIMIT, helper.kill()).await;
            }
        }
        taken
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(helper) = &mut self.helper {
            // It has ended, which is what is wanted; else it would when its standard input does.
            let _ = helper.start_kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use container_resource::bundle::{Interface, VolumeDisk};

    use super::*;
    use crate::templates::tests::request;

    #[test]
    fn machines_are_prepared_for_one_network_and_few_volumes() {
        let interface = || -> Interface {
            let json = serde_json::json!({
                "network": "n", "hostname": "h", "deviceMac": "", "mac": "", "mtu": 1500
            });
            serde_json::from_value(json).unwrap()
        };
        let reason = NotPrepared::reason;
        assert_eq!(reason(&request(&[], &[])), None);
        let mut networked = request(&["n"], &[]);
        assert_eq!(reason(&networked), Some(NotPrepared::WithoutNetwork));
        networked.boot.interfaces = vec![interface()];
        assert_eq!(reason(&networked), None);
        let volume = VolumeDisk {
            size: 1 << 20,
            read_only: false,
        };
        networked.boot.volumes = vec![volume; WAITING_VOLUMES];
        assert_eq!(reason(&networked), None);
        networked.boot.volumes.push(volume);
        assert_eq!(reason(&networked), Some(NotPrepared::ManyVolumes));
        networked.boot.interfaces.push(interface());
        assert_eq!(reason(&networked), Some(NotPrepared::SeveralNetworks));
    }

    /// What becomes of a container for a helper that does `answer` with its end of the stream; and whether the helper lives.
    async fn assigned<F: Future<Output = ()> + Send + 'static>(
        answer: impl FnOnce(UnixStream) -> F,
    ) -> (io::Result<()>, bool) {
        let (stream, theirs) = UnixStream::pair().unwrap();
        let helper = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = PathBuf::from(format!("/proc/{}", helper.id().unwrap()));
        let mut waiting = Waiting::on(stream);
        waiting.helper = Some(helper);
        tokio::spawn(answer(theirs));
        let assignment = Assignment {
            bundle: "/bundle".into(),
            id: "id".to_owned(),
            request: None,
        };
        let null: OwnedFd = File::open("/dev/null").unwrap().into();
        let result = waiting.assign(&assignment, [&null; 3]).await;
        let lives = process.exists();
        if lives {
            let id = process.file_name().unwrap();
            std::process::Command::new("kill").arg(id).status().unwrap();
        }
        (result, lives)
    }

    #[tokio::test]
    async fn a_helper_that_does_not_take_its_container_is_gone() {
        let took = assigned(async |mut stream| {
            let received = handover::receive::<Assignment>(&mut stream).await;
            assert_eq!(received.unwrap().unwrap().1.len(), 3);
            handover::send(&mut stream, &Taken, &[]).await.unwrap();
        });
        let (result, lives) = took.await;
        assert!(result.is_ok() && lives);
        let died = assigned(async |mut stream| {
            let _ = handover::receive::<Assignment>(&mut stream).await;
        });
        let (result, lives) = died.await;
        assert!(result.is_err() && !lives);
        let silent = assigned(async |_stream| std::future::pending().await);
        let (result, lives) = silent.await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(!lives);
    }
}
