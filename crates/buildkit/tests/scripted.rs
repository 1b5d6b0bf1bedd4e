//! The client against a builder that does what a test says, over a real socket. What a real one does is tested with the programs
//! (`tests/e2e/build.rs`).

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod builder;

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use builder::{Builder, Script};
use container_buildkit::{
    Build, Connection, ConnectionError, Context, ContextError, Engine, Output, Secret, SolveError,
    Solved, Sources, StepState, Store, Trace,
};
use tonic::Code;

fn place() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn sources(context: &Path) -> Sources {
    Sources {
        contexts: HashMap::from([("context".to_owned(), Context::open(context).unwrap())]),
        shared_key: "key".to_owned(),
        ..Sources::default()
    }
}

async fn run(builder: &Builder, sources: Sources) -> (Result<Solved, SolveError>, Trace) {
    let connection = Connection::open(&builder.socket, Engine::Buildkitd)
        .await
        .unwrap();
    let mut trace = Trace::default();
    let build = Build {
        attributes: HashMap::from([("target".to_owned(), "app".to_owned())]),
        output: Some(Output {
            kind: "tar".to_owned(),
            attributes: HashMap::new(),
        }),
        ..Build::default()
    };
    let solved = build
        .run(&connection, sources, |update| {
            trace.apply(update);
        })
        .await;
    (solved, trace)
}

fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn a_build_gets_its_context_its_secret_and_gives_its_result() {
    let context = place();
    let big = "x".repeat(300_000);
    write(context.path(), "src/main.c", "int main;");
    write(context.path(), "src/main.o", "object");
    write(context.path(), "big", &big);
    write(context.path(), "node_modules/a/b", "never");
    let builder = Builder::start(Script {
        exclude: vec!["**/*.o".to_owned(), "node_modules".to_owned()],
        secret: Some("token".to_owned()),
        result: vec![b'r'; 3_000_000],
        ..Script::default()
    });
    let result = Arc::new(Mutex::new(Vec::new()));
    let sources = Sources {
        secrets: HashMap::from([("token".to_owned(), Secret::Value(b"s3cret".to_vec()))]),
        output: Some(Box::new(builder::Shared(result.clone()))),
        ..sources(context.path())
    };
    let (solved, trace) = run(&builder, sources).await;
    let solved = solved.unwrap();
    assert_eq!(solved.response["containerimage.digest"], "sha256:1");
    let seen = builder.seen();
    assert_eq!(seen.told, ["big", "src", "src/main.c"]);
    assert_eq!(seen.files["src/main.c"], b"int main;");
    assert_eq!(seen.files["big"], big.as_bytes());
    assert_eq!(seen.secret, b"s3cret");
    assert_eq!(seen.request.frontend_attrs["target"], "app");
    assert_eq!(seen.request.exporter_deprecated, "tar");
    assert_eq!(seen.shared_key, "key");
    assert_eq!(result.lock().unwrap().len(), 3_000_000);
    assert_eq!(trace.steps()[0].state, StepState::Done(10));
}

#[tokio::test]
async fn caches_and_base_images_are_given_as_layouts() {
    let context = place();
    let (cache, images) = (place(), place());
    let blobs = images.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let hex = "0".repeat(64);
    std::fs::write(blobs.join(&hex), "layer").unwrap();
    let digest = format!("sha256:{hex}");
    let bytes = vec![b'c'; 700_000];
    let builder = Builder::start(Script {
        cache: Some((bytes.clone(), digest.clone())),
        ..Script::default()
    });
    let allowed = std::collections::HashSet::from([digest]);
    let stores = HashMap::from([
        ("local:to".to_owned(), Store::fill(cache.path()).unwrap()),
        ("oci:images".to_owned(), Store::only(images.path(), allowed)),
    ]);
    let sources = Sources {
        stores,
        ..sources(context.path())
    };
    run(&builder, sources).await.0.unwrap();
    let seen = builder.seen().blobs;
    let written = String::from_utf8(seen[0].clone().unwrap()).unwrap();
    let place = cache.path().join("blobs").join(written.replace(':', "/"));
    assert_eq!(std::fs::read(place).unwrap(), bytes);
    assert_eq!(seen[1].as_deref(), Ok(bytes.as_slice()));
    assert_eq!(seen[2].as_deref(), Ok(b"layer".as_slice()));
    // Neither what is not meant, nor anywhere else.
    assert_eq!(seen[3], Err(Code::NotFound));
    assert_eq!(seen[4], Err(Code::PermissionDenied));
    assert_eq!(seen[5], Err(Code::NotFound));
}

