//! The SSH agent of a container that asked for one.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Why a container that asked for an SSH agent finds nobody at `agent`. It starts all the same: a policy starts it when nobody is
/// logged in, too, and an agent that comes later is found.
pub fn without_agent(id: &str, agent: Option<&Path>) -> Option<String> {
    let is_socket = |path: &Path| {
        let found = std::fs::metadata(path);
        found.is_ok_and(|found| found.file_type().is_socket())
    };
    match agent {
        None => Some(format!(
            "container {id} has no SSH agent: SSH_AUTH_SOCK is not set (start one with `eval $(ssh-agent)`)"
        )),
        Some(path) if !is_socket(path) => Some(format!(
            "container {id} has no SSH agent: nothing listens at {}, which SSH_AUTH_SOCK names",
            path.display()
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_not_there_is_told_of() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("agent");
        let told = |agent| without_agent("web", agent).unwrap_or_default();
        assert!(told(None).contains("SSH_AUTH_SOCK is not set"));
        assert!(told(Some(&path)).contains("nothing listens at"));
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(told(Some(&path)), "");
    }
}
