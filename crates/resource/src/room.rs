//! The number of devices that a container's machine has room for.

use std::collections::BTreeSet;

use crate::container::{ContainerConfiguration, Mount};
use crate::share::{self, ServedError};

/// Networks and shares that a machine has room for beside its disks, of which there may be more (`ROOM` of the engine). A guest
/// that boots from an image of its own takes the place of one.
pub const MOST: usize = 4;
/// Most disks of a machine (`MAX_DISKS` of the engine). The image and the writable layer are two of them.
pub const MOST_DISKS: usize = 64;

/// A container of which no machine can be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// Its bind mounts cannot be served.
    #[error(transparent)]
    Shares(#[from] ServedError),
    /// It asks for more than there is room for.
    #[error(
        "a container has at most {most} networks, and one less for each kind of `idmap` among its bind mounts: \
         {networks} networks and {shares} kinds are asked for"
    )]
    Full {
        /// Networks.
        networks: usize,
        /// Shares: one for all bind mounts with the same map of owners.
        shares: usize,
        /// Most of both.
        most: usize,
    },
    /// It asks for more volumes than a machine has disks for.
    #[error("a container has at most {most} volumes: {volumes} are asked for")]
    Volumes {
        /// Different ones.
        volumes: usize,
        /// Most of them.
        most: usize,
    },
}

/// # Errors
/// When the machine of `configuration` has no room for its networks and mounts.
pub fn check(configuration: &ContainerConfiguration) -> Result<(), RoomError> {
    let networks = configuration.networks.len();
    let shares = share::served(&configuration.mounts)?.len();
    let has_init_image = usize::from(configuration.init_image.is_some());
    let most = MOST - has_init_image;
    if networks + shares > most {
        return Err(RoomError::Full {
            networks,
            shares,
            most,
        });
    }
    let volumes = volumes(&configuration.mounts);
    let most = MOST_DISKS - 2 - has_init_image;
    if volumes > most {
        return Err(RoomError::Volumes { volumes, most });
    }
    Ok(())
}

/// How many different volumes `mounts` are: each anonymous one is another.
fn volumes(mounts: &[Mount]) -> usize {
    let names = || mounts.iter().filter_map(Mount::volume);
    let named: BTreeSet<_> = names().filter(|name| !name.is_empty()).collect();
    named.len() + names().filter(|name| name.is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{CacheMode, MountKind, SyncMode};

    #[test]
    fn networks_and_shares_share_the_room() {
        let share = |destination: &str, map: &str| Mount {
            kind: MountKind::Virtiofs {},
            source: "/a".into(),
            destination: destination.into(),
            options: (!map.is_empty())
                .then(|| format!("idmap={map}"))
                .into_iter()
                .collect(),
        };
        let mut configuration: ContainerConfiguration = serde_json::from_value(serde_json::json!({
            "id": "a",
            "image": {"reference": "r", "descriptor": {"mediaType": "m", "digest": "d", "size": 1}},
            "initProcess": {"executable": "sh", "arguments": [], "environment": [], "workingDirectory": "/",
                            "terminal": false, "user": {"id": {"uid": 0, "gid": 0}}},
            "platform": {"os": "linux", "architecture": "amd64"},
            "resources": {"cpus": 1, "memoryInBytes": 1},
            "runtimeHandler": "r",
            "creationDate": "2026-01-01T00:00:00Z"
        }))
        .unwrap();
        configuration.mounts = (0..40).map(|n| share(&format!("/{n}"), "")).collect();
        assert_eq!(check(&configuration), Ok(()));
        for n in 0..3 {
            let map = format!("uids=0-{n}-1;gids=0-{n}-1");
            configuration.mounts.push(share(&format!("/m{n}"), &map));
        }
        assert_eq!(check(&configuration), Ok(()));
        let map = "uids=0-9-1;gids=0-9-1";
        configuration.mounts.push(share("/more", map));
        let error = check(&configuration).unwrap_err();
        let full = RoomError::Full {
            networks: 0,
            shares: 5,
            most: MOST,
        };
        assert_eq!(error, full);

        let volume = |name: String| Mount {
            kind: MountKind::Volume {
                name,
                format: String::new(),
                anonymous: false,
                cache: CacheMode::default(),
                sync: SyncMode::default(),
            },
            ..share("/v", "")
        };
        configuration.mounts = (0..61).map(|n| volume(format!("v{n}"))).collect();
        configuration
            .mounts
            .extend([volume("v0".into()), volume(String::new())]);
        assert_eq!(check(&configuration), Ok(()));
        configuration.mounts.push(volume(String::new()));
        let error = check(&configuration).unwrap_err().to_string();
        assert_eq!(
            error,
            "a container has at most 62 volumes: 63 are asked for"
        );
    }
}
