use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use container_resource::size;

use super::file::Kubeconfig;
use super::node::{ADMIN, Node};
use super::{DEFAULT_NAME, name};
use crate::cluster::{self, API_PORT, Cluster, FindError, LABEL};
use crate::container::Container;
use crate::kubeadm::{self, POD_SUBNET};
use crate::{kubeconfig, port};

/// Node image of kind that is taken where none is named.
const NODE_IMAGE: &str = "kindest/node:v1.35.5";
/// The least that kubeadm's checks let pass.
const LEAST: (u32, u64) = (2, 2 << 30);
/// Where the node reads what kubeadm is to do.
const CONFIGURATION: &str = "/kind/kubeadm.conf";

/// Make a cluster, and have kubectl use it
///
/// Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container k8s create --cpus 4 --memory 8G
  kubectl get nodes")]
pub struct Create {
    /// Name of the cluster and of its node
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME, value_parser = name)]
    name: String,

    /// Node image of kind
    #[arg(long, value_name = "IMAGE", default_value = NODE_IMAGE)]
    node_image: String,

    /// Remove the node when it stops
    #[arg(long, visible_alias = "remove")]
    rm: bool,

    /// Number of CPUs, at least 2 (default: a quarter of the host's)
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(2..=1024))]
    cpus: Option<u32>,

    /// Memory, at least 2G (default: a quarter of the host's)
    #[arg(short, long, value_name = "SIZE", value_parser = memory)]
    memory: Option<u64>,

    /// Kernel to boot (default: the installation's larger one, where it has it)
    #[arg(short, long, value_name = "PATH")]
    kernel: Option<PathBuf>,

    /// How the registry is spoken to: http or https
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<String>,

    /// Parts of the image that are fetched at a time
    #[arg(long, value_name = "NUMBER")]
    max_concurrent_downloads: Option<u32>,

    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

/// Memory of a node in bytes.
fn memory(text: &str) -> Result<u64, String> {
    let bytes = size::parse_memory(text).map_err(|error| error.to_string())?;
    if bytes < LEAST.1 {
        return Err("at least 2G are needed".to_owned());
    }
    Ok(bytes)
}

impl Create {
    pub fn execute(self, container: &Container) -> anyhow::Result<()> {
        let file = self.kubeconfig.path()?;
        match cluster::find(container, &self.name) {
            Err(FindError::NotFound(_)) => {}
            Ok(_) => bail!("cluster already exists: {}", self.name),
            Err(error) => return Err(error.into()),
        }
        // Told now, not when the cluster is made and would be for nothing.
        kubeconfig::check(&file, &self.name)?;
        let taken: Vec<u16> = cluster::list(container)?
            .into_iter()
            .filter_map(|cluster| cluster.port)
            .collect();
        let port = port::free(&taken).context("no port is free for the cluster's API")?;
        eprintln!("Starting node {}", self.name);
        let words = self.words(port, container.larger_kernel());
        if !container.show(&words)?.success() {
            bail!("node {} was not started", self.name);
        }
        let made = self.furnish(container, port, &file);
        if made.is_err() {
            // What is half made is of no use; the cause is told.
            let _ = container.read(["delete", "--force", "--volumes", &self.name]);
        }
        made?;
        println!("{}", self.name);
        Ok(())
    }

    /// What `container` is asked for the node.
    fn words(&self, port: u16, larger_kernel: Option<PathBuf>) -> Vec<String> {
        let fixed = [
            "run",
            "--detach",
            "--privileged",
            "--tmpfs",
            "/tmp",
            "--tmpfs",
            "/run",
            "--volume",
            // Containers in the node have their layers there: one overlay cannot be on another.
            "/var",
        ];
        let mut words: Vec<String> = fixed.map(str::to_owned).into();
        let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
        option("--name", self.name.clone());
        option("--hostname", self.name.clone());
        option("--label", format!("{}={}", LABEL.0, LABEL.1));
        option("--publish", format!("127.0.0.1:{port}:{API_PORT}"));
        let cpus = self.cpus.unwrap_or_else(|| (host_cpus() / 4).max(LEAST.0));
        option("--cpus", cpus.to_string());
        let memory = self
            .memory
            .unwrap_or_else(|| (host_memory() / 4).max(LEAST.1));
        option("--memory", format!("{}M", memory / size::MIB));
        if let Some(kernel) = self.kernel.clone().or(larger_kernel) {
            option("--kernel", kernel.display().to_string());
        }
        if let Some(scheme) = &self.scheme {
            option("--scheme", scheme.clone());
        }
        if let Some(number) = self.max_concurrent_downloads {
            option("--max-concurrent-downloads", number.to_string());
        }
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
            // By name alone: `container` takes the value of its own environment.
            if std::env::var_os(name).is_some() {
                option("--env", name.to_owned());
            }
        }
        if self.rm {
            words.push("--rm".to_owned());
        }
        words.push(self.node_image.clone());
        words
    }

    /// Makes a cluster of the node that was started.
    fn furnish(
        &self,
        container: &Container,
        port: u16,
        file: &std::path::Path,
    ) -> anyhow::Result<()> {
        let node = Node::new(container, &self.name);
        node.wait("containerd of the node runs", &["crictl", "info"])?;
        let Cluster { address, .. } = cluster::find(container, &self.name)?;
        let address = address.context("the node has no address: it needs a network")?;
        eprintln!("Making the cluster");
        let configuration = kubeadm::configuration(&self.name, &address);
        node.feed(&["cp", "/dev/stdin", CONFIGURATION], &configuration)
            .context("give kubeadm its configuration")?;
        // What a machine lacks that kubeadm checks for is not what the cluster needs.
        let init = [
            "kubeadm",
            "init",
            "--config",
            CONFIGURATION,
            "--skip-token-print",
            "--ignore-preflight-errors=all",
        ];
        node.run(&init).context("kubeadm init")?;
        let kubectl = format!("kubectl --kubeconfig {ADMIN}");
        // The node image brings the manifests of its network and of its storage.
        let network = format!(
            "sed 's|{{{{ *.PodSubnet *}}}}|{POD_SUBNET}|g' /kind/manifests/default-cni.yaml | {kubectl} apply -f -"
        );
        let shell = |what: &'static str, line: &str| node.run(&["sh", "-c", line]).context(what);
        shell("set up the network of pods", &network)?;
        shell(
            "set up storage",
            &format!("{kubectl} apply -f /kind/manifests/default-storage.yaml"),
        )?;
        // The one node runs pods, too.
        shell(
            "let the node run pods",
            &format!("{kubectl} taint nodes --all node-role.kubernetes.io/control-plane- || true"),
        )?;
        node.wait_for_api()?;
        kubeconfig::merge(file, &self.name, port, &node.access()?)?;
        Ok(())
    }
}

