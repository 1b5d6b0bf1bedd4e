//! Domains under which the host finds containers. A network's process answers for them, and tells the host's resolver so.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use container_api::roots::{Roots, create_private};
use container_api::{Error, Kind};
use container_resource::dns_domain::{DnsDomain, MAX_DOMAINS, reserved};
use container_resource::{bundle, domain_name};

use super::Networks;

/// How long the host's resolver may take to say that it is there.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

impl Networks {
    /// The domains, by name.
    pub fn domains(&self) -> Vec<DnsDomain> {
        self.domains.borrow().clone()
    }

    /// Adds a domain.
    ///
    /// # Errors
    /// When it is there, or this host's resolver cannot be told of it.
    pub async fn create_domain(&self, mut domain: DnsDomain) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let name = domain_name::parse(&domain.domain).ok_or_else(|| {
            let text = format!("invalid domain '{}'", domain.domain);
            Error::new(Kind::InvalidArgument, text)
        })?;
        domain.domain = name.clone();
        reserved::check(&domain).map_err(|error| {
            let context = format_args!("domain '{name}' cannot be taken");
            Error::caused(Kind::InvalidArgument, error).context(context)
                .with_hint("`test` and `internal` are nobody's, and so is what is below a domain of your own.")
        })?;
        let mut domains = self.domains();
        if domains.iter().any(|present| present.domain == name) {
            return Err(Error::new(
                Kind::Exists,
                format!("domain already exists: {name}"),
            ));
        }
        if domains.len() >= MAX_DOMAINS {
            let text = format!("there are at most {MAX_DOMAINS} domains");
            return Err(Error::new(Kind::Exhausted, text));
        }
        may_be_told().await?;
        domains.push(domain.clone());
        domains.sort_by(|one, other| one.domain.cmp(&other.domain));
        let written = create_private(&directory(&self.roots))
            .and_then(|()| bundle::write_json(&file(&self.roots, &name), &domain));
        written.map_err(|error| {
            Error::caused(Kind::Internal, error).context(format_args!("create domain {name}"))
        })?;
        if let Err(problem) = self.tell_domains(domains).await {
            self.forget_domain(&name).await?;
            let text = format!("the host's resolver was not told of {name}: {problem}");
            return Err(Error::new(Kind::Unavailable, text));
        }
        Ok(())
    }

    /// Removes the domain `name`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn delete_domain(&self, name: &str) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let missing = || {
            Error::new(Kind::NotFound, format!("domain not found: {name}"))
                .with_hint("`container system dns list` shows all domains.")
        };
        let name = domain_name::parse(name).ok_or_else(missing)?;
        if !self.domains().iter().any(|domain| domain.domain == name) {
            return Err(missing());
        }
        self.forget_domain(&name).await
    }

    async fn forget_domain(&self, name: &str) -> Result<(), Error> {
        std::fs::remove_file(file(&self.roots, name)).map_err(|error| {
            Error::caused(Kind::Internal, error).context(format_args!("delete domain {name}"))
        })?;
        let mut domains = self.domains();
        domains.retain(|domain| domain.domain != name);
        if let Err(problem) = self.tell_domains(domains).await {
            tracing::warn!("domain {name}: {problem}");
        }
        Ok(())
    }

    /// Tells the networks that are served; others are told when they start. Gives the first problem.
    async fn tell_domains(&self, domains: Vec<DnsDomain>) -> Result<(), String> {
        self.domains.send_replace(domains);
        let networks: Vec<_> = self.entries().values().cloned().collect();
        let mut outcome = Ok(());
        for network in networks {
            if network.process.present().await.is_none() {
                continue;
            }
            if let Some(problem) = network.process.tell_domains().await {
                outcome = outcome.and(Err(problem));
            }
        }
        outcome
    }
}

/// The domains on disk.
///
/// # Errors
/// When their directory cannot be read.
pub(super) fn load(roots: &Roots) -> io::Result<Vec<DnsDomain>> {
    let mut domains = Vec::new();
    let entries = match std::fs::read_dir(directory(roots)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(domains),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match bundle::read_json::<DnsDomain>(&path) {
            Ok(domain) if domain_name::parse(&domain.domain).as_ref() == Some(&domain.domain) => {
                domains.push(domain);
            }
            Ok(_) => tracing::warn!("{}: it holds no domain", path.display()),
            Err(error) => tracing::warn!("{}: {error:#}", path.display()),
        }
    }
    domains.sort_by(|one, other| one.domain.cmp(&other.domain));
    domains.truncate(MAX_DOMAINS);
    Ok(domains)
}

fn directory(roots: &Roots) -> PathBuf {
    roots.app.join("dns")
}

fn file(roots: &Roots, name: &str) -> PathBuf {
    directory(roots).join(format!("{name}.json"))
}

/// Whether there is a resolver on this host that can be told of domains.
async fn may_be_told() -> Result<(), Error> {
    const ROOTS: &str = "Containers find each other by name without it, and the host reaches them by their addresses \
        (`container list`) and published ports.";
    const USERS: &str = "Containers find each other by name without it, and the host reaches them by published ports.";
    let unsupported = |text: String| Error::new(Kind::Unsupported, text);
    if !rustix::process::geteuid().is_root() {
        let text = "names of containers reach the host only where its networks are root's: those of a user are in a \
            namespace that the host does not reach";
        return Err(unsupported(text.to_owned()).with_hint(USERS));
    }
    let mut resolvectl = tokio::process::Command::new("resolvectl");
    resolvectl
        .arg("status")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let reason = match tokio::time::timeout(ANSWER_LIMIT, resolvectl.status()).await {
        Ok(Ok(status)) if status.success() => return Ok(()),
        Ok(Ok(_)) => "it does not run".to_owned(),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            "its program resolvectl is not there".to_owned()
        }
        Ok(Err(error)) => format!("resolvectl: {error}"),
        Err(_) => "it does not answer".to_owned(),
    };
    let text = format!(
        "names of containers reach the host through systemd-resolved, and on this host {reason}"
    );
    Err(unsupported(text).with_hint(ROOTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_read_and_what_is_none_is_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = Roots::new(scratch.path().into(), "/p".into(), None).unwrap();
        assert_eq!(load(&roots).unwrap(), []);
        create_private(&directory(&roots)).unwrap();
        let domain = |name: &str| DnsDomain {
            domain: name.to_owned(),
            localhost: None,
        };
        for name in ["test", "a.example"] {
            bundle::write_json(&file(&roots, name), &domain(name)).unwrap();
        }
        bundle::write_json(&file(&roots, "odd"), &domain("a b")).unwrap();
        std::fs::write(file(&roots, "damaged"), "{").unwrap();
        assert_eq!(load(&roots).unwrap(), [domain("a.example"), domain("test")]);
        assert!(file(&roots, "damaged").exists());
    }
}
