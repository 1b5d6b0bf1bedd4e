//! Asking the network's process, one thing after the other.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use container_api::handover;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::exchange::{Answer, Ask};
use crate::refused_names::Tally;

/// Questions that wait.
const WAITING: usize = 512;

type Reply = io::Result<(Answer, Option<OwnedFd>)>;

/// Asks, whether or not the one before has waited for its answer.
#[derive(Clone, Debug)]
pub struct Asker {
    queue: mpsc::Sender<(Ask, oneshot::Sender<Reply>)>,
}

impl Asker {
    /// On `stream`.
    pub fn new(mut stream: UnixStream) -> Self {
        let (queue, mut asked) = mpsc::channel::<(Ask, oneshot::Sender<Reply>)>(WAITING);
        tokio::spawn(async move {
            while let Some((ask, reply)) = asked.recv().await {
                // Whoever has gone away needs no answer; the stream does.
                let _ = reply.send(exchange(&mut stream, &ask).await);
            }
        });
        Self { queue }
    }

    /// A socket that leads to the resolver with that number; nothing when there are not so many.
    ///
    /// # Errors
    /// When it can't be had.
    pub async fn server(&self, number: usize, stream: bool) -> io::Result<Option<OwnedFd>> {
        match self.ask(Ask::Server { number, stream }).await? {
            (Answer::Done, Some(socket)) => Ok(Some(socket)),
            (Answer::Nothing, _) => Ok(None),
            (answer, _) => Err(refused(answer)),
        }
    }

    /// The addresses that a name has on the other networks of the container behind `tap`; none when it has none there.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub async fn addresses(&self, tap: &str, name: &str) -> io::Result<Vec<IpAddr>> {
        let (tap, name) = (tap.to_owned(), name.to_owned());
        match self.ask(Ask::Addresses { tap, name }).await? {
            (Answer::Addresses(addresses), _) => Ok(addresses),
            (Answer::Nothing, _) => Ok(Vec::new()),
            (answer, _) => Err(refused(answer)),
        }
    }

    /// The name of an address, in the same way.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub async fn name(&self, tap: &str, address: IpAddr) -> io::Result<Option<String>> {
        let tap = tap.to_owned();
        match self.ask(Ask::Name { tap, address }).await? {
            (Answer::Name(name), _) => Ok(Some(name)),
            (Answer::Nothing, _) => Ok(None),
            (answer, _) => Err(refused(answer)),
        }
    }

    /// Lets the container behind `tap` reach `addresses` by its rule with that number, for `seconds`.
    ///
    /// # Errors
    /// When the rules can't be changed.
    pub async fn learn(
        &self,
        tap: &str,
        rule: usize,
        addresses: Vec<IpAddr>,
        seconds: u32,
    ) -> io::Result<()> {
        let tap = tap.to_owned();
        let ask = Ask::Learn {
            tap,
            rule,
            addresses,
            seconds,
        };
        match self.ask(ask).await? {
            (Answer::Done, _) => Ok(()),
            (answer, _) => Err(refused(answer)),
        }
    }

    /// Tells which names the container behind `tap` was refused.
    ///
    /// # Errors
    /// When nobody takes it.
    pub async fn refused(&self, tap: &str, tally: Tally) -> io::Result<()> {
        let tap = tap.to_owned();
        match self.ask(Ask::Refused { tap, tally }).await? {
            (Answer::Done, _) => Ok(()),
            (answer, _) => Err(refused(answer)),
        }
    }

    async fn ask(&self, ask: Ask) -> Reply {
        let (sender, reply) = oneshot::channel();
        let gone = |()| io::Error::from(io::ErrorKind::BrokenPipe);
        let sent = self.queue.send((ask, sender)).await;
        sent.map_err(|_| gone(()))?;
        reply.await.map_err(|_| gone(()))?
    }
}

async fn exchange(stream: &mut UnixStream, ask: &Ask) -> Reply {
    handover::send(stream, ask, &[]).await?;
    let received = handover::receive(stream).await?;
    let (answer, descriptors) = received.ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((answer, descriptors.into_iter().next()))
}

fn refused(answer: Answer) -> io::Error {
    match answer {
        Answer::Failed(reason) => io::Error::other(reason),
        _ => io::ErrorKind::InvalidData.into(),
    }
}
