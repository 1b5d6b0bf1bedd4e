use clap::Args;
use container_api::images::LogoutRequest;

use crate::connection::Context;
use crate::failure::Failure;

/// Forget the credentials for a registry
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container registry logout registry.example")]
pub struct Logout {
    /// Host name of the registry, with its port
    #[arg(value_name = "SERVER")]
    server: String,
}

impl Logout {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        context
            .images()
            .await?
            .logout(LogoutRequest {
                server: self.server,
            })
            .await?;
        Ok(())
    }
}
