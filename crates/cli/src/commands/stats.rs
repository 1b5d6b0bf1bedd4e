use std::collections::HashMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use container_api::api::StatisticsRequest;
use container_api::{Error, Kind};
use container_resource::container::ContainerStatistics;
use container_resource::size;
use futures::future::join_all;
use tokio::time::Instant;

use super::inspect;
use crate::completion;
use crate::connection::{Containers, Context};
use crate::failure::Failure;
use crate::flags::FormatFlags;
use crate::output::{self, Format, Screen, Table};
use crate::select;
use crate::session::{self, Event, Signals};

/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a container may take to say what it uses. One that hangs must not hide the others for long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Show the resources that containers use
///
/// CPU use is an average of the last two seconds, in percent of one CPU. On a terminal it goes on until Ctrl-C.
///
/// Net Rx/Tx is the sum of all networks. The other formats have each network, too: `networks.<name>` with bytes, packets, errors and what was dropped.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  Watch everything that runs:
    container stats

  One sample for a program:
    container stats --no-stream --format json web")]
pub struct Stats {
    /// Containers (default: all that run)
    #[arg(value_name = "CONTAINER", add = completion::containers())]
    pub ids: Vec<String>,

    #[command(flatten)]
    pub flags: StatsFlags,
}

/// How often it is shown, and how.
#[derive(Args, Debug)]
pub struct StatsFlags {
    #[command(flatten)]
    format: FormatFlags,

    /// Show one sample and end
    #[arg(long)]
    no_stream: bool,
}

impl StatsFlags {
    /// Shows that there is nothing to show.
    pub fn show_none(&self, called: &Called) -> Result<(), Failure> {
        let none: [ContainerStatistics; 0] = [];
        output::write(self.format.format, &none, || table(called, &[], &[]))
    }
}

/// How the table calls what it shows.
#[derive(Debug)]
pub struct Called {
    /// The column's title.
    pub title: &'static str,
    /// Names in the place of containers' ids, where they have other ones.
    pub names: HashMap<String, String>,
}

impl Called {
    fn name(&self, id: &str) -> String {
        self.names.get(id).map_or(id, String::as_str).to_owned()
    }
}

/// Counters of a container at a moment.
struct Sample {
    at: Instant,
    statistics: ContainerStatistics,
}

impl Stats {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        let called = Called {
            title: "Container ID",
            names: HashMap::new(),
        };
        self.show(context, &called).await
    }

    /// Shows it, with the names of `called` in the table.
    pub async fn show(self, context: &Context, called: &Called) -> Result<(), Failure> {
        let containers = context.containers()?;
        if self.flags.format.format != Format::Table {
            // Counters are totals: whoever reads them takes the differences.
            let (samples, failures) = self.sample(&containers).await?;
            let statistics: Vec<_> = samples
                .into_iter()
                .map(|sample| sample.statistics)
                .collect();
            output::write(self.flags.format.format, &statistics, || Table::new([]))?;
            return Failure::gather(failures);
        }
        let live = !self.flags.no_stream && io::stdout().is_terminal();
        if !live {
            let (before, _) = self.sample(&containers).await?;
            tokio::time::sleep(INTERVAL).await;
            let (after, failures) = self.sample(&containers).await?;
            output::print(table(called, &before, &after).render().as_bytes())?;
            return Failure::gather(failures);
        }
        let mut signals = Signals::take().map_err(|error| Failure::Local(error.into()))?;
        let screen = Screen::enter()?;
        self.watch(&containers, called, &screen, &mut signals).await
    }

    /// Shows a sample after the other until a signal ends it.
    async fn watch(
        &self,
        containers: &Containers,
        called: &Called,
        screen: &Screen,
        signals: &mut Signals,
    ) -> Result<(), Failure> {
        let mut before = Vec::new();
        loop {
            // One that does not answer has no row.
            let (after, _) = tokio::select! {
                sampled = self.sample(containers) => sampled?,
                _ = signals.interrupted() => return Ok(()),
            };
            let text = table(called, &before, &after).render();
            screen.draw(&text)?;
            before = after;
            let next = tokio::time::sleep(INTERVAL);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    event = signals.next() => match event {
                        Event::Window => screen.draw(&text)?,
                        Event::Stop => {
                            screen.aside(session::stop)?;
                            screen.draw(&text)?;
                        }
                        Event::Signal(_) => return Ok(()),
                    },
                }
            }
        }
    }

    /// A sample of each container, and why there is none of some.
    async fn sample(
        &self,
        containers: &Containers,
    ) -> Result<(Vec<Sample>, Vec<Failure>), Failure> {
        let mut client = containers.clone();
        let chosen = if self.ids.is_empty() {
            select::list(&mut client, &[]).await?
        } else {
            inspect::named(&mut client, &self.ids).await?
        };
        let running = chosen.into_iter().filter(select::is_running);
        let asked = running.map(|container| one(client.clone(), container.id));
        let (mut samples, mut failures) = (Vec::new(), Vec::new());
        for outcome in join_all(asked).await {
            match outcome {
                Ok(sample) => samples.extend(sample),
                Err(failure) => failures.push(failure),
            }
        }
        Ok((samples, failures))
    }
}

