//! Places in the guest that the helper names in mounts of a specification, and vminitd fills.

/// Where the sockets are that lead to the host, each by its number.
pub const SOCKETS: &str = "/run/sockets";
/// Where volumes are mounted, each by its disk's serial number.
pub const VOLUMES: &str = "/run/volumes";
/// What is the container's, in a volume: what ext4 keeps beside it (`lost+found`) is nobody's.
pub const VOLUME_DATA: &str = "data";

/// The socket `number`, counted from 0.
pub fn socket(number: usize) -> String {
    format!("{SOCKETS}/{number}")
}

/// Where the volume on the disk `serial` is mounted.
pub fn volume(serial: &str) -> String {
    format!("{VOLUMES}/{serial}")
}

/// The container's part of the volume on the disk `serial`.
pub fn volume_data(serial: &str) -> String {
    format!("{}/{VOLUME_DATA}", volume(serial))
}

/// Serial number of the disk of a container's volume `number`, counted from 0.
pub fn volume_serial(number: u32) -> String {
    format!("volume-{number}")
}
