use anyhow::Context as _;
use clap::Args;

use super::file::Kubeconfig;
use super::node::Node;
use super::{DEFAULT_NAME, name};
use crate::cluster;
use crate::container::Container;
use crate::kubeconfig;

/// Have kubectl use a cluster: merge it into a kubeconfig
///
/// Prints the file.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container k8s write-config --kubeconfig ./kubeconfig")]
pub struct WriteConfig {
    /// Cluster
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME, value_parser = name)]
    name: String,

    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

impl WriteConfig {
    pub fn execute(self, container: &Container) -> anyhow::Result<()> {
        let cluster = cluster::find(container, &self.name)?;
        let port = cluster
            .port
            .with_context(|| format!("cluster {} publishes no port", cluster.name))?;
        let file = self.kubeconfig.path()?;
        let access = Node::new(container, &cluster.name).access()?;
        kubeconfig::merge(&file, &cluster.name, port, &access)?;
        println!("{}", file.display());
        Ok(())
    }
}
