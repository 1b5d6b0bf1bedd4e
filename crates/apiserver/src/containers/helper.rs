//! The runtime helper of one container.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use container_api::descriptors::{self, Descriptors};
use container_api::handover::Assignment;
use container_api::request::{Channel, RequestId};
use container_api::runtime::runtime_client::RuntimeClient;
use container_api::{Error, Kind, lock, runtime, socket, types};
use container_resource::bundle::{Bundle, Interface};
use rustix::process::Signal;
use tonic::{Code, Response, Status};

use crate::plugin;
use crate::standby::Waiting;

/// How long a helper may take to be gone after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a helper may take to answer before it is asked how it is, and how long to answer that. A boot or a
/// call into a slow guest takes longer, but keeps no helper from answering.
const SILENCE: Duration = Duration::from_secs(3);

/// A client's streams, taken from the descriptors socket. Dropped: given back, by being closed.
#[derive(Debug)]
pub struct Lent {
    descriptors: Vec<OwnedFd>,
    stdio: types::Stdio,
}

impl Lent {
    /// Takes the streams that `stdio` names. To be done before anything can fail: what is not taken stays open.
    pub fn take(from: &Descriptors, stdio: Option<types::Stdio>) -> Result<Option<Self>, Error> {
        let Some(stdio) = stdio else {
            return Ok(None);
        };
        if stdio.token.is_empty() {
            // The size of a terminal alone.
            let descriptors = Vec::new();
            return Ok(Some(Self { descriptors, stdio }));
        }
        let descriptors = from.take(&stdio.token).ok_or_else(|| {
            let text = "the standard streams were not handed over";
            Error::new(Kind::InvalidArgument, text)
        })?;
        Ok(Some(Self { descriptors, stdio }))
    }

    /// This process's own: an input, an output and one for errors.
    pub fn own(streams: [OwnedFd; 3]) -> Self {
        Self {
            descriptors: streams.into(),
            stdio: types::Stdio {
                stdin: true,
                stdout: true,
                stderr: true,
                ..types::Stdio::default()
            },
        }
    }
}

fn json(interfaces: &[Interface]) -> Result<bytes::Bytes, Error> {
    let json = serde_json::to_vec(interfaces);
    let json = json.map_err(|error| Error::caused(Kind::Internal, error))?;
    Ok(json.into())
}

/// A living helper. Clones share one connection.
#[derive(Clone, Debug)]
pub struct Helper {
    client: RuntimeClient<Channel>,
    descriptors: PathBuf,
    lock: PathBuf,
}

impl Helper {
    /// Starts the helper of `bundle`, which begins to boot at once, with the `taps` of its machine's network interfaces; the
    /// one that waits in `standby`, if there is one.
    pub async fn start(
        program: &Path,
        bundle: &Bundle,
        id: &str,
        standby: Option<Waiting>,
        taps: Vec<OwnedFd>,
        debug: bool,
    ) -> io::Result<Self> {
        let listeners = [
            socket::bind(&bundle.socket())?.into(),
            socket::bind(&bundle.descriptors())?.into(),
        ];
        // Now: a helper whose boot fails at once removes its sockets, and would be gone without having told why.
        let helper = Self::connect(bundle)?;
        let log = container_files::log(&bundle.runtime_log())?;
        let assigned = match standby {
            Some(waiting) => {
                let assignment = Assignment {
                    bundle: bundle.directory().to_owned(),
                    id: id.to_owned(),
                    request: RequestId::current().map(|id| id.to_string()),
                };
                let [main, handed] = &listeners;
                let log = log.try_clone()?.into();
                let assigned = waiting.assign(&assignment, [main, handed, &log]).await;
                if let Err(error) = &assigned {
                    tracing::warn!(container = %id, "the helper that waited does not take it: {error:#}");
                }
                assigned.is_ok()
            }
            None => false,
        };
        if !assigned {
            spawn(program, bundle, id, listeners, taps, log, debug)?;
        }
        Ok(helper)
    }

    /// Connects to a helper that may live already.
    pub fn connect(bundle: &Bundle) -> io::Result<Self> {
        let channel = socket::connect(&bundle.socket())?;
        let client = RuntimeClient::new(channel).max_decoding_message_size(socket::MESSAGE_LIMIT);
        Ok(Self {
            client,
            descriptors: bundle.descriptors(),
            lock: bundle.lock(),
        })
    }

    /// Calls of the helper.
    pub fn client(&self) -> RuntimeClient<Channel> {
        self.client.clone()
    }

    /// Asks the helper, for as long as it answers anything at all.
    pub async fn call<T, F>(
        &self,
        call: impl FnOnce(RuntimeClient<Channel>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let answer = async {
            let reply = call(self.client()).await;
            Ok(reply.map_err(refused)?.into_inner())
        };
        self.unless_silent(answer).await
    }

    async fn unless_silent<T>(
        &self,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            answer = answer => answer,
            () = self.silent() => {
                let text = "the runtime helper does not answer";
                let hint = "`container stop` and `container delete --force` end it.";
                Err(Error::new(Kind::Timeout, text).with_hint(hint))
            }
        }
    }

