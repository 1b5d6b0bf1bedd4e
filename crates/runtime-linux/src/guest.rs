//! The helper's side of the guest channel.

use std::io;
use std::time::Duration;

use container_api::guest::guest_client::GuestClient;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Uri};

/// The most bytes of one message from the guest.
const MESSAGE_LIMIT: usize = 1 << 20;
/// Bytes in flight per stream before the other side must take some.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes in flight over all streams.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// How long a guest may take to answer a call that has nothing to wait for.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls into the guest. Clones share the one connection.
pub type Guest = GuestClient<Channel>;

/// Speaks HTTP/2 over `channel`, which must be past the guest's hello.
pub fn connect(channel: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Guest {
    let mut channel = Some(TokioIo::new(channel));
    let connector = tower::service_fn(move |_: Uri| {
        let next = channel
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { next }
    });
    let channel = Endpoint::from_static("http://guest.invalid")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector_lazy(connector);
    GuestClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT)
}
