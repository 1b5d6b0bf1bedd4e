//! What host and guest must mean alike of a process.

/// Where programs are looked for when neither image nor user says: the directories that docker and podman take.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
