use clap::{Args, ValueEnum};
use container_api::images;

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// With encryption.
    Https,
}

/// How a registry is spoken to.
#[derive(Args, Clone, Debug, Default)]
pub struct SchemeFlags {
    /// Protocol of the registry (default: https; http for a registry without TLS that is on this host, or that the configuration lists as
    /// insecure)
    #[arg(long, value_name = "SCHEME", value_enum)]
    scheme: Option<Scheme>,
}

impl SchemeFlags {
    /// As a request carries it.
    pub fn wire(&self) -> i32 {
        let scheme = match self.scheme {
            None => images::Scheme::Default,
            Some(Scheme::Http) => images::Scheme::Http,
            Some(Scheme::Https) => images::Scheme::Https,
        };
        scheme.into()
    }
}

/// How an image is fetched.
#[derive(Args, Clone, Debug)]
pub struct DownloadFlags {
    /// Largest number of blobs to fetch at once
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = at_least_one)]
    pub max_concurrent_downloads: u32,
}

impl Default for DownloadFlags {
    fn default() -> Self {
        Self {
            max_concurrent_downloads: 3,
        }
    }
}

fn at_least_one(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("maximum number of concurrent downloads must be greater than 0".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
