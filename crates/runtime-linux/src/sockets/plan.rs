//! Which sockets a container has, each with its number.

use container_api::guest_paths;
use container_resource::bundle::Boot;
use container_resource::container::{ContainerConfiguration, Mount, MountKind};

use super::protocol::{Request, Target};

/// Where a container finds the client's SSH agent: Apple's path.
pub const AGENT: &str = "/var/host-services/ssh-auth.sock";

/// What the keeper is to do.
pub fn request(configuration: &ContainerConfiguration, boot: &Boot) -> Request {
    let mounted = sockets(configuration).map(|mount| Target::Mounted {
        path: (&mount.source).into(),
    });
    let agent = configuration.ssh.then(|| Target::Agent {
        path: boot.ssh_agent.clone(),
    });
    Request {
        published: configuration.published_sockets.clone(),
        targets: mounted.chain(agent).collect(),
        ports: configuration.host_network,
    }
}

/// Where the guest has the socket that `mount`, which is one, shows to the container.
pub fn source(configuration: &ContainerConfiguration, mount: &Mount) -> String {
    let number = sockets(configuration).position(|known| std::ptr::eq(known, mount));
    guest_paths::socket(number.unwrap_or_default())
}

/// Where the guest has the socket that leads to the SSH agent, if the container has one.
pub fn agent_source(configuration: &ContainerConfiguration) -> Option<String> {
    configuration
        .ssh
        .then(|| guest_paths::socket(sockets(configuration).count()))
}

/// Those of the host that are mounted, in the order of the flags.
fn sockets(configuration: &ContainerConfiguration) -> impl Iterator<Item = &Mount> {
    let mounts = configuration.mounts.iter();
    mounts.filter(|mount| matches!(mount.kind, MountKind::Socket {}))
}

#[cfg(test)]
mod tests {
    use container_resource::bind;

    use super::*;

    #[test]
    fn sockets_are_numbered_and_the_agent_is_the_last() {
        let mut configuration = crate::oci::tests::configuration();
        for path in ["/a", "/b", "/c"] {
            let mut mount = bind::mount(path, path, []).unwrap();
            if path != "/b" {
                mount.kind = MountKind::Socket {};
            }
            configuration.mounts.push(mount);
        }
        assert_eq!(agent_source(&configuration), None);
        configuration.ssh = true;
        let places: Vec<_> = [0, 2]
            .map(|index| source(&configuration, &configuration.mounts[index]))
            .into();
        assert_eq!(places, ["/run/sockets/0", "/run/sockets/1"]);
        assert_eq!(
            agent_source(&configuration).as_deref(),
            Some("/run/sockets/2")
        );
    }
}
