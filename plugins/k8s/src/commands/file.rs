//! Finds the kubeconfig.

use std::path::PathBuf;

use clap::Args;

use crate::kubeconfig;

#[derive(Args, Debug)]
pub struct Kubeconfig {
    /// The kubeconfig to change (default: the first of KUBECONFIG, else ~/.kube/config)
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

impl Kubeconfig {
    /// The file.
    ///
    /// # Errors
    /// When none is named, and there is no home directory.
    pub fn path(&self) -> anyhow::Result<PathBuf> {
        match &self.kubeconfig {
            Some(path) => Ok(path.clone()),
            None => Ok(kubeconfig::default_path()?),
        }
    }

    #[cfg(test)]
    pub fn at(path: &std::path::Path) -> Self {
        Self {
            kubeconfig: Some(path.to_owned()),
        }
    }
}
