//! The image specification's JSON schemas (Debian's golang-github-opencontainers-image-spec-dev), as
//! python3-jsonschema applies them.

use std::path::Path;
use std::process::Command;

const SCHEMAS: &str = "/usr/share/gocode/src/github.com/opencontainers/image-spec/schema";

/// Their `id`s name places on the web: without them the references lead to the files beside.
const VALIDATE: &str = r#"
import json, pathlib, sys
from jsonschema import Draft4Validator, RefResolver
directory, name, document = sys.argv[1:]
store = {}
for path in pathlib.Path(directory).glob("*.json"):
    nameless = lambda node: {key: node[key] for key in node if key != "id"}
    store[path.as_uri()] = json.loads(path.read_text(), object_hook=nameless)
base = pathlib.Path(directory, name + ".json").as_uri()
resolver = RefResolver(base, store[base], store)
Draft4Validator(store[base], resolver=resolver).validate(json.loads(pathlib.Path(document).read_text()))
"#;

/// Fails unless `document` is what the schema `name` describes.
pub fn validate(name: &str, document: &Path) {
    let output = Command::new("/usr/bin/python3")
        .args(["-c", VALIDATE, SCHEMAS, name])
        .arg(document)
        .output()
        .unwrap();
    let text = std::fs::read_to_string(document).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {error}\n{text}");
}
