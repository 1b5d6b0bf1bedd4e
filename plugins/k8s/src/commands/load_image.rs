use anyhow::Context as _;
use clap::Args;
use container_resource::platform::Platform;

use super::{DEFAULT_NAME, name};
use crate::cluster;
use crate::container::Container;

/// Load an image into a cluster, for its pods
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container k8s load-image web:1")]
pub struct LoadImage {
    /// Cluster
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAME, value_parser = name)]
    name: String,

    /// Platform of the image (default: the host's)
    #[arg(long, value_name = "PLATFORM", default_value_t = Platform::host())]
    platform: Platform,

    /// Image
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// What takes an archive in, within a node: the platform that it has, under the image's own names.
const IMPORT: [&str; 7] = [
    "ctr",
    "--namespace=k8s.io",
    "images",
    "import",
    "--digests",
    "--snapshotter=overlayfs",
    "-",
];

impl LoadImage {
    pub fn execute(self, container: &Container) -> anyhow::Result<()> {
        let cluster = cluster::find(container, &self.name)?;
        // Of one platform: the node would miss the content of the others.
        let platform = self.platform.to_string();
        let save = ["image", "save", "--platform", &platform, &self.image];
        let import = ["exec", "-i", &cluster.name].into_iter().chain(IMPORT);
        let context = || format!("load {} into cluster {}", self.image, cluster.name);
        let loaded = container.pipe(save, import).with_context(context)?;
        print!("{loaded}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{asked, pretended};

    #[test]
    fn an_image_goes_from_one_command_to_the_other() {
        let scratch = tempfile::tempdir().unwrap();
        let load = |script: &str| {
            let container = pretended(scratch.path(), script);
            let command = LoadImage {
                name: "dev".into(),
                platform: "linux/amd64".parse().unwrap(),
                image: "web:1".into(),
            };
            command.execute(&container)
        };
        load("if [ $1 = image ]; then echo archive; else grep -q archive; fi").unwrap();
        let asked = asked(scratch.path());
        assert!(
            asked.contains("image save --platform linux/amd64 web:1"),
            "{asked}"
        );
        assert!(
            asked.contains("exec -i dev ctr --namespace=k8s.io images import"),
            "{asked}"
        );
        let error = load(
            "[ $1 != image ] || { echo 'image not found: web:1' >&2; exit 1; }; cat >/dev/null; exit 1",
        );
        let error = format!("{:#}", error.unwrap_err());
        assert_eq!(error, "load web:1 into cluster dev: image not found: web:1");
    }
}
