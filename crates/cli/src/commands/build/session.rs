//! Things that steps may ask the client for, beside files: secrets and SSH agents.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Args;
use container_buildkit::{Agent, Secret, Sources};

use super::keys::{self, KeyAgent};
use super::pairs;
use crate::failure::Failure;

/// Secrets and agents.
#[derive(Args, Clone, Debug)]
pub struct SessionFlags {
    /// Secret that steps can mount: id=<id>[,env=<variable>|,src=<path>] (default: the environment variable of that name)
    #[arg(long = "secret", value_name = "SECRET", value_parser = secret)]
    secrets: Vec<SecretWords>,

    /// SSH agent or keys that steps can mount: default, or <id>=<path>, which is an agent's socket, or private keys separated by commas
    #[arg(long = "ssh", value_name = "AGENT", num_args = 0..=1, default_missing_value = "default")]
    agents: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SecretWords {
    id: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Variable(String),
    File(PathBuf),
}

fn secret(text: &str) -> Result<SecretWords, String> {
    let (mut id, mut kind, mut source, mut variable) = (None, None, None, None);
    for (key, value) in pairs::parse(text)? {
        let value = value.ok_or_else(|| format!("'{key}' is no <key>=<value>"))?;
        match key.as_str() {
            "id" => id = Some(value),
            "type" => kind = Some(value),
            "src" | "source" => source = Some(value),
            "env" => variable = Some(value),
            other => {
                return Err(format!(
                    "unknown key '{other}': id, type, src and env are known"
                ));
            }
        }
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or("id=<id> is expected")?;
    let place = match (kind.as_deref(), source, variable) {
        (_, Some(_), Some(_)) => return Err("src and env exclude each other".to_owned()),
        (Some("env"), source, variable) => {
            Place::Variable(variable.or(source).unwrap_or_else(|| id.clone()))
        }
        (None | Some("file"), Some(source), None) => Place::File(source.into()),
        (None, None, variable) => Place::Variable(variable.unwrap_or_else(|| id.clone())),
        (Some("file"), None, _) => return Err("src=<path> is expected".to_owned()),
        (Some(other), _, _) => {
            return Err(format!("unknown type '{other}': file and env are known"));
        }
    };
    Ok(SecretWords { id, place })
}

impl SessionFlags {
    /// Looks them up: what is not there is told before anything is built. Agents that hold keys end with what is given beside.
    pub async fn sources(&self) -> Result<(Sources, Vec<KeyAgent>), Failure> {
        let mut secrets = HashMap::new();
        for SecretWords { id, place } in &self.secrets {
            let secret = match place {
                Place::Variable(name) => {
                    let value = std::env::var_os(name);
                    let value =
                        value.ok_or_else(|| anyhow!("secret {id}: there is no variable {name}"))?;
                    Secret::Value(value.into_encoded_bytes())
                }
                Place::File(path) => {
                    let found = std::fs::metadata(path);
                    let found =
                        found.with_context(|| format!("secret {id}: {}", path.display()))?;
                    if !found.is_file() {
                        return Err(anyhow!("secret {id}: {} is no file", path.display()).into());
                    }
                    Secret::File(path.clone())
                }
            };
            secrets.insert(id.clone(), secret);
        }
        let mut agents = HashMap::new();
        let mut holders = Vec::new();
        for text in &self.agents {
            let (id, paths) = text.split_once('=').unwrap_or((text, ""));
            let mut paths: Vec<PathBuf> = paths
                .split(',')
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
                .collect();
            if paths.is_empty() {
                let own = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
                let own = own.ok_or_else(|| anyhow!("--ssh {text}: SSH_AUTH_SOCK is not set"))?;
                paths.push(own.into());
            }
            let failed = || format!("--ssh {text}");
            let mut sockets = 0;
            for path in &paths {
                let found = std::fs::metadata(path).with_context(failed)?;
                sockets += u32::from(std::os::unix::fs::FileTypeExt::is_socket(
                    &found.file_type(),
                ));
            }
            let socket = match (sockets, paths.as_slice()) {
                (1, [socket]) => socket.clone(),
                (0, keys) => {
                    let holder = keys::hold(keys).await.with_context(failed)?;
                    let socket = holder.socket.clone();
                    holders.push(holder);
                    socket
                }
                _ => {
                    let text = format!("--ssh {text}: one agent, or keys, are expected");
                    return Err(Failure::usage(text));
                }
            };
            agents.insert(id.to_owned(), Agent::Socket(socket));
        }
        let sources = Sources {
            secrets,
            agents,
            ..Sources::default()
        };
        Ok((sources, holders))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets() {
        let variable = |name: &str| Place::Variable(name.to_owned());
        for (text, place) in [
            ("id=a", variable("a")),
            ("id=a,env=B", variable("B")),
            ("id=a,type=env,src=B", variable("B")),
            ("id=a,src=/x", Place::File("/x".into())),
            ("type=file,source=x,id=a", Place::File("x".into())),
        ] {
            let words = secret(text).unwrap();
            assert_eq!((words.id.as_str(), words.place), ("a", place), "{text}");
        }
        for text in [
            "",
            "src=x",
            "id=",
            "id=a,src=x,env=B",
            "id=a,type=file",
            "id=a,x=y",
            "id",
        ] {
            assert!(secret(text).is_err(), "{text}");
        }
    }
}
