use clap::Args;
use container_api::api::{PingReply, PingRequest};
use serde::Serialize;

use crate::connection::{Context, prompt};
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// Show whether the services run, and where
///
/// The exit code is 1 when they do not.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container system status > /dev/null || container system start")]
pub struct Status {
    #[command(flatten)]
    format: FormatFlags,
}

/// Reference section 2.2.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    status: &'static str,
    app_root: String,
    install_root: String,
    log_root: String,
    api_server_version: String,
    api_server_commit: String,
    api_server_build: String,
    api_server_app_name: String,
}

impl Status {
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        let report = match ping(context).await {
            Some(reply) => Report {
                status: "running",
                app_root: reply.app_root,
                install_root: reply.install_root,
                log_root: reply.log_root,
                api_server_version: reply.version,
                api_server_commit: reply.commit,
                api_server_build: reply.build,
                api_server_app_name: reply.app_name,
            },
            None => Report {
                status: "not running",
                app_root: context.roots.app.display().to_string(),
                install_root: context.roots.install.display().to_string(),
                log_root: context.roots.log.display().to_string(),
                api_server_version: String::new(),
                api_server_commit: String::new(),
                api_server_build: String::new(),
                api_server_app_name: String::new(),
            },
        };
        let running = report.status == "running";
        output::write(self.format.format, &report, || table(&report))?;
        Ok(u8::from(!running))
    }
}

/// What the apiserver says of itself, if it runs.
pub async fn ping(context: &Context) -> Option<PingReply> {
    let mut system = context.system().ok()?;
    prompt(system.ping(PingRequest {})).await.ok()
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(["FIELD", "VALUE"]);
    for (field, value) in [
        ("status", report.status),
        ("appRoot", &report.app_root),
        ("installRoot", &report.install_root),
        ("logRoot", &report.log_root),
        ("apiserver.version", &report.api_server_version),
        ("apiserver.commit", &report.api_server_commit),
        ("apiserver.build", &report.api_server_build),
        ("apiserver.appName", &report.api_server_app_name),
    ] {
        table.row([field.to_owned(), value.to_owned()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_apple_s() {
        let report = Report {
            status: "running",
            app_root: "/a".into(),
            install_root: "/i".into(),
            log_root: "/l".into(),
            api_server_version: "1".into(),
            api_server_commit: "c".into(),
            api_server_build: "debug".into(),
            api_server_app_name: "container-apiserver".into(),
        };
        let value = serde_json::to_value(&report).unwrap();
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        let expected = [
            "apiServerAppName",
            "apiServerBuild",
            "apiServerCommit",
            "apiServerVersion",
            "appRoot",
            "installRoot",
            "logRoot",
            "status",
        ];
        assert_eq!(keys, expected);
        assert!(
            table(&report)
                .render()
                .contains("apiserver.appName  container-apiserver\n")
        );
    }
}
