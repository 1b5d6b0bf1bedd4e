use clap::{Args, ValueEnum};

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// With encryption.
    Https,
    /// Without encryption for this machine and private networks only.
    #[default]
    Auto,
}

/// How a registry is spoken to.
#[derive(Args, Clone, Debug, Default)]
pub struct SchemeFlags {
    /// Speak to the registry by this protocol; auto is http for this machine and private networks, else https
    #[arg(long, value_name = "SCHEME", value_enum, default_value_t)]
    scheme: Scheme,
}

impl SchemeFlags {
    /// As a request carries it.
    pub fn name(&self) -> String {
        match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Auto => "auto",
        }
        .to_owned()
    }
}

/// How an image is fetched.
#[derive(Args, Clone, Debug)]
pub struct DownloadFlags {
    /// Fetch at most so many blobs at once
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = at_least_one)]
    pub max_concurrent_downloads: u32,
}

fn at_least_one(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("maximum number of concurrent downloads must be greater than 0".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
