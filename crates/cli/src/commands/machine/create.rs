use clap::Args;
use container_api::machine::CreateRequest;
use container_resource::cpus;
use container_resource::image_settings::ImageSettings;
use container_resource::machine::{
    HomeMount, MachineCreation, MachineSettings, check_name, default_name,
};
use container_resource::reference::Reference;
use container_resource::settings::Settings;
use container_resource::{size, switch};
use jiff::Timestamp;

use super::super::creating::{describe, platform_of};
use super::super::fetch::FetchFlags;
use super::super::image::default_domain;
use super::{attached, boot, host_user};
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::{PlatformFlags, kernel_path};
use crate::host;
use crate::output;

/// Make a machine from an image that has an init
///
/// The machine has your user, and your home directory at the same path as on the host. It is booted at once. Prints its name.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  A Debian to work in, and a shell in it:
    container machine create --name dev --cpus 4 --memory 8G debian-systemd
    container machine run --name dev

  One that sees nothing of the host:
    container machine create --home-mount none debian-systemd")]
pub struct Create {
    /// Number of CPUs (default: half of the host's, but at least 4 if the host has them)
    #[arg(short, long, value_name = "NUMBER", value_parser = cpus::parse_whole)]
    cpus: Option<u32>,

    /// Access to your home directory: ro, rw or none (default: rw)
    #[arg(long, value_name = "MODE")]
    home_mount: Option<HomeMount>,

    /// Kernel to boot
    #[arg(long, value_name = "PATH")]
    kernel: Option<std::path::PathBuf>,

    /// Memory with an optional unit (K, M, G, T or P), in whole MiB (default: half of the host's)
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse_memory)]
    memory: Option<u64>,

    /// Name, which is the machine's host name too (default: <image>-<tag>)
    #[arg(short, long, value_name = "NAME", value_parser = name)]
    name: Option<String>,

    /// Do not boot it now
    #[arg(long)]
    no_boot: bool,

    #[command(flatten)]
    platform: PlatformFlags,

    /// Make it the default machine
    #[arg(long)]
    set_default: bool,

    /// Let it run virtual machines, if the host supports this
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = switch::parse)]
    virtualization: Option<bool>,

    #[command(flatten)]
    fetch: FetchFlags,

    /// Image, with /sbin/init
    #[arg(value_name = "IMAGE", add = completion::images())]
    image: String,
}

impl Create {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let user_setup = host_user::find()?;
        let roots = &context.roots;
        let settings = Settings::load(&roots.app, &roots.install).map_err(anyhow::Error::new)?;
        let defaults = settings.machine;
        let kernel = self.kernel.as_deref().or(defaults.kernel_path.as_deref());
        let kernel = kernel.map(kernel_path).transpose()?;
        let requested = self.platform.requested();
        let (image, is_fetched) = self
            .fetch
            .find(context, &self.image, requested.clone())
            .await?;
        let attached = attached::find(context, &image, is_fetched, &self.fetch).await?;
        let name = if let Some(name) = self.name {
            name
        } else {
            let domain = default_domain(context)?;
            let reference =
                Reference::parse(&image.reference, &domain).map_err(Failure::usage_chain)?;
            default_name(&reference)
        };
        check_name(&name).map_err(|error| Failure::usage(format!("{error}: use --name")))?;
        let creation = MachineCreation {
            settings: MachineSettings {
                id: name.clone(),
                home_mount: self.home_mount.or(defaults.home_mount).unwrap_or_default(),
                user_setup,
                attached,
            },
            suffix: suffix(),
            platform: platform_of(&image, &requested)?,
            image: describe(&image)?,
            cpus: self.cpus.unwrap_or_else(|| defaults.cpus(host::cpus())),
            memory: self
                .memory
                .unwrap_or_else(|| defaults.memory(host::memory())),
            virtualization: self
                .virtualization
                .or(defaults.virtualization)
                .unwrap_or_default(),
            kernel,
        };
        let image = ImageSettings::parse(&image.config).map_err(Failure::usage_chain)?;
        let configuration = creation
            .configuration(&image, Timestamp::now())
            .map_err(Failure::usage_chain)?;
        let request = CreateRequest {
            configuration: serde_json::to_vec(&configuration)?.into(),
            set_default: self.set_default,
        };
        context.machines()?.create(request).await?;
        if !self.no_boot {
            if let Err(failure) = boot(context, Some(&name)).await {
                output::tell(format_args!(
                    "machine {name} was created, and does not boot"
                ));
                return Err(failure);
            }
        }
        output::write_lines([name])
    }
}

/// Six hexadecimal digits that no other machine has, as good as certainly.
pub fn suffix() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    random.chars().take(6).collect()
}

/// A machine's name.
pub fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}
