use std::num::NonZero;

use clap::Args;
use container_api::api::{self, PingReply, PingRequest};
use container_api::roots::ARCHITECTURE;
use serde::Serialize;

use crate::commands::image;
use crate::connection::{Context, prompt};
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Format, Table};
use crate::{select, version};

/// What is said of a system that does not run.
const NOT_RUNNING: &str = "not running";

/// Show whether the services run, and where
///
/// Also shows the versions of this command and of the services, the host, and how many containers and images there are. The exit code is 1
/// if the services do not run.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system status > /dev/null || container system start
  container system status --format json | jq -r .paths.appRoot")]
pub struct Status {
    #[command(flatten)]
    format: FormatFlags,
}

/// As Apple's tool writes it since 1.4.1. A system that does not run has its status only.
#[derive(Debug, Default, Serialize)]
struct Report {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Program>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Program>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Host>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Paths>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Counts>,
    /// Ours: Apple's tool leaves this to launchd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    troubles: Vec<Trouble>,
}

/// A helper that ends again and again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Trouble {
    service: String,
    failures: u32,
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Program {
    version: String,
    build: String,
    commit: String,
    app_name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    architecture: &'static str,
    operating_system: String,
    cpus: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Paths {
    app_root: String,
    install_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    log_root: String,
}

/// The numbers: a service that does not answer is left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    containers_total: usize,
    containers_running: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<usize>,
}

impl Status {
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        let Some(reply) = ping(context).await else {
            match self.format.format {
                Format::Table => output::write_lines([format!("apiserver is {NOT_RUNNING}")])?,
                format => output::write(format, &stopped(), || Table::new([]))?,
            }
            return Ok(1);
        };
        let report = Report {
            resources: count(context).await,
            ..running(reply)
        };
        output::write(self.format.format, &report, || table(&report))?;
        Ok(0)
    }
}

/// What the apiserver says of itself, if it runs.
pub async fn ping(context: &Context) -> Option<PingReply> {
    let mut system = context.system().ok()?;
    prompt(system.ping(PingRequest {})).await.ok()
}

fn stopped() -> Report {
    Report {
        status: NOT_RUNNING,
        ..Report::default()
    }
}

fn running(reply: PingReply) -> Report {
    Report {
        status: "running",
        client: Some(Program {
            version: version::VERSION.to_owned(),
            build: version::BUILD.to_owned(),
            commit: version::COMMIT.to_owned(),
            app_name: "container".to_owned(),
        }),
        server: Some(Program {
            version: reply.version,
            build: reply.build,
            commit: reply.commit,
            app_name: reply.app_name,
        }),
        host: Some(Host {
            architecture: ARCHITECTURE,
            operating_system: operating_system(),
            cpus: std::thread::available_parallelism().map_or(1, NonZero::get),
        }),
        paths: Some(Paths {
            app_root: reply.app_root,
            install_root: reply.install_root,
            log_root: reply.log_root,
        }),
        resources: None,
        troubles: reply.troubles.into_iter().map(trouble).collect(),
    }
}

fn trouble(told: api::Trouble) -> Trouble {
    Trouble {
        service: told.service,
        failures: told.failures,
        message: told.message,
    }
}

async fn count(context: &Context) -> Option<Counts> {
    let containers = select::list(&mut context.containers().ok()?, &[])
        .await
        .ok()?;
    let running = containers
        .iter()
        .filter(|container| select::is_running(container));
    Some(Counts {
        containers_total: containers.len(),
        containers_running: running.count(),
        images: image::all(context).await.ok().map(|images| images.len()),
    })
}

/// The distribution's name of itself (`os-release(5)`).
fn operating_system() -> String {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    pretty_name(&text).unwrap_or_else(|| "Linux".to_owned())
}

fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = value.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(["FIELD", "VALUE"]);
    let mut row = |field: &str, value: String| table.row([field.to_owned(), value]);
    row("status", report.status.to_owned());
    if let Some(client) = &report.client {
        row("client.version", client.version.clone());
        row("client.build", client.build.clone());
        row("client.commit", client.commit.clone());
    }
    if let Some(host) = &report.host {
        row("host.os", host.operating_system.clone());
        row("host.architecture", host.architecture.to_owned());
        row("host.cpus", host.cpus.to_string());
    }
    if let Some(server) = &report.server {
        row("server.version", server.version.clone());
        row("server.build", server.build.clone());
        row("server.commit", server.commit.clone());
        row("server.appName", server.app_name.clone());
    }
    if let Some(paths) = &report.paths {
        row("paths.appRoot", paths.app_root.clone());
        row("paths.installRoot", paths.install_root.clone());
        if !paths.log_root.is_empty() {
            row("paths.logRoot", paths.log_root.clone());
        }
    }
    if let Some(counts) = &report.resources {
        row("containers.total", counts.containers_total.to_string());
        row("containers.running", counts.containers_running.to_string());
        if let Some(images) = counts.images {
            row("images.total", images.to_string());
        }
    }
    for trouble in &report.troubles {
        let Trouble {
            service,
            failures,
            message,
        } = trouble;
        let text = match failures {
            0 => format!("{service}: {message}"),
            _ => format!(
                "{service} has failed {failures} times in a row ({message}); see `container system logs`"
            ),
        };
        row("trouble", text);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Report {
        let reply = PingReply {
            version: "1".into(),
            commit: "c".into(),
            build: "debug".into(),
            app_name: "container-apiserver".into(),
            app_root: "/a".into(),
            install_root: "/i".into(),
            log_root: "/l".into(),
            pid: 1,
            troubles: Vec::new(),
        };
        Report {
            resources: Some(Counts {
                containers_total: 2,
                containers_running: 1,
                images: Some(3),
            }),
            ..running(reply)
        }
    }

    #[test]
    fn keys_are_apple_s() {
        let value = serde_json::to_value(report()).unwrap();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(
            keys(&value),
            ["client", "host", "paths", "resources", "server", "status"]
        );
        assert_eq!(
            value["server"],
            json!({"appName": "container-apiserver", "build": "debug", "commit": "c", "version": "1"})
        );
        assert_eq!(keys(&value["client"]), keys(&value["server"]));
        assert_eq!(
            keys(&value["host"]),
            ["architecture", "cpus", "operatingSystem"]
        );
        assert_eq!(
            value["paths"],
            json!({"appRoot": "/a", "installRoot": "/i", "logRoot": "/l"})
        );
        assert_eq!(
            value["resources"],
            json!({"containersRunning": 1, "containersTotal": 2, "images": 3})
        );
        let stopped = serde_json::to_value(stopped()).unwrap();
        assert_eq!(stopped, json!({"status": "not running"}));
    }

    #[test]
    fn the_table_has_apple_s_fields() {
        let text = table(&report()).render();
        let fields: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(
            fields,
            [
                "FIELD",
                "status",
                "client.version",
                "client.build",
                "client.commit",
                "host.os",
                "host.architecture",
                "host.cpus",
                "server.version",
                "server.build",
                "server.commit",
                "server.appName",
                "paths.appRoot",
                "paths.installRoot",
                "paths.logRoot",
                "containers.total",
                "containers.running",
                "images.total",
            ]
        );
    }

    #[test]
    fn a_helper_that_fails_is_told_of() {
        let mut report = report();
        report.troubles.push(trouble(api::Trouble {
            service: "container-core-images".into(),
            failures: 4,
            message: "exit status: 3".into(),
        }));
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!(value["troubles"][0]["failures"], 4);
        let text = table(&report).render();
        let told = "container-core-images has failed 4 times in a row (exit status: 3)";
        assert!(text.contains(told), "{text}");
    }

    #[test]
    fn the_distribution_names_itself() {
        let text = "NAME=\"x\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(
            pretty_name(text).as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(pretty_name("PRETTY_NAME=\n"), None);
        assert_eq!(pretty_name(""), None);
    }
}
