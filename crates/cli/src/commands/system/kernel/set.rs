use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{ArgGroup, Args, ValueEnum};
use container_api::images::FetchRequest;
use container_api::roots::{self, ARCHITECTURE};
use container_files::Links;
use container_resource::digest::Digest;
use sha2::{Digest as _, Sha256};

use super::archive;
use crate::commands::image::transfer::Progress;
use crate::configuration;
use crate::connection::Context;
use crate::daemon::{kernel, modules};
use crate::failure::Failure;
use crate::flags::ProgressFlags;

/// Choose the kernel that guests boot
///
/// The kernel is copied to the system's kernels, and becomes the default of containers that are started from then on. It is an x86-64 ELF
/// kernel or a bzImage, with virtio-mmio, EROFS, ext4 and overlayfs built in. With --modules these may be modules, so the kernel of a
/// distribution works, too. Guests then load the modules that their devices and disks need, and the modules that --module names; their
/// machines always boot cold.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("source").required(true).multiple(true).args(["recommended", "binary", "tar"]),
    after_long_help = "Examples:
  container system kernel set --recommended
  container system kernel set --binary ./vmlinux
  container system kernel set --binary /boot/vmlinuz-6.1.0-cloud-amd64 --modules /lib/modules/6.1.0-cloud-amd64
  container system kernel set --tar ./kernels.tar.zst --binary opt/share/vmlinux.container
  container system kernel set --tar https://example.com/kernels.tar.xz --binary boot/vmlinux --digest sha256:0123..."
)]
pub struct Set {
    /// Architecture of the guests that boot it
    #[arg(long, value_enum, default_value_t = Architecture::HOST)]
    arch: Architecture,

    /// File of the kernel; with --tar, the name of a member of the archive, which may be a link
    #[arg(long, value_name = "PATH")]
    binary: Option<String>,

    /// Expected SHA-256 of the archive, or without --tar, of the kernel
    #[arg(long, value_name = "DIGEST")]
    digest: Option<Digest>,

    /// Replace an installed kernel of the same name
    #[arg(long)]
    force: bool,

    /// Additional module that guests load; can be given several times
    #[arg(long, value_name = "NAME", requires = "modules")]
    module: Vec<String>,

    /// The kernel's modules: lib/modules/<version>, compressed or not
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "recommended")]
    modules: Option<PathBuf>,

    /// Use the kernel that the configuration names (kernel.url), else the packaged one
    #[arg(long)]
    recommended: bool,

    /// An archive that holds the kernel: a file, or an http or https address
    #[arg(long, value_name = "PATH|URL", requires = "binary")]
    tar: Option<String>,

    #[command(flatten)]
    progress: ProgressFlags,
}

/// Architectures, as images are named by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Architecture {
    /// x86-64
    Amd64,
    /// 64-bit ARM
    Arm64,
}

impl Architecture {
    const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm64
    } else {
        Self::Amd64
    };

    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl Set {
    pub async fn execute(mut self, context: &Context) -> Result<(), Failure> {
        roots::set_private_umask();
        let roots = &context.roots;
        if self.recommended {
            if self.binary.is_some() || self.tar.is_some() || self.digest.is_some() {
                let text = "--recommended says all: --binary, --tar and --digest are not for it";
                return Err(Failure::usage(text));
            }
            let configured = configuration::settings(roots)?.kernel;
            let Some(url) = configured.url else {
                if self.arch.name() != ARCHITECTURE {
                    let text = format!("there is no packaged kernel for {}", self.arch.name());
                    return Err(Failure::Local(anyhow::anyhow!(text)));
                }
                return kernel::choose_packaged(roots);
            };
            self.tar = Some(url);
            self.binary = configured.binary_path;
            self.digest = configured.digest;
        }
        let Some(binary) = &self.binary else {
            let text = "kernel.url is configured without kernel.binaryPath";
            return Err(if self.tar.is_some() {
                Failure::Local(anyhow::anyhow!(text))
            } else {
                Failure::usage("one of --recommended, --binary and --tar is needed")
            });
        };
        let (name, mut source) = if let Some(tar) = &self.tar {
            self.member(context, tar, binary).await?
        } else {
            let mut file = open(Path::new(binary), "kernel")?;
            self.verify(&mut file, binary)?;
            (PathBuf::from(binary), file)
        };
        source.rewind().context("read the kernel")?;
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        let mut modules = None;
        if let Some(directory) = &self.modules {
            let mut archive = kernel::temporary(roots)?;
            modules::pack(directory, &self.module, &mut archive)
                .with_context(|| format!("modules in {}", directory.display()))?;
            modules = Some(archive);
        }
        let source = kernel::Source {
            kernel: &mut source,
            modules: modules.as_mut(),
        };
        kernel::install(roots, self.arch.name(), &name, source, self.force)
    }

    /// The name of the archive's member `binary` and what it holds.
    async fn member(
        &self,
        context: &Context,
        tar: &str,
        binary: &str,
    ) -> Result<(PathBuf, File), Failure> {
        let is_remote = tar.starts_with("http://") || tar.starts_with("https://");
        let mut archive = if is_remote {
            if self.digest.is_none() {
                return Err(Failure::usage(
                    "'--digest' is required when '--tar' is a remote URL",
                ));
            }
            self.fetch(context, tar).await?
        } else {
            open(Path::new(tar), "archive")?
        };
        self.verify(&mut archive, tar)?;
        let mut kernel = kernel::temporary(&context.roots)?;
        let name = archive::extract(&mut archive, binary, &mut kernel);
        Ok((name.with_context(|| format!("archive {tar}"))?, kernel))
    }

    /// What is at the address `url`, in a file without a name.
    async fn fetch(&self, context: &Context, url: &str) -> Result<File, Failure> {
        let file = kernel::temporary(&context.roots)?;
        let token = context.hand_to_images(file.as_fd()).await?;
        let request = FetchRequest {
            url: url.to_owned(),
            token,
        };
        let messages = context.images().await?.fetch(request).await?.into_inner();
        Progress::new(self.progress.style()).show(messages).await?;
        Ok(file)
    }

    /// Compares `file` with the digest that was asked for, if one was.
    fn verify(&self, file: &mut File, name: &str) -> Result<(), Failure> {
        let Some(expected) = self.digest else {
            return Ok(());
        };
        let mut hash = Sha256::new();
        let mut digest = || -> io::Result<Digest> {
            file.rewind()?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    read => hash.update(&buffer[..read]),
                }
            }
            Ok(Digest::new(hash.finalize_reset().into()))
        };
        let actual = digest().with_context(|| format!("read {name}"))?;
        if actual == expected {
            return Ok(());
        }
        let text = format!("{name} has the digest {actual}, and not {expected}");
        Err(Failure::Local(anyhow::anyhow!(text)))
    }
}

fn open(path: &Path, what: &str) -> Result<File, Failure> {
    let opened = container_files::open(path, Links::Follow);
    Ok(opened.with_context(|| format!("{what} {}", path.display()))?)
}
