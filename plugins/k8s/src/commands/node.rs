//! Commands inside a node.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use container_resource::container::ContainerState;

use crate::cluster;
use crate::container::{Container, ContainerError};
use crate::kubeconfig::Access;

/// How long a node may take to boot, and its cluster to answer, under emulation too.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is asked meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
/// Where kubeadm writes how the cluster is reached.
pub const ADMIN: &str = "/etc/kubernetes/admin.conf";

/// A node that runs.
#[derive(Debug)]
pub struct Node<'a> {
    container: &'a Container,
    name: &'a str,
}

impl<'a> Node<'a> {
    /// The node of the cluster `name`.
    pub fn new(container: &'a Container, name: &'a str) -> Self {
        Self { container, name }
    }

    /// Output of a program in it.
    pub fn run(&self, words: &[&str]) -> Result<String, ContainerError> {
        self.container.read(["exec", self.name].iter().chain(words))
    }

    /// The same, where it reads `input`.
    pub fn feed(&self, words: &[&str], input: &str) -> Result<String, ContainerError> {
        let exec = ["exec", "-i", self.name];
        self.container.feed(exec.iter().chain(words), input)
    }

    /// Waits until `words` succeed in it, which they do when `what`.
    pub fn wait(&self, what: &str, words: &[&str]) -> anyhow::Result<()> {
        self.wait_for(what, words, PATIENCE, PAUSE)
    }

    fn wait_for(
        &self,
        what: &str,
        words: &[&str],
        patience: Duration,
        pause: Duration,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let Err(error) = self.run(words) else {
                return Ok(());
            };
            // A node that has ended answers nothing any more.
            let state = cluster::state(self.container, self.name);
            if state.context(format!("wait until {what}"))? == ContainerState::Stopped {
                bail!(
                    "the node has ended: `container logs {}` shows why",
                    self.name
                );
            }
            if begun.elapsed() >= patience {
                let context = format!("{what} not within {} s", patience.as_secs());
                return Err(anyhow::Error::new(error).context(context));
            }
            std::thread::sleep(pause);
        }
    }

    /// How its cluster is reached.
    pub fn access(&self) -> anyhow::Result<Access> {
        let text = self.run(&["cat", ADMIN]);
        let text = text.context("the node has no cluster")?;
        Ok(Access::parse(&text)?)
    }

    /// Waits until its API answers.
    pub fn wait_for_api(&self) -> anyhow::Result<()> {
        let words = ["kubectl", "--kubeconfig", ADMIN, "get", "--raw", "/readyz"];
        self.wait("the cluster's API answers", &words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::pretended;

    #[test]
    fn a_node_is_waited_for_until_it_ends_or_time_is_up() {
        let scratch = tempfile::tempdir().unwrap();
        let wait = |script: &str| {
            let container = pretended(scratch.path(), script);
            let node = Node::new(&container, "dev");
            let waited = node.wait_for("it is up", &["true"], Duration::ZERO, Duration::ZERO);
            waited.map_err(|error| format!("{error:#}"))
        };
        assert_eq!(wait("exit 0"), Ok(()));
        // The same word in another field is no state.
        let node = r#"[{"id":"dev","configuration":{"labels":{"was":"stopped"},"resources":{"cpus":1,"memoryInBytes":1}},"status":{"state":"running"}}]"#;
        let slow =
            format!("if [ $1 = inspect ]; then echo '{node}'; else echo no bus >&2; exit 1; fi");
        assert_eq!(
            wait(&slow),
            Err("it is up not within 0 s: no bus".to_owned())
        );
        let ended = slow.replace("running", "stopped");
        assert!(wait(&ended).unwrap_err().contains("has ended"));
        assert_eq!(
            wait("echo gone >&2; exit 1"),
            Err("wait until it is up: gone".to_owned())
        );
    }
}
