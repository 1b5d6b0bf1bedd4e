//! Sockets of the host that lead to sockets of a container: `--publish-socket <host path>:<container path>`, as Apple's tool
//! writes it.

use std::path::Path;

use crate::container::PublishSocket;

/// Bytes of a socket's path (`sun_path` of `unix(7)`, without its closing NUL).
pub const PATH_MAX: usize = 107;

/// The most sockets of the host that a container has to do with.
pub const MAX_SOCKETS: usize = 64;

/// Why a text publishes no socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishSocketError {
    /// No colon, or nothing before or behind it.
    #[error(
        "invalid socket '{0}': <path on the host>:<path in the container> is expected, such as /tmp/db.sock:/run/db.sock"
    )]
    Form(String),
    /// Not a path below the container's root.
    #[error(
        "invalid path '{0}' of a socket in the container: an absolute path of a file is expected"
    )]
    Container(String),
    /// Not a path of a file.
    #[error("invalid path '{0}' of a socket on the host: a path of a file is expected")]
    Host(String),
    /// No program could listen there.
    #[error("the path '{0}' is too long for a socket: {PATH_MAX} bytes are allowed")]
    TooLong(String),
    /// Two of them want one path of the host.
    #[error("the socket {0} of the host is given twice")]
    Twice(String),
    /// More than [`MAX_SOCKETS`].
    #[error("a container has at most {MAX_SOCKETS} sockets of the host")]
    TooMany,
}

/// One flag's socket. A path of the host may hold colons, and may still be relative.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<PublishSocket, PublishSocketError> {
    let parts = text.rsplit_once(':');
    let (host, container) = parts
        .filter(|(host, container)| !host.is_empty() && !container.is_empty())
        .ok_or_else(|| PublishSocketError::Form(text.to_owned()))?;
    let climbs = container.split('/').any(|part| part == "..");
    if !container.starts_with('/') || climbs || !is_file(container) {
        return Err(PublishSocketError::Container(container.to_owned()));
    }
    if !is_file(host) {
        return Err(PublishSocketError::Host(host.to_owned()));
    }
    fits(container)?;
    fits(host)?;
    Ok(PublishSocket {
        container_path: container.to_owned(),
        host_path: host.to_owned(),
        permissions: None,
    })
}

/// The sockets with the host's paths as they are from anywhere, seen from the directory `current`.
///
/// # Errors
/// When they do not go together, or a path has become too long.
pub fn resolve(
    sockets: &[PublishSocket],
    current: &Path,
) -> Result<Vec<PublishSocket>, PublishSocketError> {
    if sockets.len() > MAX_SOCKETS {
        return Err(PublishSocketError::TooMany);
    }
    let mut resolved: Vec<PublishSocket> = Vec::with_capacity(sockets.len());
    for socket in sockets {
        // `.` and double slashes go.
        let path: std::path::PathBuf = current.join(&socket.host_path).components().collect();
        let path = path
            .into_os_string()
            .into_string()
            .map_err(|path| PublishSocketError::Host(path.to_string_lossy().into_owned()))?;
        fits(&path)?;
        if resolved.iter().any(|other| other.host_path == path) {
            return Err(PublishSocketError::Twice(path));
        }
        resolved.push(PublishSocket {
            host_path: path,
            ..socket.clone()
        });
    }
    Ok(resolved)
}

fn fits(path: &str) -> Result<(), PublishSocketError> {
    if path.len() > PATH_MAX {
        return Err(PublishSocketError::TooLong(path.to_owned()));
    }
    Ok(())
}

/// Whether a file can be at `path`: it ends in a name.
fn is_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    !matches!(name, "" | "." | "..") && !path.contains('\0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_container_s_path_comes_last() {
        for (text, host, container) in [
            ("/tmp/a.sock:/run/b.sock", "/tmp/a.sock", "/run/b.sock"),
            ("a.sock:/b", "a.sock", "/b"),
            ("/tmp/10:30.sock:/run/b", "/tmp/10:30.sock", "/run/b"),
        ] {
            let socket = parse(text).unwrap();
            assert_eq!(socket.host_path, host);
            assert_eq!(socket.container_path, container);
        }
    }

    #[test]
    fn each_mistake_has_its_message() {
        let long = format!("/{}", "x".repeat(PATH_MAX));
        for (text, words) in [
            ("", "is expected, such as"),
            ("/tmp/a.sock", "is expected, such as"),
            (":/run/b", "is expected, such as"),
            ("/tmp/a:", "is expected, such as"),
            (":", "is expected, such as"),
            ("/tmp/a:run/b", "in the container: an absolute path"),
            ("/tmp/a:/", "in the container: an absolute path"),
            ("/tmp/a:/run/", "in the container: an absolute path"),
            ("/tmp/a:/run/.", "in the container: an absolute path"),
            ("/tmp/a:/run/../b", "in the container: an absolute path"),
            ("/tmp/a:/run/\0", "in the container: an absolute path"),
            ("/tmp/:/run/b", "on the host: a path of a file"),
            ("..:/run/b", "on the host: a path of a file"),
            (&format!("/tmp/a:{long}"), "107 bytes are allowed"),
            (&format!("{long}:/run/b"), "107 bytes are allowed"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn paths_of_the_host_are_seen_from_where_the_user_is() {
        let current = Path::new("/home/me");
        let all = |texts: &[&str]| {
            let parsed: Vec<_> = texts.iter().map(|text| parse(text).unwrap()).collect();
            resolve(&parsed, current)
        };
        let resolved = all(&["./a.sock:/a", "/tmp//b:/b"]).unwrap();
        assert_eq!(resolved[0].host_path, "/home/me/a.sock");
        assert_eq!(resolved[1].host_path, "/tmp/b");
        let twice = all(&["a:/a", "/home/me/a:/b"]).unwrap_err();
        assert_eq!(twice, PublishSocketError::Twice("/home/me/a".into()));
        let long = format!("{}:/a", "x".repeat(PATH_MAX - 5));
        assert!(matches!(all(&[&long]), Err(PublishSocketError::TooLong(_))));
        let many: Vec<_> = (0..=MAX_SOCKETS).map(|n| format!("{n}:/a")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(all(&many), Err(PublishSocketError::TooMany));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_path_that_climbs(text in ".{0,40}:.{0,40}") {
            if let Ok(socket) = parse(&text) {
                prop_assert!(socket.container_path.starts_with('/'));
                prop_assert!(!socket.container_path.contains("/../"));
                prop_assert!(socket.host_path.len() <= PATH_MAX);
            }
        }
    }
}
