use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::Context as _;
use clap::Args;
use container_api::images::LoginRequest;
use rustix::termios::{self, LocalModes, OptionalActions};

use crate::connection::Context;
use crate::failure::Failure;
use crate::flags::SchemeFlags;

/// The longest password, in bytes. Tokens of some registries have several thousand.
const PASSWORD_LIMIT: u64 = 64 << 10;

/// Store credentials for a registry
///
/// They are tried before they are stored. The password is asked for, or read from standard input: an argument
/// could be seen by every user of this machine.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  container registry login registry.example
  container registry login --username me --password-stdin registry.example < token")]
pub struct Login {
    #[command(flatten)]
    scheme: SchemeFlags,

    /// Read the password from standard input
    #[arg(long, requires = "username")]
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
        let mut images = context.images().await?;
        if !self.password_stdin && !io::stdin().is_terminal() {
            return Err(Failure::usage(
                "a password can be asked for only at a terminal: use --username and --password-stdin",
            ));
        }
        let username = match self.username {
            Some(username) => username,
            None => ask("Username: ").context("read the user name")?,
        };
        let password = if self.password_stdin {
            read_password()
        } else {
            ask_hidden("Password: ")
        };
        let request = LoginRequest {
            server: self.server,
            username,
            password: password.context("read the password")?,
            scheme: self.scheme.name(),
        };
        images.login(request).await?;
        eprintln!("Login succeeded");
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

fn ask(question: &str) -> io::Result<String> {
    eprint!("{question}");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .take(PASSWORD_LIMIT)
        .read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks without showing what is typed.
fn ask_hidden(question: &str) -> io::Result<String> {
    let original = termios::tcgetattr(rustix::stdio::stdin())?;
    let mut silent = original.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &silent)?;
    let answer = ask(question);
    termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &original)?;
    eprintln!();
    answer
}