/// A sample of a container, or nothing if that has ended meanwhile.
async fn one(mut containers: Containers, id: String) -> Result<Option<Sample>, Failure> {
    let request = StatisticsRequest { id: id.clone() };
    let answer = tokio::time::timeout(PATIENCE, containers.statistics(request)).await;
    let error = match answer {
        Ok(Ok(reply)) => {
            let statistics = serde_json::from_slice(&reply.into_inner().statistics)?;
            return Ok(Some(Sample {
                at: Instant::now(),
                statistics,
            }));
        }
        Ok(Err(status)) => Error::from(status),
        Err(_) => {
            let text = format!("no answer within {} s", PATIENCE.as_secs());
            Error::new(Kind::Timeout, text)
        }
    };
    match error.kind {
        // The connection to its machine ends with it.
        Kind::NotFound | Kind::InvalidState | Kind::Unavailable | Kind::Cancelled => Ok(None),
        _ => Err(error.context(format_args!("container {id}")).into()),
    }
}

fn table(called: &Called, before: &[Sample], after: &[Sample]) -> Table {
    let mut table = Table::new([
        called.title,
        "Cpu %",
        "Memory Usage",
        "Net Rx/Tx",
        "Block I/O",
        "Pids",
    ]);
    for sample in after {
        let now = &sample.statistics;
        let earlier = before
            .iter()
            .find(|earlier| earlier.statistics.id == now.id);
        let pair = |left: Option<u64>, right: Option<u64>| {
            let text = |bytes: Option<u64>| bytes.map_or_else(|| "--".to_owned(), size::memory);
            format!("{} / {}", text(left), text(right))
        };
        table.row([
            called.name(&now.id),
            earlier
                .and_then(|earlier| cpu(earlier, sample))
                .unwrap_or_else(|| "--".to_owned()),
            pair(now.memory_usage_bytes, now.memory_limit_bytes),
            pair(now.network_rx_bytes, now.network_tx_bytes),
            pair(now.block_read_bytes, now.block_write_bytes),
            now.num_processes
                .map_or_else(|| "--".to_owned(), |number| number.to_string()),
        ]);
    }
    table
}

/// Percent of one CPU between two samples, with two digits.
fn cpu(before: &Sample, after: &Sample) -> Option<String> {
    let used = after
        .statistics
        .cpu_usage_usec?
        .checked_sub(before.statistics.cpu_usage_usec?)?;
    let elapsed = after.at.checked_duration_since(before.at)?.as_micros();
    let hundredths = u128::from(used).checked_mul(10_000)?.checked_div(elapsed)?;
    Some(format!("{}.{:02}%", hundredths / 100, hundredths % 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, cpu_usage_usec: u64) -> Sample {
        let statistics = ContainerStatistics {
            id: "web".into(),
            cpu_usage_usec: Some(cpu_usage_usec),
            memory_usage_bytes: Some(3 << 20),
            memory_limit_bytes: Some(1 << 30),
            num_processes: Some(2),
            ..ContainerStatistics::default()
        };
        Sample { at, statistics }
    }

    #[test]
    fn cpu_is_the_share_of_the_time_between_samples() {
        let start = Instant::now();
        let after = sample(start + Duration::from_secs(2), 3_010_000);
        assert_eq!(
            cpu(&sample(start, 10_000), &after).as_deref(),
            Some("150.00%")
        );
        // A counter that went back: the container was started again.
        assert_eq!(cpu(&sample(start, 9_000_000), &after), None);
        assert_eq!(cpu(&after, &after), None);
    }

    #[test]
    fn what_is_not_known_is_two_dashes() {
        let text = |title, names| {
            let called = Called { title, names };
            table(&called, &[], &[sample(Instant::now(), 1)]).render()
        };
        assert_eq!(
            text("Container ID", HashMap::new()),
            "Container ID  Cpu %  Memory Usage   Net Rx/Tx  Block I/O  Pids\n\
             web           --     3 MiB / 1 GiB  -- / --    -- / --    2\n"
        );
        let names = HashMap::from([("web".to_owned(), "dev".to_owned())]);
        assert_eq!(
            text("Machine", names),
            "Machine  Cpu %  Memory Usage   Net Rx/Tx  Block I/O  Pids\n\
             dev      --     3 MiB / 1 GiB  -- / --    -- / --    2\n"
        );
    }
}
