//! A port of the host that leads into a container.

use std::net::IpAddr;

use container_api::network;
use serde::{Deserialize, Serialize};

/// A published port; the host's is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Address of the host; none: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_address: Option<IpAddr>,
    /// Port of the host; 0 in what is asked for: a free one.
    pub host_port: u16,
    /// Port of the container, never 0.
    pub container_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// A port as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The port.
    pub port: Published,
    /// Another free one, up to this, is as good; at least the port's own.
    pub last: u16,
}

impl From<Published> for Wanted {
    fn from(port: Published) -> Self {
        Self {
            port,
            last: port.host_port,
        }
    }
}

/// What is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Why a request's port is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not an address.
    #[error("invalid address '{0}' of a published port")]
    Address(String),
    /// Not a port.
    #[error("invalid port {0}: 1 to 65535 is expected")]
    Port(u32),
    /// The end before the beginning.
    #[error("invalid ports {0}-{1}: they end before they begin")]
    Range(u16, u32),
}

impl Wanted {
    /// Of a request's.
    ///
    /// # Errors
    /// When an address or a port is invalid.
    pub fn parse(port: &network::Port) -> Result<Self, PortError> {
        let published = Published::parse(port)?;
        let first = published.host_port;
        if port.last_host_port == 0 {
            return Ok(published.into());
        }
        let last = u16::try_from(port.last_host_port).ok();
        let last = last.filter(|last| first != 0 && *last >= first);
        Ok(Self {
            port: published,
            last: last.ok_or(PortError::Range(first, port.last_host_port))?,
        })
    }
}

impl Protocol {
    /// Its name in rules and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// For an answer.
    pub const fn message(self) -> network::Protocol {
        match self {
            Self::Tcp => network::Protocol::Tcp,
            Self::Udp => network::Protocol::Udp,
        }
    }
}

impl Published {
    /// Of a request's.
    ///
    /// # Errors
    /// When an address or a port is invalid.
    pub fn parse(port: &network::Port) -> Result<Self, PortError> {
        let host_address = match port.host_address.as_str() {
            "" => None,
            text => match text.parse() {
                // Both families' "every address" means the same as none given would, for that family alone.
                Ok(address) => Some(address),
                Err(_) => return Err(PortError::Address(text.to_owned())),
            },
        };
        let number = |number: u32| u16::try_from(number).map_err(|_| PortError::Port(number));
        let container_port = number(port.container_port)?;
        if container_port == 0 {
            return Err(PortError::Port(0));
        }
        Ok(Self {
            host_address,
            host_port: number(port.host_port)?,
            container_port,
            protocol: match port.protocol() {
                network::Protocol::Tcp => Protocol::Tcp,
                network::Protocol::Udp => Protocol::Udp,
            },
        })
    }

    /// For an answer.
    pub fn message(&self) -> network::Port {
        network::Port {
            host_address: self
                .host_address
                .map_or_else(String::new, |address| address.to_string()),
            host_port: self.host_port.into(),
            container_port: self.container_port.into(),
            protocol: self.protocol.message().into(),
            last_host_port: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked_and_answered_alike() {
        let port = |host_address: &str, host_port, container_port| network::Port {
            host_address: host_address.into(),
            host_port,
            container_port,
            protocol: network::Protocol::Udp.into(),
            last_host_port: 0,
        };
        for good in [port("", 0, 1), port("::1", 65535, 65535)] {
            assert_eq!(Published::parse(&good).unwrap().message(), good);
        }
        for bad in [
            port("x", 1, 1),
            port("", 65536, 1),
            port("", 1, 0),
            port("", 1, 65536),
        ] {
            assert!(Published::parse(&bad).is_err(), "{bad:?}");
        }
        let choice = |first, last| {
            Wanted::parse(&network::Port {
                last_host_port: last,
                ..port("", first, 80)
            })
        };
        assert_eq!(choice(9000, 9002).unwrap().last, 9002);
        assert_eq!(choice(9000, 0).unwrap().last, 9000);
        for (first, last) in [(9000, 8999), (0, 9000), (9000, 65536)] {
            assert!(choice(first, last).is_err(), "{first}-{last}");
        }
    }
}
