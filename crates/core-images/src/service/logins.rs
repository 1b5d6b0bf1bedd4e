//! Credentials of registries.

use container_api::images::{LoginRequest, LoginsReply, LogoutRequest};
use container_api::{Error, Kind};

use super::fault::Fault;
use crate::registry::{Registries, RegistryError};

/// Stores credentials that the registry takes.
pub(super) async fn login(registries: &Registries, request: &LoginRequest) -> Result<(), Error> {
    let scheme = request.scheme().into();
    if request.username.is_empty() || request.password.is_empty() || request.username.contains(':')
    {
        let text = "a user name without a colon and a password are needed";
        return Err(Error::new(Kind::InvalidArgument, text));
    }
    registries
        .check(
            &request.server,
            scheme,
            &request.username,
            &request.password,
        )
        .await
        .map_err(Fault::fault)?;
    registries
        .credentials()
        .store(&request.server, &request.username, &request.password)
        .await
        .map_err(|error| RegistryError::from(error).fault())
}

pub(super) async fn logout(registries: &Registries, request: &LogoutRequest) -> Result<(), Error> {
    match registries.credentials().erase(&request.server).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let text = format!("not logged in to {}", request.server);
            Err(Error::new(Kind::NotFound, text))
        }
        Err(error) => Err(RegistryError::from(error).fault()),
    }
}

pub(super) async fn list(registries: &Registries) -> Result<LoginsReply, Error> {
    let logins = registries.credentials().list().await;
    let logins = logins.map_err(|error| RegistryError::from(error).fault())?;
    let logins = serde_json::to_vec(&logins)
        .map_err(|error| Error::caused(Kind::Internal, error))?
        .into();
    Ok(LoginsReply { logins })
}
