use anyhow::bail;
use clap::Args;

use super::node::Node;
use super::{DEFAULT_NAME, name};
use crate::cluster;
use crate::container::Container;

/// Start a cluster that was stopped, and wait until it answers
///
/// Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container k8s start")]
pub struct Start {
    /// Cluster
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME, value_parser = name)]
    name: String,
}

impl Start {
    pub fn execute(self, container: &Container) -> anyhow::Result<()> {
        let cluster = cluster::find(container, &self.name)?;
        if !container.show(["start", &cluster.name])?.success() {
            bail!("cluster {} was not started", cluster.name);
        }
        Node::new(container, &cluster.name).wait_for_api()?;
        println!("{}", cluster.name);
        Ok(())
    }
}
