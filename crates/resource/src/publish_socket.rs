//! Sockets of a container that appear on the host: `--publish-socket <host path>:<container path>`.

use crate::container::PublishSocket;
use crate::tmpfs::is_absolute;

/// The longest path of a socket that programs can connect to, in bytes (`sun_path` of `unix(7)`, without its end).
const SUN_PATH: usize = 107;

/// Why a text names no sockets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishSocketError {
    /// Not two paths.
    #[error("invalid socket '{0}': <host path>:<container path> is expected")]
    Form(String),
    /// A path that begins elsewhere than at the root.
    #[error("invalid path '{0}' of a socket: an absolute path is expected")]
    Path(String),
    /// No program could connect to it.
    #[error("the path '{0}' is too long for a socket: at most {SUN_PATH} bytes are possible")]
    TooLong(String),
}

/// A socket of the container, and where it appears. The container's path is behind the last colon.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<PublishSocket, PublishSocketError> {
    let (host, container) = text
        .rsplit_once(':')
        .filter(|(host, container)| !host.is_empty() && !container.is_empty())
        .ok_or_else(|| PublishSocketError::Form(text.to_owned()))?;
    if !is_absolute(container) {
        return Err(PublishSocketError::Path(container.to_owned()));
    }
    for path in [host, container] {
        if path.len() > SUN_PATH {
            return Err(PublishSocketError::TooLong(path.to_owned()));
        }
    }
    Ok(PublishSocket {
        container_path: container.to_owned(),
        host_path: host.to_owned(),
        permissions: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_paths_are_expected() {
        let socket = parse("./a:b.sock:/run/a.sock").unwrap();
        assert_eq!(
            (socket.host_path.as_str(), socket.container_path.as_str()),
            ("./a:b.sock", "/run/a.sock")
        );
        for (text, words) in [
            ("", "invalid socket"),
            ("/a", "invalid socket"),
            (":/a", "invalid socket"),
            ("/a:", "invalid socket"),
            ("/a:b", "invalid path 'b'"),
            (&format!("/a:/{}", "b".repeat(107)), "the path"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }
}
