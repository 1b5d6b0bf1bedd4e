//! Standard streams of processes, as the bodies of plain requests ([`container_api::streams`]).

use container_api::streams::StandardStream;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use tonic::Status;
use tonic::body::Body;

use crate::agent::{Agent, AgentError};
use crate::process::{Input, output};

/// Answers a request for `stream` of the process `id`.
pub async fn serve(
    agent: &Agent,
    stream: StandardStream,
    id: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let answer = match stream {
        StandardStream::Stdin => feed(agent, id, request.into_body()).await,
        StandardStream::Stdout | StandardStream::Stderr => read(agent, id, stream),
    };
    answer.map_or_else(|error| Status::from(error).into_http(), Response::new)
}

/// Feeds `data` to the process. A body that breaks leaves the input as it is, for the next one to go on.
async fn feed(agent: &Agent, id: &str, mut data: Incoming) -> Result<Body, AgentError> {
    let mut input = Input::take(agent.process(id)?).ok_or(AgentError::StreamTaken)?;
    loop {
        let frame = tokio::select! {
            frame = data.frame() => frame,
            () = input.hung_up() => break,
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| AgentError::Stream(std::io::Error::other(error)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if !input.write(&data).await.map_err(AgentError::Stream)? {
            break;
        }
    }
    input.finish();
    Ok(Body::empty())
}

fn read(agent: &Agent, id: &str, stream: StandardStream) -> Result<Body, AgentError> {
    let reader = output(&agent.process(id)?, stream).ok_or(AgentError::StreamTaken)?;
    let frames = stream::try_unfold(reader, |mut reader| async {
        let chunk = reader.next().await?;
        Ok::<_, std::io::Error>(chunk.map(|data| (Frame::data(data), reader)))
    });
    Ok(Body::new(StreamBody::new(frames)))
}