    /// Returns when the helper does not answer: it is stopped, or cannot run.
    pub async fn silent(&self) {
        loop {
            tokio::time::sleep(SILENCE).await;
            let mut client = self.client();
            let state = client.state(runtime::StateRequest::default());
            // An error is a helper that has ended: whoever waits for it learns so.
            if tokio::time::timeout(SILENCE, state).await.is_err() {
                return;
            }
        }
    }

    /// Hands a client's streams on.
    pub async fn relay(&self, lent: Option<Lent>) -> Result<Option<types::Stdio>, Error> {
        let Some(Lent { descriptors, stdio }) = lent else {
            return Ok(None);
        };
        let token = if descriptors.is_empty() {
            String::new()
        } else {
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            let sent = async {
                let sent = descriptors::send(&self.descriptors, &borrowed).await;
                sent.map_err(|error| {
                    Error::caused(Kind::Unavailable, error)
                        .context("hand the standard streams over")
                })
            };
            self.unless_silent(sent).await?
        };
        Ok(Some(types::Stdio { token, ..stdio }))
    }

    /// Connects the container by `tap` to the network of that one of `interfaces`, which are all that it has then, which has no device yet,
    /// or of the last; gives the MAC address of the device.
    pub async fn join(&self, interfaces: &[Interface], tap: OwnedFd) -> Result<String, Error> {
        let sent = async {
            let sent = descriptors::send(&self.descriptors, &[tap.as_fd()]).await;
            sent.map_err(|error| {
                Error::caused(Kind::Unavailable, error).context("hand the tap over")
            })
        };
        let request = runtime::JoinRequest {
            token: self.unless_silent(sent).await?,
            interfaces: json(interfaces)?,
        };
        // Only the machine is to have it open.
        drop(tap);
        let reply = self.call(|mut client| async move { client.join(request).await });
        Ok(reply.await?.device_mac)
    }

    /// Takes the interface on `network` away; `interfaces` are those that the container has. What is for elsewhere leaves by the one on
    /// `heir` then.
    pub async fn leave(
        &self,
        interfaces: &[Interface],
        network: &str,
        heir: Option<&str>,
    ) -> Result<(), Error> {
        let request = runtime::LeaveRequest {
            interfaces: json(interfaces)?,
            network: network.to_owned(),
            heir: heir.unwrap_or_default().to_owned(),
        };
        let reply = self.call(|mut client| async move { client.leave(request).await });
        reply.await.map(drop)
    }

    /// Waits until the helper, and with it its VMM, is gone.
    pub async fn gone(&self) -> io::Result<()> {
        lock::released(&self.lock).await
    }

    /// Ends the helper and with it the virtual machine, whatever state they are in.
    pub async fn kill(&self) -> io::Result<()> {
        end_holder(&self.lock).await
    }
}

/// What a helper's `status` means.
fn refused(status: Status) -> Error {
    // Said by gRPC, ours and Google's, not by the helper.
    let unknown = matches!(status.message(), "" | "Method not found!");
    if status.code() == Code::Unimplemented && unknown {
        let text = "the container's runtime helper does not know this call";
        let hint = "A runtime plugin may leave it out. A helper of an earlier release is replaced by `container stop` and \
            `container start`.";
        return Error::new(Kind::Unsupported, text).with_hint(hint);
    }
    status.into()
}

/// Ends the helper that holds `lock`, if there is one; gives up when the kernel keeps it from dying.
pub async fn end_holder(lock: &Path) -> io::Result<()> {
    let ended = async {
        lock::signal_patiently(lock, Signal::KILL).await?;
        lock::released(lock).await
    };
    tokio::time::timeout(KILL_TIMEOUT, ended)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the runtime helper does not die"))?
}

/// Starts `program` as the helper of `bundle`.
fn spawn(
    program: &Path,
    bundle: &Bundle,
    id: &str,
    listeners: [OwnedFd; 2],
    taps: Vec<OwnedFd>,
    log: File,
    debug: bool,
) -> io::Result<()> {
    let mut command = std::process::Command::new(program);
    command
        .arg("start")
        .arg("--bundle")
        .arg(bundle.directory())
        .arg("--id")
        .arg(id);
    if debug {
        command.arg("--debug");
    }
    command.current_dir("/");
    let mut child = plugin::spawn(command, listeners, taps, log)?;
    tokio::spawn(async move {
        // Only to reap it: its end is seen on its connection and lock, as for an adopted one.
        let _ = child.wait().await;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use container_api::handover::{self, Taken};
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_helper_may_be_gone_before_it_is_called() {
        let scratch = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(scratch.path().to_owned());
        let (stream, mut theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let received = handover::receive::<Assignment>(&mut theirs).await;
            let (Assignment { bundle, .. }, listeners) = received.unwrap().unwrap();
            let bundle = Bundle::new(bundle);
            for socket in [bundle.socket(), bundle.descriptors()] {
                std::fs::remove_file(socket).unwrap();
            }
            drop(listeners);
            handover::send(&mut theirs, &Taken, &[]).await.unwrap();
        });
        let standby = Some(Waiting::on(stream));
        let helper = Helper::start(
            Path::new("/none"),
            &bundle,
            "id",
            standby,
            Vec::new(),
            false,
        );
        let helper = helper.await.unwrap();
        let state = |mut client: RuntimeClient<Channel>| async move {
            client.state(runtime::StateRequest::default()).await
        };
        // Whoever is told so looks for what the helper has recorded.
        let error = helper.call(state).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
    }
}
