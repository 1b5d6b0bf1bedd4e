//! What a host has for networks.

use std::path::Path;

use container_api::Chain;
use container_resource::check::Check;

use crate::forwarding::blocked;
use crate::uplink;
use crate::uplink::user::Program;

/// Prints what is found, as JSON.
pub fn run() -> anyhow::Result<()> {
    let mut checks = vec![tun(), nftables()];
    if uplink::may_administer() {
        checks.push(Check::ok(
            "uplink",
            "a pair of interfaces, and the host's address",
        ));
        checks.push(forwarding()?);
    } else {
        checks.push(user_uplink());
    }
    println!("{}", serde_json::to_string(&checks)?);
    Ok(())
}

fn tun() -> Check {
    let mut options = std::fs::File::options();
    match options.read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Check::ok("tun", "/dev/net/tun opens"),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Check::warn(
            "tun",
            "this user may not open /dev/net/tun",
            "chmod 0666 /dev/net/tun",
        ),
        Err(error) => Check::warn("tun", format!("/dev/net/tun: {error}"), "modprobe tun"),
    }
}

fn nftables() -> Check {
    let found = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    match found {
        Some(path) => Check::ok("nftables", path),
        None => Check::warn(
            "nftables",
            "nft is not installed",
            "apt-get install nftables",
        ),
    }
}

/// How packets leave an ordinary user's networks.
fn user_uplink() -> Check {
    let program = Program::find();
    match program {
        Ok(Program::Pasta) => Check::ok("uplink", "pasta"),
        Ok(Program::Slirp4netns) => Check::ok(
            "uplink",
            "slirp4netns; a pasta (package passt) of 2024 or later is faster",
        ),
        Err(error) => Check::warn(
            "uplink",
            format!("nothing leaves networks: {error}"),
            "apt-get install slirp4netns",
        ),
    }
}

/// Whether other programs' rules keep root's networks from the outside.
fn forwarding() -> anyhow::Result<Check> {
    const NAME: &str = "forwarding";
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let blockers = match runtime.block_on(blocked::find()) {
        Ok(blockers) => blockers,
        Err(error) => {
            return Ok(Check::warn(
                NAME,
                Chain(&error).to_string(),
                "nft list chains",
            ));
        }
    };
    let Some(first) = blockers.first() else {
        return Ok(Check::ok(NAME, "no other program's rules are in the way"));
    };
    let chains: Vec<String> = blockers
        .iter()
        .map(|blocker| blocker.chain.join(" "))
        .collect();
    let detail = format!(
        "rules of this host drop what networks forward, in the chain {}",
        chains.join(", ")
    );
    Ok(Check::warn(NAME, detail, first.remedy()))
}
