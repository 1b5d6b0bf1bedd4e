use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::failure::Failure;

/// The largest seccomp profile, in bytes. Docker's default one has 13 KiB.
const PROFILE_LIMIT: u64 = 4 << 20;

/// What the `--security-opt` flags ask for.
#[derive(Debug, Default)]
pub struct SecurityOptions {
    /// No gain of privileges by executing a file.
    pub no_new_privileges: bool,
    /// Docker's format.
    pub seccomp_profile: Option<serde_json::Value>,
}

impl SecurityOptions {
    /// `no-new-privileges[=true|false]`, `seccomp=<path>` and `seccomp=unconfined`; a later one wins.
    pub fn parse(options: &[String]) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        for option in options {
            // Docker takes a colon as well.
            let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
            match (name, value) {
                ("no-new-privileges", "" | "true") => parsed.no_new_privileges = true,
                ("no-new-privileges", "false") => parsed.no_new_privileges = false,
                ("seccomp", "unconfined") => parsed.seccomp_profile = None,
                ("seccomp", path) if !path.is_empty() => {
                    let profile = read_profile(Path::new(path))
                        .with_context(|| format!("seccomp profile {path}"))
                        .map_err(Failure::usage_chain)?;
                    parsed.seccomp_profile = Some(profile);
                }
                _ => {
                    return Err(Failure::usage(format_args!(
                        "invalid --security-opt '{option}'"
                    )));
                }
            }
        }
        Ok(parsed)
    }
}

fn read_profile(path: &Path) -> anyhow::Result<serde_json::Value> {
    let mut text = String::new();
    File::open(path)?
        .take(PROFILE_LIMIT + 1)
        .read_to_string(&mut text)?;
    if u64::try_from(text.len())? > PROFILE_LIMIT {
        bail!("larger than 4 MiB");
    }
    let profile: serde_json::Value = serde_json::from_str(&text)?;
    if profile
        .get("defaultAction")
        .and_then(serde_json::Value::as_str)
        .is_none()
    {
        bail!("it has no defaultAction");
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Result<SecurityOptions, Failure> {
        SecurityOptions::parse(
            &options
                .iter()
                .map(|&option| option.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn privileges() {
        assert!(parse(&["no-new-privileges"]).unwrap().no_new_privileges);
        assert!(
            parse(&["no-new-privileges:true"])
                .unwrap()
                .no_new_privileges
        );
        assert!(
            !parse(&["no-new-privileges", "no-new-privileges=false"])
                .unwrap()
                .no_new_privileges
        );
        for option in [
            "",
            "label=disable",
            "no-new-privileges=maybe",
            "seccomp",
            "seccomp=",
        ] {
            assert!(
                matches!(parse(&[option]), Err(Failure::Usage(_))),
                "{option}"
            );
        }
    }

    #[test]
    fn profiles_are_read_and_looked_at() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("p.json");
        let option = format!("seccomp={}", path.display());
        assert!(parse(&[&option]).is_err());
        std::fs::write(&path, "{}").unwrap();
        assert!(parse(&[&option]).is_err());
        std::fs::write(&path, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
        assert!(parse(&[&option]).unwrap().seccomp_profile.is_some());
        assert!(
            parse(&[&option, "seccomp=unconfined"])
                .unwrap()
                .seccomp_profile
                .is_none()
        );
    }
}
