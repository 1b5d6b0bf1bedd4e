//! What `build.rs` makes of `proto/`.

/// containerd's content service.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    unreachable_pub,
    reason = "generated"
)]
pub mod content {
    tonic::include_proto!("containerd.services.content.v1");
}
