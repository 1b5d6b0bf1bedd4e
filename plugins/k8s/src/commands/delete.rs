use clap::Args;

use super::file::Kubeconfig;
use super::{DEFAULT_NAME, name};
use crate::cluster;
use crate::container::Container;
use crate::kubeconfig;

/// Delete a cluster with all that is in it, and take it out of the kubeconfig
///
/// Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container k8s delete --name k8s-dev")]
pub struct Delete {
    /// Cluster
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME, value_parser = name)]
    name: String,

    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

impl Delete {
    pub fn execute(self, container: &Container) -> anyhow::Result<()> {
        let cluster = cluster::find(container, &self.name)?;
        container.read(["delete", "--force", "--volumes", &cluster.name])?;
        let file = self.kubeconfig.path()?;
        kubeconfig::forget(&file, &cluster.name)?;
        println!("{}", cluster.name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{asked, pretended};
    use crate::kubeconfig::{Access, merge};

    #[test]
    fn a_cluster_goes_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("config");
        let access = Access {
            authority: "YQ==".into(),
            certificate: "YQ==".into(),
            key: "YQ==".into(),
        };
        merge(&file, "dev", 6446, &access).unwrap();
        let container = pretended(scratch.path(), "exit 0");
        let delete = |name: &str| {
            let command = Delete {
                name: name.into(),
                kubeconfig: Kubeconfig::at(&file),
            };
            command.execute(&container)
        };
        delete("web").unwrap_err();
        assert!(!asked(scratch.path()).contains("delete"));
        delete("dev").unwrap();
        assert!(asked(scratch.path()).contains("delete --force --volumes dev"));
        assert!(!std::fs::read_to_string(&file).unwrap().contains("dev"));
    }
}
