use clap::Args;
use container_api::api::ProcessesRequest;
use container_api::types::Process;
use serde::Serialize;

use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Table};

/// List the processes of a container
///
/// The process ids are those of the guest's kernel.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container top web")]
pub struct Top {
    #[command(flatten)]
    format: FormatFlags,

    /// Container
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    id: String,
}

/// A process, as programs see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    pid: i32,
    parent: i32,
    uid: u32,
    state: String,
    cpu_usec: u64,
    age_seconds: u64,
    command: String,
}

impl Top {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let request = ProcessesRequest { id: self.id };
        let reply = context.containers()?.processes(request).await?.into_inner();
        let rows: Vec<Row> = reply.processes.into_iter().map(row).collect();
        output::write(self.format.format, &rows, || table(&rows))
    }
}

fn row(process: Process) -> Row {
    Row {
        pid: process.pid,
        parent: process.parent,
        uid: process.uid,
        state: process.state,
        cpu_usec: process.cpu_usec,
        age_seconds: process.age_seconds,
        command: process.command,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["PID", "PPID", "UID", "STATE", "ELAPSED", "TIME", "COMMAND"]);
    for row in rows {
        table.row([
            row.pid.to_string(),
            row.parent.to_string(),
            row.uid.to_string(),
            row.state.clone(),
            clock(row.age_seconds),
            clock(row.cpu_usec / 1_000_000),
            row.command.clone(),
        ]);
    }
    table
}

/// Seconds as `ps(1)` shows them: `[[days-]hours:]minutes:seconds`.
fn clock(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes:02}:{seconds:02}"),
        (0, _) => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}-{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_ps_shows_them() {
        assert_eq!(clock(7), "00:07");
        assert_eq!(clock(3_661), "01:01:01");
        assert_eq!(clock(90_061), "1-01:01:01");
    }
}
