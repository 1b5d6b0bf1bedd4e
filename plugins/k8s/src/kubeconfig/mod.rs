//! The user's kubeconfig (v1 Config of kubectl): a cluster's access is merged into it, and taken out again.

mod access;
mod file;

use serde_json::{Map, Value, json};

pub use access::Access;
pub use file::{check, default_path, forget, merge};

/// Names the extension by which entries of this plugin are known.
const EXTENSION: &str = "container-k8s";
/// The lists of a kubeconfig, each with the key that holds what an entry is.
const LISTS: [(&str, &str); 3] = [
    ("clusters", "cluster"),
    ("users", "user"),
    ("contexts", "context"),
];

/// Why a kubeconfig cannot take a cluster.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// It is something else.
    #[error("it is no kubeconfig: {0}")]
    Shape(String),
    /// Somebody else's entry has the name.
    #[error(
        "it has an entry {0} of another program under `{1}`: choose another name for the cluster"
    )]
    Taken(String, &'static str),
}

/// Puts the cluster `name`, whose API is at `port` of the host, into `config`, in place of what it had of it, and makes it the current one.
fn put(config: &mut Value, name: &str, port: u16, access: &Access) -> Result<(), MergeError> {
    if config.is_null() {
        *config = json!({ "apiVersion": "v1", "kind": "Config", "preferences": {} });
    }
    let ours = json!([{ "name": EXTENSION, "extension": { "cluster": name } }]);
    let entries = [
        json!({
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority-data": access.authority,
            "extensions": ours,
        }),
        json!({
            "client-certificate-data": access.certificate,
            "client-key-data": access.key,
        }),
        json!({ "cluster": name, "user": name, "extensions": ours }),
    ];
    let config = object(config)?;
    let is_ours = is_ours(config, name);
    for (list, _) in LISTS {
        let mut entries = entries_of(config, list)?.iter();
        // Before anything is changed.
        if !is_ours && entries.any(|entry| entry["name"] == name) {
            return Err(MergeError::Taken(name.to_owned(), list));
        }
    }
    for ((list, key), entry) in LISTS.into_iter().zip(entries) {
        let entries = entries_of(config, list)?;
        match entries.iter_mut().find(|entry| entry["name"] == name) {
            Some(known) => known[key] = entry,
            None => entries.push(json!({ "name": name, key: entry })),
        }
    }
    config.insert("current-context".to_owned(), name.into());
    Ok(())
}

/// Takes the cluster `name` out of `config`, if it is this plugin's. Whether anything has changed.
fn take(config: &mut Value, name: &str) -> Result<bool, MergeError> {
    if config.is_null() {
        return Ok(false);
    }
    let config = object(config)?;
    if !is_ours(config, name) {
        return Ok(false);
    }
    for (list, _) in LISTS {
        entries_of(config, list)?.retain(|entry| entry["name"] != name);
    }
    if config.get("current-context").is_some_and(|it| it == name) {
        config.insert("current-context".to_owned(), "".into());
    }
    Ok(true)
}

/// Whether the cluster `name` of `config` was put there by [`put`].
fn is_ours(config: &Map<String, Value>, name: &str) -> bool {
    let clusters = config.get("clusters").and_then(Value::as_array);
    let mut clusters = clusters.into_iter().flatten();
    let cluster = clusters.find(|entry| entry["name"] == name);
    let extensions = cluster.and_then(|entry| entry["cluster"]["extensions"].as_array());
    let mut extensions = extensions.into_iter().flatten();
    extensions.any(|extension| extension["name"] == EXTENSION)
}

fn object(config: &mut Value) -> Result<&mut Map<String, Value>, MergeError> {
    let shape = || MergeError::Shape("a mapping is expected".to_owned());
    let config = config.as_object_mut().ok_or_else(shape)?;
    match config.get("kind") {
        None => Ok(config),
        Some(kind) if kind == "Config" => Ok(config),
        Some(kind) => Err(MergeError::Shape(format!("its kind is {kind}"))),
    }
}

/// The entries of one list; what kubectl writes for an empty one is null.
fn entries_of<'a>(
    config: &'a mut Map<String, Value>,
    list: &str,
) -> Result<&'a mut Vec<Value>, MergeError> {
    let entries = config.entry(list).or_insert(Value::Null);
    if entries.is_null() {
        *entries = json!([]);
    }
    let named = |entries: &Vec<Value>| entries.iter().all(|entry| entry["name"].is_string());
    let shape = || MergeError::Shape(format!("`{list}` is no list of entries with names"));
    entries
        .as_array_mut()
        .filter(|entries| named(entries))
        .ok_or_else(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn access(mark: &str) -> Access {
        Access {
            authority: format!("{mark}a"),
            certificate: format!("{mark}b"),
            key: format!("{mark}c"),
        }
    }

    #[test]
    fn what_is_put_is_taken_and_nothing_else_is_touched() {
        let others = json!({
            "apiVersion": "v1", "kind": "Config", "x-mine": 7,
            "clusters": [{ "name": "work", "cluster": { "server": "https://w" } }],
            "users": [{ "name": "work", "user": { "exec": { "command": "login" } } }],
            "contexts": Value::Null, "current-context": "work",
        });
        let mut config = others.clone();
        put(&mut config, "dev", 6445, &access("1")).unwrap();
        put(&mut config, "dev", 6446, &access("2")).unwrap();
        assert_eq!(config["current-context"], "dev");
        assert_eq!(config["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(
            config["clusters"][1]["cluster"]["server"],
            "https://127.0.0.1:6446"
        );
        assert_eq!(config["users"][1]["user"]["client-key-data"], "2c");
        assert_eq!(config["contexts"][0]["context"]["user"], "dev");
        assert_eq!(take(&mut config, "work"), Ok(false));
        assert_eq!(take(&mut config, "dev"), Ok(true));
        assert_eq!(take(&mut config, "dev"), Ok(false));
        let mut expected = others;
        expected["contexts"] = json!([]);
        expected["current-context"] = "".into();
        assert_eq!(config, expected);
        let mut none = Value::Null;
        assert_eq!(take(&mut none, "dev"), Ok(false));
        put(&mut none, "dev", 6445, &access("")).unwrap();
        assert_eq!(none["kind"], "Config");
    }

    #[test]
    fn what_is_another_s_or_no_kubeconfig_is_left_alone() {
        let foreign =
            json!({ "contexts": [{ "name": "dev", "context": { "cluster": "x", "user": "y" } }] });
        let mut config = foreign.clone();
        assert_eq!(
            put(&mut config, "dev", 1, &access("")),
            Err(MergeError::Taken("dev".into(), "contexts"))
        );
        assert_eq!(take(&mut config.clone(), "dev"), Ok(false));
        for wrong in [
            json!([1]),
            json!("text"),
            json!({ "kind": "Pod" }),
            json!({ "clusters": 3 }),
            json!({ "users": [{ "user": {} }] }),
        ] {
            let refused = put(&mut wrong.clone(), "dev", 1, &access(""));
            assert!(matches!(refused, Err(MergeError::Shape(_))), "{wrong}");
        }
    }
}
