use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use anyhow::Context as _;
use clap::Args;
use container_api::images::LoginRequest;
use tokio::sync::oneshot;

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::SchemeFlags;
use crate::output;
use crate::session::{Signals, TerminalMode, signalled};

/// The longest password, in bytes. Tokens of some registries have several thousand.
const PASSWORD_LIMIT: u64 = 64 << 10;

/// Store credentials for a registry
///
/// The credentials are tried before they are stored. The password is asked for, or read from standard input. It cannot be an argument,
/// because every user of this host can see arguments.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container registry login registry.example
  container registry login --username me --password-stdin registry.example < token")]
pub struct Login {
    #[command(flatten)]
    scheme: SchemeFlags,

    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,

    /// User (default: asked for)
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,

    /// Host name of the registry, with its port
    #[arg(value_name = "SERVER")]
    server: String,
}

impl Login {
    pub async fn execute(self, context: &Context) -> Result<(), Failure> {
        if self.password_stdin && self.username.is_none() {
            return Err(Failure::usage("--password-stdin needs --username"));
        }
        let mut images = context.images().await?;
        if !self.password_stdin && !io::stdin().is_terminal() {
            return Err(Failure::usage(
                "a password can be asked for only at a terminal: use --username and --password-stdin",
            ));
        }
        let username = match self.username {
            Some(username) => username,
            None => ask("Username: ", Echo::Shown).await?,
        };
        let password = if self.password_stdin {
            read_password().context("read the password")?
        } else {
            ask("Password: ", Echo::Hidden).await?
        };
        let request = LoginRequest {
            server: self.server,
            username,
            password,
            scheme: self.scheme.wire(),
        };
        images.login(request).await?;
        output::tell("Login succeeded");
        Ok(())
    }
}

/// Standard input without the newline at its end.
fn read_password() -> io::Result<String> {
    let mut password = String::new();
    io::stdin()
        .lock()
        .take(PASSWORD_LIMIT)
        .read_to_string(&mut password)?;
    Ok(password.trim_end_matches(['\n', '\r']).to_owned())
}

/// Whether an answer is shown while it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Echo {
    Shown,
    Hidden,
}

/// Asks at the terminal. A signal ends the question, with the terminal as it was.
async fn ask(question: &str, echo: Echo) -> Result<String, Failure> {
    let mut signals = Signals::take().context("take the signals")?;
    let _mode = match echo {
        Echo::Shown => None,
        Echo::Hidden => Some(TerminalMode::hidden().context("hide what is typed")?),
    };
    output::ask(question);
    let (sender, answer) = oneshot::channel();
    // A thread, as reading a terminal blocks; it ends with this process.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().take(PASSWORD_LIMIT).read_line(&mut line);
        // After a signal there is no waiter any more.
        let _ = sender.send(read.map(|_| line));
    });
    let answer = tokio::select! {
        answer = answer => answer.context("read the answer")?.context("read the answer")?,
        number = signals.interrupted() => return Err(Failure::Exit(signalled(number))),
    };
    if echo == Echo::Hidden {
        output::tell("");
    }
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}
