//! Standard streams on the guest channel.
//!
//! Beside the calls of `proto/guest.proto`, the same HTTP/2 connection carries the bytes of processes as bodies of
//! plain requests, one per stream: `POST /stdin/<process>`, `GET /stdout/<process>`, `GET /stderr/<process>`. They
//! have no structure that messages could show, and would be copied once more into and out of each. A refusal has the
//! headers of a gRPC status.

/// A standard stream of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardStream {
    /// The body feeds it; the body's end closes it, a broken one does not.
    Stdin,
    /// The body is all of it; one reader at a time.
    Stdout,
    /// As [`Self::Stdout`]. A terminal has none.
    Stderr,
}

impl StandardStream {
    const ALL: [Self; 3] = [Self::Stdin, Self::Stdout, Self::Stderr];

    const fn prefix(self) -> &'static str {
        match self {
            Self::Stdin => "/stdin/",
            Self::Stdout => "/stdout/",
            Self::Stderr => "/stderr/",
        }
    }

    /// The request's path for the process `id`, whose characters are those of file names.
    pub fn path(self, id: &str) -> String {
        format!("{}{id}", self.prefix())
    }

    /// The stream and the process's id that `path` names.
    pub fn parse(path: &str) -> Option<(Self, &str)> {
        Self::ALL
            .into_iter()
            .find_map(|stream| Some((stream, path.strip_prefix(stream.prefix())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_are_written() {
        for stream in StandardStream::ALL {
            let path = stream.path("web-1.x");
            assert_eq!(StandardStream::parse(&path), Some((stream, "web-1.x")));
        }
        assert_eq!(
            StandardStream::parse("/container.guest.v1.Guest/Wait"),
            None
        );
        assert_eq!(StandardStream::parse("/stdout"), None);
    }
}
