//! The file server: virtiofsd, as a library.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use container_resource::share::{Request, TAG};
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::VhostUserDaemon;
use virtiofsd::passthrough::{CachePolicy, Config, PassthroughFs};
use virtiofsd::vhost_user::VhostUserFsBackendBuilder;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::answers::Answers;
use crate::crowd::Watch;
use crate::filter::{self, FilterError};
use crate::identity::Identity;
use crate::leases::{self, Leases};
use crate::locks::{self, Locks};
use crate::namespaces::Place;
use crate::request;

/// How long a guest takes names, their absence and attributes for true without asking again. What the host changes is to be seen within
/// a second.
const VALIDITY: Duration = Duration::from_millis(800);

/// Descriptors that are not for the guest's files: memory, queues, sockets.
const RESERVE: u64 = 64;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no listening socket.
    #[error("take the socket over")]
    Socket(#[source] io::Error),
    /// The lists of system calls.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The file system cannot be read.
    #[error("open the shares")]
    Open(#[source] io::Error),
    /// Its server cannot be made.
    #[error("make the file server")]
    Make(#[source] virtiofsd::vhost_user::Error),
    /// Its threads cannot be started, or the VMM does not connect.
    #[error("serve: {0}")]
    Serve(vhost_user_backend::Error),
    /// The descriptors cannot be watched.
    #[error("watch the open files")]
    Watch(#[source] io::Error),
    /// Nobody is there to be told.
    #[error("say that the shares are ready")]
    Answer(#[source] io::Error),
}

/// Serves what is below `/` to the one VMM that connects, until it goes.
pub fn serve(identity: &Identity, request: &Request, place: Place) -> Result<(), ServeError> {
    let Place {
        descriptors,
        close_fails,
    } = place;
    let listener = request::listener().map_err(ServeError::Socket)?;
    let listed = descriptors.try_clone().map_err(ServeError::Watch)?;
    let marked = descriptors.try_clone().map_err(ServeError::Watch)?;
    let configuration = configuration(identity, request, descriptors);
    let limit = configuration.guest_fd_limit;
    // Threads inherit it, so it comes before them.
    filter::for_start()?;
    let files = PassthroughFs::new(configuration).map_err(ServeError::Open)?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    // The same file by two ways would change unseen.
    let leases = (!request::overlap(&request.shares))
        .then(|| Leases::start(memory.clone(), marked, leases::reserve(limit)));
    let leases = leases.transpose().unwrap_or_else(|error| {
        tracing::debug!("the host tells of no changes: {error}");
        None
    });
    let locks = Locks::new(locks::reserve(limit));
    let backend = VhostUserFsBackendBuilder::default()
        .set_tag(Some(TAG.to_owned()))
        .build(Answers::new(files, VALIDITY, close_fails, leases, locks))
        .map_err(ServeError::Make)?;
    let mut daemon = VhostUserDaemon::new("shares".to_owned(), Arc::new(backend), memory)
        .map_err(ServeError::Serve)?;
    request::answer_ready().map_err(ServeError::Answer)?;
    let _watch = Watch::start(listed, limit, request::answer_crowded).map_err(ServeError::Watch)?;
    // SAFETY: the descriptor is a listening socket that nothing else owns.
    let mut listener = unsafe { Listener::from_raw_fd(listener.into_raw_fd()) };
    daemon.start(&mut listener).map_err(ServeError::Serve)?;
    drop(listener);
    // All threads are there, and no guest runs yet.
    filter::for_service()?;
    match daemon.wait() {
        Ok(())
        | Err(vhost_user_backend::Error::HandleRequest(
            ProtocolError::Disconnected | ProtocolError::PartialMessage,
        )) => Ok(()),
        Err(error) => Err(ServeError::Serve(error)),
    }
}

fn configuration(identity: &Identity, request: &Request, descriptors: OwnedFd) -> Config {
    let map = request.idmap.as_ref();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.unwrap_or(u64::MAX).saturating_sub(RESERVE);
    Config {
        root_dir: "/".to_owned(),
        proc_sfd_rawfd: Some(File::from(descriptors)),
        // The guest keeps what it has read of a file until it opens it again or sees that it has changed.
        cache_policy: CachePolicy::Auto,
        entry_timeout: VALIDITY,
        attr_timeout: VALIDITY,
        // The host's page cache is the buffer. The guest's own would hide what the host appends.
        writeback: false,
        readdirplus: true,
        // File systems that are mounted below a share have inode numbers of their own.
        announce_submounts: true,
        xattr: true,
        // Else the guest asks for an attribute before each write.
        killpriv_v2: true,
        clean_noatime: true,
        guest_fd_limit: limit - leases::reserve(limit) - locks::reserve(limit),
        uid_map: Some(identity.translation(map.map(|map| &*map.users))),
        gid_map: Some(identity.translation(map.map(|map| &*map.groups))),
        ..Config::default()
    }
}
