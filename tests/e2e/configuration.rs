//! The configuration file: layers, mistakes, and who has set what. No container is started here.

use serde_json::Value;

use crate::system::{Outcome, System};

#[test]
fn mistakes_are_told_with_their_line_and_the_closest_key() {
    let system = System::stopped();
    let file = system.scratch().join("config/container/config.toml");
    let shown = file.display();
    system.run(["system", "config", "check"]).ok();

    system.configure("[container]\nstandby = false\ncpu = 2\n");
    let unknown =
        format!("{shown}, line 3: there is no key container.cpu: did you mean container.cpus?");
    system
        .run(["system", "config", "check"])
        .code(1)
        .says(&unknown);
    // Somebody else's key stops nobody.
    system
        .run(["system", "start", "--enable-kernel-install"])
        .ok()
        .says(&format!("Warning: configuration file {unknown}"));

    system.configure("[container]\ncpus = \"two\"\nmemory = \"1m\"\n");
    let values = system.run(["system", "config", "check"]).code(1);
    assert_eq!(values.stderr.lines().count(), 2, "{values:?}");
    let values = values.says(", line 2: container.cpus is \"two\": a whole number from 1 to 1024");
    values.says(", line 3: container.memory is \"1m\": minimum memory");
    // What runs goes on with what it was started with.
    system
        .run(["system", "property", "list"])
        .ok()
        .says("config.toml has changed since the system was started");
    system.run(["system", "stop"]).ok();
    system
        .run(["system", "start"])
        .code(1)
        .says("line 2: container.cpus");
    system
        .run(["system", "config", "check", "/no/such.toml"])
        .code(1)
        .says("/no/such.toml: No such file or directory");
}

#[test]
fn the_strongest_layer_holds_and_is_named() {
    let system = System::stopped();
    system.configure("[container]\nstandby = false\ncpus = 3\nmemory = \"300mb\"\n");
    system
        .run(["system", "start", "--enable-kernel-install"])
        .ok();
    let listed = |arguments: &[&str]| -> Outcome {
        let output = system
            .command(["system", "property", "list"].iter().chain(arguments))
            .env("CONTAINER_CONFIG_CONTAINER_CPUS", "5")
            .output();
        Outcome::from(output.unwrap()).ok()
    };
    let rows: Vec<Value> =
        serde_json::from_str(&listed(&["--format", "json", "--origins"]).stdout).unwrap();
    let origin = |key: &str| {
        let row = rows.iter().find(|row| row["key"] == key).unwrap();
        (row["value"].clone(), row["origin"].as_str().unwrap())
    };
    let file = system.scratch().join("config/container/config.toml");
    let variable = "CONTAINER_CONFIG_CONTAINER_CPUS";
    assert_eq!(origin("container.cpus"), (5.into(), variable));
    assert_eq!(
        origin("container.memory"),
        ("300mb".into(), &*format!("{}:4", file.display()))
    );
    assert_eq!(origin("storage.reserve"), ("512mb".into(), "default"));
    // As Apple's tool writes it; and a file that means the same.
    let nested: Value = serde_json::from_str(&listed(&["--format", "json"]).stdout).unwrap();
    assert_eq!(nested["container"]["cpus"], 5);
    let written = system.scratch().join("written.toml");
    std::fs::write(&written, listed(&[]).stdout).unwrap();
    system
        .run(["system", "config", "check", written.to_str().unwrap()])
        .ok();
}
