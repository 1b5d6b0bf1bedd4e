//! The guest channel: one virtio-serial port that carries one HTTP/2 connection.

mod port;
mod server;
mod stream;

pub use port::open;
pub use server::serve;
pub use stream::PortStream;
