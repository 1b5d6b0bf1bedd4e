//! Networks, in network namespaces of the tests' own.

mod builtin;
mod default;
mod flags;
mod host_ports;
mod lost;
mod making;
mod reach;

use serde_json::Value;

use crate::namespace::Namespace;
use crate::system::System;

/// The networks, as `network inspect` shows them.
fn inspect(system: &System, name: &str) -> Value {
    let shown = system.run(["network", "inspect", name]).ok();
    let mut shown: Vec<Value> = serde_json::from_str(&shown.stdout).unwrap();
    shown.remove(0)
}

/// The first line that a web server at `address` of the host's answers with behind its headers.
pub fn fetch(host: &Namespace, address: &str, port: &str) -> String {
    let script =
        format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc {address} {port} | tail -1");
    let output = host
        .command("timeout")
        .args(["20", "sh", "-c", &script])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a line of shell in a container.
pub fn shell(system: &System, id: &str, line: &str) -> crate::system::Outcome {
    system.run(["exec", id, "sh", "-c", line])
}

/// The container's address on its only network, without the length of its prefix.
fn address(system: &System, id: &str, key: &str) -> String {
    let shown = system.inspect(id);
    let address = shown["status"]["networks"][0][key].as_str().unwrap();
    address.split('/').next().unwrap().to_owned()
}
