use clap::Args;

/// Which platform of an image is meant.
#[derive(Args, Clone, Debug, Default)]
pub struct PlatformFlags {
    /// Architecture of the image (default: the host's)
    #[arg(short, long = "arch", value_name = "ARCHITECTURE")]
    architecture: Option<String>,

    /// Operating system of the image (default: linux)
    #[arg(long, value_name = "OS")]
    os: Option<String>,

    /// Platform of the image as <os>/<architecture>[/<variant>]; overrides --os and --arch
    #[arg(
        long,
        value_name = "PLATFORM",
        env = "CONTAINER_DEFAULT_PLATFORM",
        hide_env_values = true
    )]
    platform: Option<String>,
}

impl PlatformFlags {
    /// `os/architecture[/variant]`; empty for the host's, or for all where a command takes them all.
    pub fn requested(&self) -> String {
        if let Some(platform) = self
            .platform
            .as_ref()
            .filter(|platform| !platform.is_empty())
        {
            return platform.clone();
        }
        if self.architecture.is_none() && self.os.is_none() {
            return String::new();
        }
        let os = self.os.as_deref().unwrap_or("linux");
        let architecture = self
            .architecture
            .as_deref()
            .unwrap_or_else(|| host_architecture());
        format!("{os}/{architecture}")
    }
}

/// The host's architecture as `GOARCH` names it.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_stands_above_its_parts() {
        let flags =
            |architecture: Option<&str>, os: Option<&str>, platform: Option<&str>| PlatformFlags {
                architecture: architecture.map(str::to_owned),
                os: os.map(str::to_owned),
                platform: platform.map(str::to_owned),
            };
        assert_eq!(flags(None, None, None).requested(), "");
        assert_eq!(flags(Some("arm64"), None, None).requested(), "linux/arm64");
        assert_eq!(
            flags(Some("arm64"), None, Some("linux/arm/v7")).requested(),
            "linux/arm/v7"
        );
        assert!(
            flags(None, Some("linux"), None)
                .requested()
                .starts_with("linux/")
        );
    }
}