fn host_cpus() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

fn host_memory() -> u64 {
    let host = rustix::system::sysinfo();
    host.totalram.saturating_mul(u64::from(host.mem_unit))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cluster::tests::{asked, pretended};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    fn line(words: &[&str]) -> Create {
        Line::try_parse_from(["create"].iter().chain(words))
            .unwrap()
            .create
    }

    /// A node whose programs do what they should, and give `admin.conf`.
    const WORKS: &str = "case \"$*\" in \
        *kubeadm.conf) cat > $(dirname $0)/kubeadm.conf ;; \
        *'cat /etc/kubernetes/admin.conf') printf 'clusters: [{cluster: {certificate-authority-data: YQ==}}]\\nusers: [{user: {client-certificate-data: Yg==, client-key-data: Yw==}}]\\n' ;; \
        esac";

    #[test]
    fn a_node_is_asked_for_with_all_that_it_needs() {
        let words = line(&[
            "--cpus",
            "3",
            "--memory",
            "4G",
            "--rm",
            "--node-image",
            "node:1",
            "--kernel",
            "/k",
            "--scheme",
            "http",
        ])
        .words(6445, Some("/full".into()));
        let text = words.join(" ");
        for part in [
            "--privileged",
            "--name k8s-dev",
            "--label com.apple.container.plugin=k8s",
            "--publish 127.0.0.1:6445:6443",
            "--cpus 3",
            "--memory 4096M",
            "--kernel /k",
            "--scheme http",
            "--rm node:1",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let words = line(&[]).words(1, None);
        let of = |name: &str| {
            let place = words.iter().position(|word| word == name).unwrap();
            words[place + 1].clone()
        };
        assert!(of("--cpus").parse::<u32>().unwrap() >= 2);
        assert!(of("--memory").trim_end_matches('M').parse::<u64>().unwrap() >= 2048);
        for wrong in [["--cpus", "1"], ["--memory", "1G"], ["--name", "A"]] {
            assert!(Line::try_parse_from(["create"].iter().chain(&wrong)).is_err());
        }
    }

    #[test]
    fn a_cluster_is_made_and_merged() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("config");
        let container = pretended(scratch.path(), WORKS);
        // The list of the pretended one has a node of this name from here on.
        let create = line(&["--name", "dev"]);
        create.furnish(&container, 6446, &file).unwrap();
        let config = std::fs::read_to_string(&file).unwrap();
        assert!(
            config.contains("https://127.0.0.1:6446") && config.contains("Yw=="),
            "{config}"
        );
        let kubeadm = std::fs::read_to_string(scratch.path().join("kubeadm.conf")).unwrap();
        assert!(
            kubeadm.contains("\"advertiseAddress\": \"10.1.2.3\""),
            "{kubeadm}"
        );
        assert!(
            asked(scratch.path()).contains("exec dev kubeadm init --config /kind/kubeadm.conf")
        );
    }

    #[test]
    fn what_fails_is_told_and_leaves_no_node() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("config");
        let config = file.to_str().unwrap();
        let create = |name: &str, script: &str| {
            let container = pretended(scratch.path(), script);
            let made = line(&["--name", name, "--kubeconfig", config]).execute(&container);
            format!("{:#}", made.unwrap_err())
        };
        assert_eq!(create("dev", "exit 1"), "cluster already exists: dev");
        assert_eq!(create("web", "exit 1"), "container web is no cluster");
        assert_eq!(create("new", "exit 1"), "node new was not started");
        assert!(!asked(scratch.path()).contains("delete"));
        // It was started, and is not in the list.
        let error = create("new", "exit 0");
        assert!(error.starts_with("cluster not found: new"), "{error}");
        assert!(asked(scratch.path()).contains("delete --force --volumes new"));
        assert!(!file.exists());
        let container = pretended(
            scratch.path(),
            "case \"$*\" in *'kubeadm init'*) echo no swap >&2; exit 1 ;; esac",
        );
        let failed = line(&["--name", "dev"]).furnish(&container, 1, &file);
        assert_eq!(
            format!("{:#}", failed.unwrap_err()),
            "kubeadm init: no swap"
        );
    }
}
