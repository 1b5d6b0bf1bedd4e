//! Private keys for steps: an agent of OpenSSH's that has them for the time of a build.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// Runs inside of the agent, which ends with it: with this process, whose end closes standard input.
const SCRIPT: &str =
    "ssh-add -q -- \"$@\" </dev/null && printf '%s\\n' \"$SSH_AUTH_SOCK\" && exec cat >/dev/null";
/// Bytes of what goes wrong that are told.
const WORDS: u64 = 4096;

/// The agent. It ends when this is dropped.
#[derive(Debug)]
pub struct KeyAgent {
    /// Its socket.
    pub socket: PathBuf,
    _child: Child,
    _input: Option<ChildStdin>,
}

/// Starts an agent that has `keys`.
///
/// # Errors
/// When OpenSSH is not there, or a file is no key, or its passphrase is not given.
pub async fn hold(keys: &[PathBuf]) -> anyhow::Result<KeyAgent> {
    let mut child = Command::new("ssh-agent")
        .args(["sh", "-c", SCRIPT, "sh"])
        .args(keys.iter().map(|key| absolute(key)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("ssh-agent, which holds keys during a build (package openssh-client)")?;
    let input = child.stdin.take();
    let output = child.stdout.take().context("ssh-agent")?;
    let errors = child.stderr.take().context("ssh-agent")?;
    let mut line = String::new();
    BufReader::new(output)
        .read_line(&mut line)
        .await
        .context("ssh-agent")?;
    let socket = line.trim_end_matches('\n');
    if socket.is_empty() {
        let mut words = String::new();
        let _ = errors.take(WORDS).read_to_string(&mut words).await;
        return Err(anyhow!(words.trim().to_owned()));
    }
    Ok(KeyAgent {
        socket: socket.into(),
        _child: child,
        _input: input,
    })
}

/// A name that is no option.
fn absolute(key: &Path) -> PathBuf {
    std::path::absolute(key).unwrap_or_else(|_| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> std::process::Output {
        std::process::Command::new("sh")
            .args(["-c", line])
            .output()
            .unwrap()
    }

    #[tokio::test]
    async fn an_agent_has_the_keys() {
        if !run("command -v ssh-agent ssh-keygen").status.success() {
            eprintln!("there is no OpenSSH: not tested");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let key = place.path().join("key");
        let made = run(&format!(
            "ssh-keygen -q -t ed25519 -N '' -f {}",
            key.display()
        ));
        assert!(made.status.success(), "{made:?}");
        let agent = hold(std::slice::from_ref(&key)).await.unwrap();
        let list = run(&format!(
            "SSH_AUTH_SOCK={} ssh-add -l",
            agent.socket.display()
        ));
        let list = String::from_utf8(list.stdout).unwrap();
        assert!(list.contains("ED25519"), "{list}");
        std::fs::write(&key, "no key").unwrap();
        assert!(hold(&[key]).await.is_err());
    }
}
