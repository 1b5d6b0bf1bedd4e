use std::net::Ipv4Addr;

use clap::{Args, Subcommand};
use container_api::api::{CreateDomainRequest, DeleteDomainRequest, ListDomainsRequest};
use container_resource::dns;
use container_resource::dns_domain::DnsDomain;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};
use crate::select;

/// Manage domains under which the host finds containers by name
#[derive(Debug, Subcommand)]
pub enum Command {
    Create(Create),
    #[command(visible_alias = "rm")]
    Delete(Delete),
    #[command(visible_alias = "ls")]
    List(List),
}

/// Make containers known to the host as NAME.DOMAIN
///
/// The host's systemd-resolved is told to ask the networks for names below the domain, so it has to run, and the services have to be
/// root's. In containers such names are known as well. Prints the domain.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system dns create test
  container system dns create db.test --localhost 203.0.113.113")]
pub struct Create {
    /// Domain
    #[arg(value_parser = domain)]
    domain: String,

    /// The domain is a name of the host's loopback
    ///
    /// Containers reach services on the host's 127.0.0.1 by it, as by host.container.internal, and so does the host. The address
    /// is kept for Apple's tool, which needs one; nothing is sent to it here.
    #[arg(long, value_name = "ADDRESS")]
    localhost: Option<Ipv4Addr>,
}

/// Delete domains
///
/// Prints the domains.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system dns delete test")]
pub struct Delete {
    /// Domains
    #[arg(value_name = "DOMAIN", required = true)]
    domains: Vec<String>,
}

/// List domains
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system dns list")]
pub struct List {
    #[command(flatten)]
    format: FormatFlags,

    /// Domains only
    #[arg(short, long)]
    quiet: bool,
}

impl Command {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Create(command) => command.execute(context).await,
            Self::Delete(command) => command.execute(context).await,
            Self::List(command) => command.execute(context).await,
        }
    }
}

impl Create {
    async fn execute(self, context: &Context) -> Result<(), Failure> {
        let domain = DnsDomain {
            domain: self.domain,
            localhost: self.localhost,
        };
        let request = CreateDomainRequest {
            domain: serde_json::to_vec(&domain)?.into(),
        };
        context.networks()?.create_domain(request).await?;
        output::write_lines([domain.domain])
    }
}

impl Delete {
    async fn execute(self, context: &Context) -> Result<(), Failure> {
        let networks = context.networks()?;
        select::for_each(self.domains, |domain| {
            let mut networks = networks.clone();
            async move {
                let request = DeleteDomainRequest { domain };
                Ok(networks.delete_domain(request).await.map(drop)?)
            }
        })
        .await
    }
}

impl List {
    async fn execute(self, context: &Context) -> Result<(), Failure> {
        let reply = context
            .networks()?
            .list_domains(ListDomainsRequest {})
            .await?;
        let domains: Vec<DnsDomain> = serde_json::from_slice(&reply.into_inner().domains)?;
        let names: Vec<String> = domains.into_iter().map(|domain| domain.domain).collect();
        if self.quiet {
            return output::write_lines(&names);
        }
        output::write(self.format.format, &names, || {
            let mut table = Table::new(["DOMAIN"]);
            for name in &names {
                table.row([name.clone()]);
            }
            table
        })
    }
}

fn domain(text: &str) -> Result<String, dns::DnsError> {
    match dns::search(text)? {
        empty if empty.is_empty() => Err(dns::DnsError::Domain(text.to_owned())),
        domain => Ok(domain),
    }
}
