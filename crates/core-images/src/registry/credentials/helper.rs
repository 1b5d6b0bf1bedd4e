//! Docker's credential helpers: programs that are asked through their standard streams
//! (docker-credential-helpers, "Development").

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{CredentialError, Credentials};

/// How long a helper may take; it may ask its user.
const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ANSWER: u64 = 1 << 20;
/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-<name>` for `server`; `None` when it knows none.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credentials>, CredentialError> {
    let fail = |reason: &str| CredentialError::Helper {
        name: name.into(),
        reason: reason.into(),
    };
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_safe) {
        return Err(fail("that is no name of a helper"));
    }
    let asked = tokio::time::timeout(TIMEOUT, ask(name, server)).await;
    let (success, answer) = asked
        .map_err(|_| fail("it does not answer"))?
        .map_err(|error| fail(&error.to_string()))?;
    if !success {
        // Its text is not shown: it may hold a secret. "Not found" is the usual reason.
        return Ok(None);
    }
    let answer: Answer =
        serde_json::from_slice(&answer).map_err(|_| fail("its answer is malformed"))?;
    Ok(Some(if answer.username == TOKEN_USER {
        Credentials::IdentityToken(answer.secret)
    } else {
        Credentials::Password {
            username: answer.username,
            password: answer.secret,
        }
    }))
}

async fn ask(name: &str, server: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).await?;
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    }
    Ok((child.wait().await?.success(), answer))
}
