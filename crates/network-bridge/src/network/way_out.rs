//! A user's way out: whether it is there, and that it comes back.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Network;
use crate::links::UPLINK;
use crate::namespace::holder;
use crate::namespace::inside::Link;
use crate::uplink::Uplink;
use crate::uplink::keeper::{self, Backoff, LOOK};
use crate::uplink::user::Program;

/// How long the program may take to make its interface before that is told as a problem.
const MAKING: Duration = Duration::from_secs(5);

/// What is known of it.
#[derive(Debug)]
pub(super) struct WayOut {
    begun: Instant,
    /// It was there once, and had to be started again.
    was_lost: bool,
}

impl WayOut {
    /// It is about to be started.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            was_lost: false,
        }
    }

    /// What is wrong with `program`, in the namespace whose interfaces are `links`.
    fn problem(&self, program: Program, links: &[Link]) -> Option<String> {
        let is_there = links.iter().any(|link| link.name == UPLINK);
        let may_be_late = !self.was_lost && self.begun.elapsed() < MAKING;
        if is_there || may_be_late {
            return None;
        }
        let name = program.name();
        Some(format!(
            "nothing leaves the network: {name} does not run, and is started again"
        ))
    }
}

impl Network {
    /// Why packets do not leave, though they should; `links` are the namespace's interfaces.
    pub(super) fn problem(&self, links: &[Link]) -> Option<String> {
        let lost = match self.uplink {
            Uplink::User(Some(program)) => self.way_out.problem(program, links),
            _ => None,
        };
        lost.or_else(|| self.problem.clone())
    }

    /// Whether a process of its own keeps the way out.
    pub fn has_keeper(&self) -> bool {
        matches!(self.uplink, Uplink::User(Some(_)))
    }

    /// Has the way out kept again, if nobody does.
    async fn restore_way_out(&mut self) -> io::Result<()> {
        let Uplink::User(Some(program)) = self.uplink else {
            return Ok(());
        };
        self.way_out.was_lost = true;
        // Whoever replaces a holder that is gone starts a keeper, too.
        let Some(holder) = holder::find(&self.state)? else {
            return Ok(());
        };
        let mtu = self.configuration.asked.mtu;
        keeper::start(program, &self.state, holder, mtu).await
    }
}

/// Sees to it that somebody keeps the way out of `network`, whose state is in `state`.
pub async fn keep(network: &Mutex<Network>, state: &Path) {
    if !network.lock().await.has_keeper() {
        return std::future::pending().await;
    }
    let mut backoff = Backoff::new();
    loop {
        match tokio::time::timeout(LOOK, keeper::ended(state)).await {
            Ok(ended) => {
                let pause = backoff.pause();
                tracing::warn!(
                    "the process that keeps the network's way out has ended: another one is started"
                );
                tokio::time::sleep(pause).await;
                let restored = network.lock().await.restore_way_out().await;
                if let Err(error) = ended.and(restored) {
                    tracing::error!("nobody keeps the network's way out: {error:#}");
                }
            }
            Err(_) => match keeper::wake(state) {
                Ok(false) => {}
                Ok(true) => {
                    tracing::warn!(
                        "the process that keeps the network's way out was stopped: it goes on"
                    );
                }
                Err(error) => tracing::debug!("look for the keeper of the way out: {error:#}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_out_that_is_not_there_is_a_problem_once_it_should_be() {
        let link = |name: &str| Link {
            name: name.into(),
            on_bridge: false,
            from_machine: (0, 0),
            to_machine: (0, 0),
        };
        let mut way_out = WayOut::new();
        let problem =
            |way_out: &WayOut, links: &[Link]| way_out.problem(Program::Slirp4netns, links);
        assert_eq!(problem(&way_out, &[link("bridge")]), None);
        way_out.begun = Instant::now().checked_sub(MAKING).unwrap();
        let text = problem(&way_out, &[link("bridge")]).unwrap();
        assert!(text.contains("slirp4netns"), "{text}");
        assert_eq!(problem(&way_out, &[link("bridge"), link(UPLINK)]), None);
        way_out = WayOut::new();
        way_out.was_lost = true;
        assert!(problem(&way_out, &[]).is_some());
    }
}
