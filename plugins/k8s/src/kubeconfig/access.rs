//! The credentials of a cluster, from its node's `admin.conf`.
//!
//! The node is hostile: a kubeconfig may name programs that kubectl runs (`exec`), so nothing is taken over but three texts of base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Certificates and a key, in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who vouches for the cluster.
    pub authority: String,
    /// Who the client is.
    pub certificate: String,
    /// The client's key.
    pub key: String,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The node gave something else.
    #[error("the node's admin.conf cannot be read: {0}")]
    Yaml(String),
    /// Something is missing, or is no base64.
    #[error("the node's admin.conf has no {0}")]
    Field(&'static str),
}

impl Access {
    /// The credentials of an `admin.conf`.
    ///
    /// # Errors
    /// When it has not all of it.
    pub fn parse(text: &str) -> Result<Self, AccessError> {
        let config: Value =
            serde_saphyr::from_str(text).map_err(|error| AccessError::Yaml(error.to_string()))?;
        let field = |list: &str, entry: &str, name: &'static str| {
            let text = config[list][0][entry][name].as_str();
            let text = text.filter(|text| !text.is_empty() && STANDARD.decode(text).is_ok());
            text.map(str::to_owned).ok_or(AccessError::Field(name))
        };
        Ok(Self {
            authority: field("clusters", "cluster", "certificate-authority-data")?,
            certificate: field("users", "user", "client-certificate-data")?,
            key: field("users", "user", "client-key-data")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As kubeadm writes it.
    const ADMIN: &str = "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: YXV0aA==
    server: https://10.0.0.2:6443
  name: dev
contexts:
- context:
    cluster: dev
    user: kubernetes-admin
  name: kubernetes-admin@dev
current-context: kubernetes-admin@dev
kind: Config
preferences: {}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: Y2VydA==
    client-key-data: a2V5
";

    #[test]
    fn three_texts_are_taken() {
        let expected = Access {
            authority: "YXV0aA==".into(),
            certificate: "Y2VydA==".into(),
            key: "a2V5".into(),
        };
        assert_eq!(Access::parse(ADMIN), Ok(expected.clone()));
        // A program that kubectl would run stays behind.
        let hostile = ADMIN.replace("  user:\n", "  user:\n    exec: {command: /bin/evil}\n");
        assert_eq!(Access::parse(&hostile), Ok(expected));
        let no_key = ADMIN.replace("a2V5", "no base64!");
        assert_eq!(
            Access::parse(&no_key),
            Err(AccessError::Field("client-key-data"))
        );
        for text in ["", "[", "a: b", "- 1"] {
            assert!(Access::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_node_says_is_an_access_or_an_error(text in ".{0,200}") {
            if let Ok(access) = Access::parse(&text) {
                prop_assert!(STANDARD.decode(access.key).is_ok());
            }
        }
    }
}
