//! Starting the apiserver as a daemon.

pub mod kernel;
mod spawn;

use container_api::api::PingRequest;
use container_api::api::system_client::SystemClient;
use container_api::roots::Roots;
use container_api::socket;

pub use spawn::start;

use crate::connection::prompt;

/// Whether an apiserver answers.
pub async fn is_running(roots: &Roots) -> bool {
    match socket::connect(&roots.apiserver_socket()) {
        Ok(channel) => prompt(SystemClient::new(channel).ping(PingRequest {}))
            .await
            .is_ok(),
        Err(_) => false,
    }
}
