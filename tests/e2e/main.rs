//! End-to-end tests: the staged prefix (`CONTAINER_TEST_PREFIX`), the busybox image (`CONTAINER_TEST_IMAGE`),
//! real virtual machines. Each test has a deadline, an app root that is its own or shared with tests that do
//! no harm to each other, and leaves nothing behind: [`system::System`] checks that.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod adoption;
mod arguments;
mod boot_faults;
mod build;
mod clock;
mod commands;
mod completion;
mod configuration;
mod exec;
mod exhaustion;
mod faults;
mod files;
mod hostile;
mod image_service;
mod images;
mod init_image;
mod inodes;
mod interrupted;
mod isolation;
mod k8s;
mod kernel;
mod kill_matrix;
mod leaks;
mod lifecycle;
mod load;
mod machine;
mod memory;
mod messages;
mod namespace;
mod network;
mod no_room;
mod oci_bundle;
mod plugins;
mod policies;
mod privilege;
mod programs;
mod pty;
mod real;
mod run;
mod running_networks;
mod service_logs;
mod services;
mod shares;
mod sockets;
mod spelling;
mod standby;
mod stranger;
mod streams;
mod swaps;
mod system;
mod templates;
mod terminal;
mod timeline;
mod upgrade;
mod users;
mod volumes;
