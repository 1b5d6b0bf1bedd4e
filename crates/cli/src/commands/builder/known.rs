//! The stored answers of a builder about itself: while it runs, it is not asked again.

use std::io;

use container_buildkit::{Abilities, Connection, Engine};
use container_resource::bundle;
use serde::{Deserialize, Serialize};

use super::engine::SOCKETS;
use crate::connection::Context;

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    /// The run of its container.
    run: String,
    engine: Engine,
    abilities: Abilities,
}

/// Connects to the builder `name` in this `run` of it, if its answers are stored already.
pub async fn resume(context: &Context, name: &str, run: &str) -> Option<Connection> {
    let known: Known = bundle::read_json(&context.roots.builder_abilities(name)).ok()?;
    if run.is_empty() || known.run != run {
        return None;
    }
    let (_, socket, _) = SOCKETS
        .iter()
        .find(|(engine, ..)| *engine == known.engine)?;
    let path = context.roots.builder_socket(name, socket);
    let resumed = Connection::resume(&path, known.engine, known.abilities).await;
    resumed.ok()
}

/// Stores the answers of the builder `name` about itself.
pub fn keep(context: &Context, name: &str, run: &str, connection: &Connection) {
    let known = Known {
        run: run.to_owned(),
        engine: connection.engine(),
        abilities: connection.abilities().clone(),
    };
    // Without it the builder is asked again.
    if let Err(error) = bundle::write_json(&context.roots.builder_abilities(name), &known) {
        context.debug(|| format!("the abilities of the builder cannot be stored: {error}"));
    }
}

/// Forgets it.
pub fn forget(context: &Context, name: &str) {
    let path = context.roots.builder_abilities(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            context.debug(|| format!("{}: {error}", path.display()));
        }
        _ => {}
    }
}
