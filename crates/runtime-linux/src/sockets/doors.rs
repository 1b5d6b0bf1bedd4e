//! Whoever connects where nobody listens behind it is refused: the sockets at one end listen while those at the other do.

use container_api::guest::{ListenRequest, PublishedRequest};
use container_api::guest_channel::Guest;
use container_api::handover;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::protocol::Change;

/// Opens and shuts the guest's sockets that lead to the host's, as `changes` tells of those.
pub async fn of_host(guest: Guest, mut changes: UnixStream) {
    while let Ok(Some((Change { target, listening }, _))) = handover::receive(&mut changes).await {
        // Nobody has more of them.
        let socket = u32::try_from(target).unwrap_or(u32::MAX);
        let request = ListenRequest { socket, listening };
        if let Err(error) = guest.calls().listen(request).await {
            tracing::warn!("socket {target} of the host: {error:#}");
        }
    }
}

/// Tells each of `doors` whether somebody listens at that socket of the container, until the guest has gone.
pub async fn of_container(guest: Guest, doors: Vec<watch::Sender<bool>>) {
    let mut told = match guest.calls().published(PublishedRequest {}).await {
        Ok(reply) => reply.into_inner(),
        Err(error) => {
            tracing::warn!("the guest does not tell of its published sockets: {error:#}");
            return;
        }
    };
    while let Ok(Some(reply)) = told.message().await {
        // A guest can say anything.
        let listening = reply.listening.into_iter().chain(std::iter::repeat(false));
        for (door, listening) in doors.iter().zip(listening) {
            door.send_if_modified(|known| std::mem::replace(known, listening) != listening);
        }
    }
}
