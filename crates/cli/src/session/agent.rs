use std::path::PathBuf;

/// Where this client has its SSH agent, as a request tells it: an absolute path, or nothing.
pub fn ssh_agent() -> String {
    let path = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    let absolute = path.and_then(|path| std::path::absolute(PathBuf::from(path)).ok());
    let text = absolute.and_then(|path| path.into_os_string().into_string().ok());
    text.unwrap_or_default()
}
