use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use container_api::Kind;
use container_api::api::WaitRequest;
use container_resource::machine::{HomeMount, MachineResource};

use super::super::exec;
use super::boot;
use crate::completion;
use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::ProcessFlags;

/// How long a machine that shuts down has for its end.
const PATIENCE: Duration = Duration::from_secs(15);

/// What makes of a command that of a login.
const LOGIN: &str = include_str!("login.sh");

/// Run a command in a machine, or your shell
///
/// The command runs as your user, with the environment of a login, and in the current directory if the machine can see it. No shell reads
/// the command; where you need a shell, write `sh -c 'echo $HOME'`. A stopped machine is booted first. The exit code is that of the
/// command.
#[derive(Args, Debug)]
#[command(override_usage = "container machine run [OPTIONS] [COMMAND] [ARGUMENT]...")]
#[command(after_long_help = "Examples:
  A shell, here:
    container machine run

  A command as root of another machine:
    container machine run --name dev --root systemctl status")]
pub struct Run {
    /// Run in the background and print the machine's name
    #[arg(short, long)]
    detach: bool,

    /// Machine (default: the default one)
    #[arg(short, long, value_name = "MACHINE", add = completion::machines())]
    name: Option<String>,

    /// Run as root
    #[arg(long)]
    root: bool,

    #[command(flatten)]
    process: ProcessFlags,

    /// Command and arguments (default: a login shell)
    #[arg(value_name = "COMMAND [ARGUMENT]", num_args = 0.., trailing_var_arg = true)]
    words: Vec<String>,
}

impl Run {
    pub async fn execute(self, context: &Context) -> Result<u8, Failure> {
        let mut options = self.process.options()?;
        let machine = boot(context, self.name.as_deref()).await?;
        let account = if self.root {
            "root"
        } else {
            machine.user_setup.username.as_str()
        };
        if options.user.is_none() && options.uid.is_none() && options.gid.is_none() {
            options.user = Some(account.to_owned());
        }
        // `name:group` asks for another group of that user.
        let user = options.user.clone().unwrap_or_else(|| account.to_owned());
        let user = user.split(':').next().unwrap_or(account);
        if options.working_directory.is_none() {
            options.working_directory = Some(directory(&machine, self.root));
        }
        let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        options.terminal |= at_terminal && !self.detach;
        if let (true, Ok(kind)) = (options.terminal, std::env::var("TERM")) {
            options.environment.insert(0, format!("TERM={kind}"));
        }
        let interactive = self.process.interactive || options.terminal || self.words.is_empty();
        // Behind them is what was asked for: the last one holds.
        let names = ["USER", "LOGNAME"].map(|name| format!("{name}={user}"));
        options.environment.splice(0..0, names);
        let words = login(user, &self.words);
        let command = exec::Further {
            id: machine.container_id,
            words,
            options,
        };
        let begun = self
            .begin(context, command.clone(), interactive, &machine.id)
            .await;
        let was_refused =
            matches!(&begun, Err(Failure::Service(error)) if error.kind == Kind::InvalidState);
        // It was about to shut down: it is booted when it has.
        if !was_refused || !has_ended(context, &command.id).await {
            return begun;
        }
        boot(context, Some(&machine.id)).await?;
        self.begin(context, command, interactive, &machine.id).await
    }

    async fn begin(
        &self,
        context: &Context,
        command: exec::Further,
        interactive: bool,
        machine: &str,
    ) -> Result<u8, Failure> {
        if self.detach {
            command.begin(context).await?;
            crate::output::write_lines([machine])?;
            return Ok(0);
        }
        command.attached(context, interactive).await
    }
}

/// Whether the machine of the container `id` ends before long.
async fn has_ended(context: &Context, id: &str) -> bool {
    let request = WaitRequest {
        id: id.to_owned(),
        ..WaitRequest::default()
    };
    let Ok(mut containers) = context.containers() else {
        return false;
    };
    let ended = tokio::time::timeout(PATIENCE, containers.wait(request)).await;
    ended.is_ok_and(|ended| ended.is_ok())
}

/// What runs `words` as a login of `user` does. One shell is enough: it reads the profile for a command, and a login shell reads it itself.
fn login(user: &str, words: &[String]) -> Vec<String> {
    let mode = if words.is_empty() { "-c" } else { "-lc" };
    let shell = ["/bin/sh", mode, LOGIN, "login", user].map(str::to_owned);
    shell.into_iter().chain(words.iter().cloned()).collect()
}

/// Where a command begins: here, if the machine sees this directory, else at home.
fn directory(machine: &MachineResource, root: bool) -> String {
    let home = &machine.user_setup.home;
    let here = std::env::current_dir()
        .ok()
        .filter(|here| machine.home_mount != HomeMount::None && here.starts_with(Path::new(home)));
    match here.and_then(|here| here.into_os_string().into_string().ok()) {
        Some(here) => here,
        None if root => "/root".to_owned(),
        None => home.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What it prints, run by the host's shell.
    fn printed(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let words = login("root", &words);
        let output = Command::new(&words[0]).args(&words[1..]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn words_arrive_as_they_are() {
        assert_eq!(
            printed(&["printf", "%s|", "$HOME", "a  b", "'", "*"]),
            "$HOME|a  b|'|*|"
        );
        assert_eq!(printed(&["sh", "-c", "test -x $SHELL && echo $0"]), "sh\n");
    }
}
