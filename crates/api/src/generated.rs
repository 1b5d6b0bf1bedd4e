//! Code generated from `proto/`; see the comments there.
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]

pub mod api {
    tonic::include_proto!("container.api.v1");
}
pub mod guest {
    tonic::include_proto!("container.guest.v1");
}
pub mod images {
    tonic::include_proto!("container.images.v1");
}
pub mod network {
    tonic::include_proto!("container.network.v1");
}
pub mod runtime {
    tonic::include_proto!("container.runtime.v1");
}
