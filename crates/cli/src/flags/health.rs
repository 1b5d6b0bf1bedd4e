use std::time::Duration;

use clap::Args;
use container_resource::health::{HealthOptions, parse_time};

use crate::failure::Failure;

/// How a container's health is checked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Health options")]
pub struct HealthFlags {
    /// Command line for the container's shell, which succeeds while the container is healthy
    #[arg(long, value_name = "LINE")]
    health_cmd: Option<String>,

    /// Time between checks (default: the image's, else 30s)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    health_interval: Option<Duration>,

    /// Failures in a row that make the container unhealthy (default: the image's, else 3)
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=1000))]
    health_retries: Option<u32>,

    /// Time after the start in which failures do not count (default: the image's, else none)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    health_start_period: Option<Duration>,

    /// Longest time that a check may take (default: the image's, else 30s)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    health_timeout: Option<Duration>,

    /// Do not run health checks, even if the image defines one
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    /// What they say. A time or number of 0 says nothing.
    pub fn options(&self) -> Result<HealthOptions, Failure> {
        if self.no_healthcheck && self.health_cmd.is_some() {
            return Err(Failure::usage(
                "--no-healthcheck conflicts with --health-cmd",
            ));
        }
        Ok(HealthOptions {
            disabled: self.no_healthcheck,
            command: self.health_cmd.clone().filter(|line| !line.is_empty()),
            interval: self.health_interval,
            timeout: self.health_timeout,
            start_period: self.health_start_period,
            retries: self.health_retries,
        })
    }
}
