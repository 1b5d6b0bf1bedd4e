//! `FileSync`: the builder gets files of a context.

use std::collections::HashMap;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSync;
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Fault, Faults, Replies, header};
use crate::context::{Context, ContextError, Wanted, send};

/// Batches of packets that wait for the builder: as many times 128 KiB at the most.
const QUEUE: usize = 16;

/// The contexts of a build.
#[derive(Debug)]
pub struct Files {
    contexts: HashMap<String, Context>,
    faults: Faults,
}

impl Files {
    /// Contexts by their names, and the receiver of their faults.
    pub fn new(contexts: HashMap<String, Context>, faults: Faults) -> Self {
        Self { contexts, faults }
    }
}

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = Replies<Packet>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let name = header(&request, "dir-name").unwrap_or_default().to_owned();
        let Some(context) = self.contexts.get(&name).cloned() else {
            return Err(Status::not_found(format!(
                "no access allowed to dir {name:?}"
            )));
        };
        let wanted = Wanted {
            include: values(&request, "include-patterns"),
            exclude: values(&request, "exclude-patterns"),
            follow: values(&request, "followpaths"),
        };
        let (out, packets) = mpsc::channel(QUEUE);
        let faults = self.faults.clone();
        tokio::spawn(async move {
            let failure = send(context, wanted, request.into_inner(), out.clone())
                .await
                .err();
            match failure {
                // Who has gone away, or refuses, knows better why.
                None | Some(ContextError::Gone | ContextError::Refused(_)) => {}
                Some(error) => {
                    let words = error.to_string();
                    faults.put(Fault::Context(error));
                    let _ = out.send(Err(Status::aborted(words))).await;
                }
            }
        });
        // What is there at once is encoded at once.
        let packets = ReceiverStream::new(packets).flat_map(|batch| {
            let (packets, failure) = match batch {
                Ok(packets) => (packets, None),
                Err(status) => (Vec::new(), Some(Err(status))),
            };
            stream::iter(packets.into_iter().map(Ok).chain(failure))
        });
        Ok(Response::new(Box::pin(packets)))
    }

    type TarStreamStream = Replies<Packet>;

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("tarstream"))
    }
}

/// All values of a header. One with `<name>-encoded` beside it is escaped as in a query, which newer builders do with what is not ASCII.
fn values<T>(request: &Request<T>, name: &str) -> Vec<String> {
    let values = request.metadata().get_all(name).iter();
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if header(request, &format!("{name}-encoded")) == Some("1") {
        values.map(|value| unescape(&value)).collect()
    } else {
        values.collect()
    }
}

/// What Go's `url.QueryEscape` has escaped.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || u8::try_from(char::from(rest.next()?).to_digit(16)?).ok();
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => match (digit(), digit()) {
                (Some(high), Some(low)) => bytes.push(high << 4 | low),
                _ => return text.to_owned(),
            },
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_are_not_ascii_come_escaped() {
        let mut request = Request::new(());
        let metadata = request.metadata_mut();
        metadata.append("include-patterns", "a+b%2F%C3%A4".parse().unwrap());
        metadata.append("include-patterns", "%zz".parse().unwrap());
        assert_eq!(
            values(&request, "include-patterns"),
            ["a+b%2F%C3%A4", "%zz"]
        );
        let metadata = request.metadata_mut();
        metadata.append("include-patterns-encoded", "1".parse().unwrap());
        assert_eq!(values(&request, "include-patterns"), ["a b/ä", "%zz"]);
        assert!(values(&request, "followpaths").is_empty());
    }
}
