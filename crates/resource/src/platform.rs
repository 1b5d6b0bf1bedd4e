//! Platforms: `os/architecture[/variant]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::image::or_default;

/// What an image was built for (OCI image specification, image-index.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system, as `GOOS`; empty where nothing says so.
    #[serde(default, deserialize_with = "or_default")]
    pub os: String,
    /// CPU, as `GOARCH`; empty where nothing says so.
    #[serde(default, deserialize_with = "or_default")]
    pub architecture: String,
    /// CPU variant, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// What is asked for where any platform will do, the host's first.
pub const ANY: &str = "any";

/// A text that is not `os/architecture[/variant]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform '{0}': it is written os/architecture[/variant], as in linux/amd64")]
pub struct PlatformError(String);

impl Platform {
    /// Linux on this machine's CPU.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// Normalised: `x86_64` is `amd64`, `aarch64` is `arm64`, and a variant that the architecture implies is
    /// left out (containerd `platforms/database.go`).
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = os.to_ascii_lowercase();
        let os = if os == "macos" {
            "darwin".to_owned()
        } else {
            os
        };
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant
            .map(str::to_ascii_lowercase)
            .filter(|variant| !variant.is_empty());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", Some("8" | "v8")) => ("arm64", None),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("i386" | "i686" | "x86" | "386", _) => ("386", None),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            (other, variant) => (other, variant),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// The normal form of this platform.
    #[must_use]
    pub fn normalised(&self) -> Self {
        Self::new(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// The same, with what is empty taken from `other`.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let or = |own: &String, other: &String| {
            if own.is_empty() {
                other.clone()
            } else {
                own.clone()
            }
        };
        let variant = match (&self.variant, self.architecture.is_empty()) {
            (None, true) => &other.variant,
            (variant, _) => variant,
        };
        Self::new(
            &or(&self.os, &other.os),
            &or(&self.architecture, &other.architecture),
            variant.as_deref(),
        )
    }

    /// Whether an image for `self` will do for `wanted`.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        self.distance(wanted).is_some()
    }

    /// How far an image for `self` is from `wanted`; `None`: it will not do. A CPU runs what was built for earlier variants (containerd
    /// `platforms/compare.go`), and the nearest is the best; a wanted platform without a variant takes any, the plain one before others.
    pub fn distance(&self, wanted: &Self) -> Option<u32> {
        /// Beyond every difference of variants.
        const ANY: u32 = 1000;
        let (own, wanted) = (self.normalised(), wanted.normalised());
        if own.os != wanted.os || own.architecture != wanted.architecture {
            return None;
        }
        if own.variant == wanted.variant {
            return Some(0);
        }
        let Some(variant) = &wanted.variant else {
            return Some(ANY.saturating_add(own.level().unwrap_or(ANY)));
        };
        let wanted = level(variant)?;
        wanted.checked_sub(own.level()?)
    }

    /// The number of the variant, or of the one that the architecture implies.
    fn level(&self) -> Option<u32> {
        match (&self.variant, self.architecture.as_str()) {
            (Some(variant), _) => level(variant),
            (None, "amd64") => Some(1),
            (None, "arm64") => Some(8),
            (None, _) => None,
        }
    }
}

/// The number of a variant `v<number>`.
fn level(variant: &str) -> Option<u32> {
    variant
        .strip_prefix('v')?
        .parse()
        .ok()
        .filter(|level| *level < 100)
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            !part.is_empty() && part.chars().all(allowed)
        };
        if !parts.iter().all(is_word) {
            return Err(error());
        }
        match parts.as_slice() {
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normal_forms() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AArch64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
        }
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_variant_is_needed_only_when_asked_for() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(platform("linux/amd64/v3").satisfies(&platform("linux/amd64")));
        assert!(platform("linux/arm64/v8").satisfies(&platform("linux/arm64")));
        assert!(platform("linux/arm/v6").satisfies(&platform("linux/arm")));
    }

    #[test]
    fn earlier_variants_run_and_the_nearest_is_the_best() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let distance = |own: &str, wanted: &str| platform(own).distance(&platform(wanted));
        assert_eq!(distance("linux/amd64/v3", "linux/amd64/v3"), Some(0));
        assert_eq!(distance("linux/amd64/v2", "linux/amd64/v3"), Some(1));
        assert_eq!(distance("linux/amd64", "linux/amd64/v3"), Some(2));
        assert_eq!(distance("linux/amd64/v4", "linux/amd64/v3"), None);
        assert_eq!(distance("linux/arm/v5", "linux/arm"), Some(2));
        assert_eq!(distance("linux/arm/v7", "linux/arm/v6"), None);
        assert_eq!(distance("linux/arm64", "linux/arm64/v9"), Some(1));
        assert_eq!(distance("linux/amd64", "linux/386"), None);
        assert_eq!(distance("linux/x/vfpu", "linux/x/v2"), None);
        let plain = distance("linux/amd64", "linux/amd64");
        assert!(plain < distance("linux/amd64/v2", "linux/amd64"));
    }

    #[test]
    fn what_nothing_says_is_filled_in() {
        let said: Platform = serde_json::from_str(r#"{"architecture": null}"#).unwrap();
        let host = Platform::new("linux", "arm64", Some("v9"));
        assert_eq!(said.or(&host), host);
        let half: Platform =
            serde_json::from_str(r#"{"architecture": "amd64", "os": ""}"#).unwrap();
        assert_eq!(half.or(&host).to_string(), "linux/amd64");
    }

    proptest! {
        #[test]
        fn normal_form_is_stable(text in "[a-zA-Z0-9/]{1,20}") {
            if let Ok(platform) = text.parse::<Platform>() {
                prop_assert_eq!(platform.to_string().parse(), Ok(platform));
            }
        }
    }
}
