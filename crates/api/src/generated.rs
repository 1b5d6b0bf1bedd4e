//! Code generated from `proto/`; see the comments there. Modules are nested as the packages are: code refers to other packages so.
#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]

pub mod api {
    pub mod v1 {
        tonic::include_proto!("container.api.v1");
    }
}
pub mod guest {
    pub mod v1 {
        tonic::include_proto!("container.guest.v1");
    }
}
pub mod images {
    pub mod v1 {
        tonic::include_proto!("container.images.v1");
    }
}
pub mod machine {
    pub mod v1 {
        tonic::include_proto!("container.machine.v1");
    }
}
pub mod network {
    pub mod v1 {
        tonic::include_proto!("container.network.v1");
    }
}
pub mod runtime {
    pub mod v1 {
        tonic::include_proto!("container.runtime.v1");
    }
}
pub mod types {
    pub mod v1 {
        tonic::include_proto!("container.types.v1");
    }
}
pub mod volume {
    pub mod v1 {
        tonic::include_proto!("container.volume.v1");
    }
}
