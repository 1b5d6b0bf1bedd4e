//! `Secrets`: a step that mounts a secret gets its bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use tonic::{Request, Response, Status};

use super::Secret;

/// The largest secret, in bytes: BuildKit's own bound (`MaxSecretSize`).
const LIMIT: u64 = 500 << 10;

/// Secrets by id.
pub struct Secrets {
    secrets: HashMap<String, Secret>,
}

impl Secrets {
    /// Those that the build names.
    pub fn new(secrets: HashMap<String, Secret>) -> Self {
        Self { secrets }
    }
}

#[tonic::async_trait]
impl secrets_server::Secrets for Secrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let secret = self.secrets.get(&id);
        let secret = secret.ok_or_else(|| Status::not_found(format!("secret {id} not found")))?;
        let failed = |words: String| Status::failed_precondition(format!("secret {id}: {words}"));
        let data = match secret {
            Secret::Value(value) => value.clone(),
            Secret::File(path) => {
                let mut data = Vec::new();
                File::open(path)
                    .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut data))
                    .map_err(|error| failed(format!("{}: {error}", path.display())))?;
                data
            }
        };
        if data.len() as u64 > LIMIT {
            return Err(failed(format!("it has more than {LIMIT} bytes")));
        }
        Ok(Response::new(GetSecretResponse { data }))
    }
}
