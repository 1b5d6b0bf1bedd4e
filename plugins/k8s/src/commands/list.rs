use clap::{Args, ValueEnum};
use container_resource::size;

use crate::cluster::{self, API_PORT, Cluster};
use crate::container::Container;
use crate::table;

/// List the clusters
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container k8s list")]
pub struct List {
    /// As a table or as JSON
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    /// Names only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl List {
    pub fn execute(self, container: &Container) -> anyhow::Result<()> {
        let clusters = cluster::list(container)?;
        if self.quiet {
            for cluster in clusters {
                println!("{}", cluster.name);
            }
            return Ok(());
        }
        match self.format {
            Format::Table => print!("{}", table::text(&rows(&clusters))),
            Format::Json => println!("{}", serde_json::to_string(&clusters)?),
        }
        Ok(())
    }
}

fn rows(clusters: &[Cluster]) -> Vec<Vec<String>> {
    let header = [
        "CLUSTER", "NODE", "ROLE", "STATE", "CPUS", "MEMORY", "ADDR", "PORTS",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(clusters.iter().map(|cluster| {
        let ports = cluster
            .port
            .map(|port| format!("127.0.0.1:{port}->{API_PORT}/tcp"));
        vec![
            cluster.name.clone(),
            cluster.name.clone(),
            "control-plane".to_owned(),
            cluster.state.word().to_owned(),
            cluster.cpus.to_string(),
            format!("{} MB", cluster.memory / size::MIB),
            cluster.address.clone().unwrap_or_default(),
            ports.unwrap_or_default(),
        ]
    }));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::pretended;

    #[test]
    fn a_cluster_has_a_row() {
        let scratch = tempfile::tempdir().unwrap();
        let clusters = cluster::list(&pretended(scratch.path(), "exit 1")).unwrap();
        assert_eq!(
            table::text(&rows(&clusters)),
            "CLUSTER  NODE  ROLE           STATE    CPUS  MEMORY   ADDR      PORTS\n\
             dev      dev   control-plane  running  2     2048 MB  10.1.2.3  127.0.0.1:6446->6443/tcp\n"
        );
    }
}
