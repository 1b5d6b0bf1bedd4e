//! What is asked for, and the answer.

use std::error::Error;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};

use container_api::{Chain, inherited};
use container_resource::share::{Answer, LIMIT, Request, Source};

use crate::namespaces::ShareError;

/// Most bytes of a request: [`LIMIT`] paths of 4096 bytes, and some.
const SIZE_LIMIT: u64 = 2 << 20;

/// Why there is nothing to do.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Standard input cannot be read.
    #[error("read the request")]
    Read(#[source] io::Error),
    /// It is no request.
    #[error("understand the request")]
    Parse(#[source] serde_json::Error),
    /// More than there may be.
    #[error("{0} shares were asked for: at most {LIMIT} are possible")]
    TooMany(usize),
    /// A path that depends on where this process is.
    #[error("{0}: an absolute path is needed")]
    Relative(String),
    /// What was asked for cannot be shared.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// Reads the request.
pub fn read() -> Result<Request, RequestError> {
    let mut text = Vec::new();
    io::stdin()
        .lock()
        .take(SIZE_LIMIT)
        .read_to_end(&mut text)
        .map_err(RequestError::Read)?;
    parse(&text)
}

fn parse(text: &[u8]) -> Result<Request, RequestError> {
    let request: Request = serde_json::from_slice(text).map_err(RequestError::Parse)?;
    if request.shares.len() > LIMIT {
        return Err(RequestError::TooMany(request.shares.len()));
    }
    let mut paths = request.shares.iter().map(|share| &share.path);
    if let Some(path) = paths.find(|path| !path.is_absolute()) {
        return Err(RequestError::Relative(path.display().to_string()));
    }
    Ok(request)
}

/// Whether one of `shares` is in another one, or the same.
pub fn overlap(shares: &[Source]) -> bool {
    let mut paths: Vec<_> = shares.iter().map(|share| &share.path).collect();
    // By components: what is in a directory follows it.
    paths.sort_unstable();
    paths.windows(2).any(|pair| pair[1].starts_with(pair[0]))
}

/// The listening socket. To be called once.
pub fn listener() -> io::Result<OwnedFd> {
    // SAFETY: the caller of the program promises that descriptor 3 is open and ours alone; if it is not open, fcntl fails.
    let listener = unsafe { OwnedFd::from_raw_fd(inherited::FIRST) };
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&listener, false)?;
    Ok(listener)
}

/// Says that all is there.
pub fn answer_ready() -> io::Result<()> {
    answer(&Answer::Ready)
}

/// Says that few descriptors are left. Nobody who listens no more misses it.
pub fn answer_crowded() {
    let _ = answer(&Answer::Crowded);
}

/// Says why nothing is. Who does not listen learns it by the end of the process.
pub fn answer_failed(error: &(dyn Error + 'static)) {
    let reason = Chain(error).to_string();
    let _ = answer(&Answer::Failed { reason });
}

fn answer(answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_in_another_one_overlaps() {
        let overlap = |paths: &[&str]| {
            let share = |path: &&str| Source {
                path: path.into(),
                read_only: false,
            };
            overlap(&paths.iter().map(share).collect::<Vec<_>>())
        };
        for apart in [&[][..], &["/a"], &["/a", "/ab", "/a-b", "/b/a"]] {
            assert!(!overlap(apart), "{apart:?}");
        }
        for over in [&["/a", "/a"][..], &["/a/b/c", "/a-b", "/a"], &["/", "/x"]] {
            assert!(overlap(over), "{over:?}");
        }
    }

    #[test]
    fn a_request_is_checked() {
        let request = parse(br#"{"shares":[{"path":"/srv","readOnly":true}]}"#).unwrap();
        assert!(request.shares[0].read_only);
        for text in [
            "",
            "{}",
            r#"{"shares":[{"path":"/srv"}]}"#,
            r#"{"shares":[{"path":"srv","readOnly":true}]}"#,
        ] {
            parse(text.as_bytes()).unwrap_err();
        }
        let one = r#"{"path":"/","readOnly":true}"#;
        let many = format!(r#"{{"shares":[{}]}}"#, vec![one; LIMIT + 1].join(","));
        assert!(matches!(
            parse(many.as_bytes()),
            Err(RequestError::TooMany(_))
        ));
    }
}
