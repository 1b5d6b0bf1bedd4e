//! Whether TLS is used for a registry.

use std::sync::Arc;
use std::time::Duration;

use container_api::images as wire;
use container_resource::insecure;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::is_loopback;

/// How long a host may take to be connected to, and then to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// First byte of a TLS record: a handshake, an alert (RFC 8446 section 5.1).
const RECORDS: [u8; 2] = [22, 21];

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// With TLS; without it where a registry on this machine, or one that the configuration lists, speaks none.
    #[default]
    Default,
    /// Without encryption.
    Http,
    /// With TLS.
    Https,
}

/// As it comes over the wire.
impl From<wire::Scheme> for Scheme {
    fn from(scheme: wire::Scheme) -> Self {
        match scheme {
            wire::Scheme::Default => Self::Default,
            wire::Scheme::Http => Self::Http,
            wire::Scheme::Https => Self::Https,
        }
    }
}

impl Scheme {
    /// `http` or `https` for the registry `domain`; `listed` are those that may go without TLS.
    pub(super) async fn of(self, domain: &str, listed: &[String]) -> &'static str {
        let is_plain = match self {
            Self::Http => true,
            Self::Https => false,
            Self::Default => may_be_plain(domain, listed) && !speaks_tls(domain, PATIENCE).await,
        };
        if is_plain { "http" } else { "https" }
    }
}

fn may_be_plain(domain: &str, listed: &[String]) -> bool {
    is_loopback(insecure::host(domain))
        || insecure::lists(listed.iter().map(String::as_str), domain)
}

/// Whether TLS is spoken at a registry's address. One that takes the connection and says nothing is taken to.
async fn speaks_tls(domain: &str, patience: Duration) -> bool {
    let host = insecure::host(domain);
    let port = domain
        .rsplit_once(':')
        .filter(|(before, _)| !before.contains(':') || before.ends_with(']'))
        .and_then(|(_, port)| port.parse().ok())
        .unwrap_or(443);
    let connected = tokio::time::timeout(patience, TcpStream::connect((host, port)));
    let (Ok(Ok(mut stream)), Some(hello)) = (connected.await, hello(host)) else {
        return false;
    };
    let answer = async {
        stream.write_all(&hello).await?;
        stream.read_u8().await
    };
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(first)) => RECORDS.contains(&first),
        Ok(Err(_)) => false,
        Err(_) => true,
    }
}

/// What a TLS client says first. The empty lines behind it end what a server without TLS takes for a request, so that
/// it answers at once.
fn hello(host: &str) -> Option<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).ok()?;
    bytes.extend_from_slice(b"\r\n\r\n");
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_near_and_listed_registries_may_be_plain() {
        let listed = ["10.0.0.0/8".to_owned(), "listed.example".to_owned()];
        for (domain, may) in [
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("10.1.2.3", true),
            ("listed.example:80", true),
            ("192.168.1.1:80", false),
            ("172.16.0.1", false),
            ("docker.io", false),
            ("localhost.example.com", false),
        ] {
            assert_eq!(may_be_plain(domain, &listed), may, "{domain}");
        }
    }

    /// The address of a server that answers with these bytes, if it answers.
    async fn server(answer: Option<&'static [u8]>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let domain = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            match answer {
                Some(answer) => stream.write_all(answer).await.unwrap(),
                None => tokio::time::sleep(Duration::from_secs(60)).await,
            }
        });
        domain
    }

    #[tokio::test]
    async fn tls_is_spoken_where_it_can_be() {
        let chosen = async |answer: &'static [u8]| {
            let domain = server(Some(answer)).await;
            Scheme::Default.of(&domain, &[]).await
        };
        assert_eq!(chosen(&[22, 3, 3]).await, "https");
        assert_eq!(chosen(&[21, 3, 3]).await, "https");
        assert_eq!(chosen(b"HTTP/1.0 400 Bad Request").await, "http");
        assert_eq!(chosen(b"").await, "http");
        // No listener: the request itself fails.
        assert_eq!(Scheme::Default.of("127.0.0.1:1", &[]).await, "http");
        assert_eq!(Scheme::Https.of("127.0.0.1:1", &[]).await, "https");
        assert_eq!(Scheme::Http.of("docker.io", &[]).await, "http");
        assert_eq!(Scheme::Default.of("docker.io", &[]).await, "https");
    }

    #[tokio::test]
    async fn silence_is_no_reason_to_go_without_tls() {
        let domain = server(None).await;
        assert!(speaks_tls(&domain, Duration::from_millis(50)).await);
    }
}
