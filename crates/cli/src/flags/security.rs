use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use container_resource::switch;

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
    /// No path is masked or read-only.
    pub unconfined_paths: bool,
}

impl SecurityOptions {
    /// `no-new-privileges[=<switch>]`, `seccomp=<path>`, `seccomp=unconfined`, `systempaths=unconfined`, and what asks
    /// for no label and no profile, of which a container has none; a later one wins.
    pub fn parse(options: &[String]) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        for option in options {
            // Docker takes a colon as well.
            let (name, value) = match option.split_once(['=', ':']) {
                Some((name, value)) => (name, Some(value)),
                None => (option.as_str(), None),
            };
            let wrong = |why: &str| {
                Failure::usage(format_args!("invalid --security-opt '{option}': {why}"))
            };
            match (name, value) {
                ("no-new-privileges", value) => {
                    parsed.no_new_privileges = value
                        .map_or(Ok(true), switch::parse)
                        .map_err(|error| wrong(&error.to_string()))?;
                }
                ("seccomp", Some("unconfined")) => parsed.seccomp_profile = None,
                ("seccomp", Some(path)) if !path.is_empty() => {
                    let profile = read_profile(Path::new(path))
                        .with_context(|| {
                            format!("invalid --security-opt '{option}': seccomp profile {path}")
                        })
                        .map_err(Failure::usage_chain)?;
                    parsed.seccomp_profile = Some(profile);
                }
                ("seccomp", _) => {
                    return Err(wrong("the path of a profile, or unconfined, is expected"));
                }
                ("systempaths", Some("unconfined")) => parsed.unconfined_paths = true,
                ("systempaths", _) => return Err(wrong("unconfined is expected")),
                // The guest has no SELinux: nothing is labelled whatever is asked for.
                ("label", Some(value)) if !value.is_empty() => {}
                ("label", _) => return Err(wrong("disable, or a part of a label, is expected")),
                ("apparmor", Some("unconfined" | "")) => {}
                ("apparmor", _) => {
                    return Err(wrong(
                        "there are no AppArmor profiles: only unconfined is taken",
                    ));
                }
                _ => {
                    return Err(wrong(
                        "no-new-privileges, seccomp, systempaths, label or apparmor is expected",
                    ));
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
        for (options, expected) in [
            (vec!["no-new-privileges"], true),
            (vec!["no-new-privileges:true"], true),
            (vec!["no-new-privileges=1"], true),
            (vec!["no-new-privileges", "no-new-privileges=false"], false),
        ] {
            let parsed = parse(&options).unwrap();
            assert_eq!(parsed.no_new_privileges, expected, "{options:?}");
        }
    }

    #[test]
    fn what_a_container_has_not_may_be_waived() {
        for option in [
            "label=disable",
            "label:disable",
            "label=type:svirt_apache_t",
            "apparmor=unconfined",
            "apparmor:unconfined",
            "seccomp=unconfined",
        ] {
            let parsed = parse(&[option]).unwrap();
            assert!(parsed.seccomp_profile.is_none() && !parsed.unconfined_paths);
        }
        assert!(parse(&["systempaths=unconfined"]).unwrap().unconfined_paths);
    }

    #[test]
    fn mistakes_name_the_option() {
        for option in [
            "",
            "foo",
            "foo=bar",
            "label",
            "label=",
            "apparmor",
            "apparmor=docker-default",
            "systempaths",
            "systempaths=all",
            "no-new-privileges=maybe",
            "no-new-privileges=",
            "seccomp",
            "seccomp=",
            "seccomp=/no/such/profile",
        ] {
            let Err(Failure::Usage(text)) = parse(&[option]) else {
                panic!("{option}")
            };
            let expected = format!("invalid --security-opt '{option}': ");
            assert!(text.starts_with(&expected), "{text}");
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
