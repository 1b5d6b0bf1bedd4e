//! PID 1 of the guest: mounts, processes, signals, statistics, at the request of the host's runtime helper.
//!
//! One thread: the agent clones itself to make containers, which is sound only while nobody else holds a lock.

mod agent;
mod archive;
mod boot;
mod channel;
mod clock;
mod container;
mod disk;
mod fatal;
mod idle;
mod init;
mod launch;
mod mount;
mod network;
mod process;
mod rehearsal;
mod service;
mod sockets;
mod spec;
mod stdio;
mod transport;
mod uevent;
mod watch;

use std::process::ExitCode;

use container_api::greeting::Hello;

fn main() -> ExitCode {
    match std::env::args_os().next() {
        Some(name) if name == init::NAME => return init::main(),
        Some(name) if name.as_encoded_bytes() == idle::NAME.to_bytes() => return idle::main(),
        Some(name) if name.as_encoded_bytes() == rehearsal::NAME.to_bytes() => {
            return rehearsal::main();
        }
        Some(name) if name.as_encoded_bytes() == archive::NAME => return archive::main(),
        _ => {}
    }
    if !rustix::process::getpid().is_init() {
        eprintln!(
            "vminitd is PID 1 of the guest of a container's virtual machine and has no options."
        );
        return ExitCode::from(64);
    }
    fatal::reset_on_panic();
    match run() {
        Ok(()) => fatal::power_off(),
        Err(error) => fatal::die(error.as_ref()),
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let hello = Hello {
        pid1_ns: clock::boottime_ns(),
    };
    boot::prepare()?;
    network::prepare();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let port = channel::open(hello)?;
    let service = service::Service::new(agent::Agent::new()?);
    runtime.block_on(channel::serve(port, service))?;
    Ok(())
}