#[tokio::test]
async fn a_context_that_the_builder_has_sends_no_bytes() {
    let context = place();
    write(context.path(), "a/b", "x");
    let builder = Builder::start(Script {
        asks: false,
        ..Script::default()
    });
    let (solved, _) = run(&builder, sources(context.path())).await;
    solved.unwrap();
    let seen = builder.seen();
    assert_eq!(seen.told, ["a", "a/b"]);
    assert!(seen.files.is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let context = place();
    write(context.path(), "deep/gone", "x");
    let gone = context.path().join("deep/gone");
    let builder = Builder::start(Script {
        before_files: Some(Box::new(move || std::fs::remove_file(&gone).unwrap())),
        ..Script::default()
    });
    let (solved, _) = run(&builder, sources(context.path())).await;
    let error = solved.unwrap_err();
    let SolveError::Context(ContextError::Changed(path)) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(path, "deep/gone");
    if rustix::process::geteuid().is_root() {
        return;
    }
    write(context.path(), "shut/file", "x");
    let shut = context.path().join("shut");
    std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o000)).unwrap();
    let builder = Builder::start(Script::default());
    let (solved, _) = run(&builder, sources(context.path())).await;
    std::fs::set_permissions(&shut, std::fs::Permissions::from_mode(0o700)).unwrap();
    let error = solved.unwrap_err().to_string();
    assert_eq!(error, "cannot read 'shut' of the build context");
}

#[tokio::test]
async fn files_that_it_was_not_told_of_are_not_given() {
    let context = place();
    write(context.path(), "a", "x");
    for number in [1, 7, u32::MAX] {
        let builder = Builder::start(Script {
            also_asks: vec![number],
            ..Script::default()
        });
        let (solved, _) = run(&builder, sources(context.path())).await;
        let error = solved.unwrap_err();
        let SolveError::Context(ContextError::Number(asked)) = error else {
            panic!("{error:?}")
        };
        assert_eq!(asked, number);
    }
    // Nor a directory that the build does not name, nor a secret.
    let builder = Builder::start(Script {
        directory: "other".to_owned(),
        ..Script::default()
    });
    let (solved, _) = run(&builder, sources(context.path())).await;
    assert!(
        solved
            .unwrap_err()
            .to_string()
            .contains("no access allowed")
    );
    let builder = Builder::start(Script {
        secret: Some("other".to_owned()),
        ..Script::default()
    });
    let (solved, _) = run(&builder, sources(context.path())).await;
    assert!(solved.unwrap_err().to_string().contains("not found"));
}

#[tokio::test]
async fn a_failure_shows_the_dockerfile() {
    let context = place();
    let builder = Builder::start(Script {
        failure: Some(("exit code: 1".to_owned(), 2)),
        ..Script::default()
    });
    let (solved, _) = run(&builder, sources(context.path())).await;
    let SolveError::Failed { message, excerpt } = solved.unwrap_err() else {
        panic!()
    };
    assert_eq!(message, "exit code: 1");
    let excerpt = excerpt.unwrap().to_string();
    assert!(excerpt.contains("   2 | >>> RUN false\n"), "{excerpt}");
}

#[tokio::test]
async fn a_build_that_is_dropped_is_given_up() {
    let context = place();
    let builder = Builder::start(Script {
        hangs: true,
        ..Script::default()
    });
    let running = tokio::time::timeout(
        Duration::from_secs(30),
        Box::pin(builder.while_it_hangs(run(&builder, sources(context.path())))),
    );
    running.await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), builder.given_up())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_builder_that_dies_is_told() {
    let context = place();
    let builder = Builder::start(Script {
        dies: true,
        ..Script::default()
    });
    let (solved, _) = run(&builder, sources(context.path())).await;
    let error = solved.unwrap_err();
    assert!(matches!(error, SolveError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn nobody_is_there() {
    let place = place();
    let error = Connection::open(&place.path().join("none"), Engine::Buildkitd).await;
    assert!(matches!(error, Err(ConnectionError::Connect(_))));
    let socket = place.path().join("mute");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    for engine in [Engine::Buildkitd, Engine::Dockerd] {
        assert!(Connection::open(&socket, engine).await.is_err());
    }
}
