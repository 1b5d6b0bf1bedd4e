//! What this build is.

/// Version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Abbreviated commit, given by the build.
pub const COMMIT: &str = match option_env!("CONTAINER_COMMIT") {
    Some(commit) => commit,
    None => "unspecified",
};

/// `debug` or `release`.
pub const BUILD: &str = if cfg!(debug_assertions) {
    "debug"
} else {
    "release"
};

/// The line of `--version`.
pub fn line() -> String {
    format!("container CLI version {VERSION} (build: {BUILD}, commit: {COMMIT})")
}
