//! The directories of the app root: what can be made again, and what cannot.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use container_api::roots::Roots;
use container_resource::check::Check;

/// Says of each directory that is not as it should be what is to be done; one line where all are.
pub fn checks(roots: &Roots) -> Vec<Check> {
    if !roots.app.exists() {
        return vec![Check::ok(
            "state",
            format!("none yet in {}", roots.app.display()),
        )];
    }
    let caches = [
        roots.app.join("layers"),
        roots.app.join("views"),
        roots.cache(),
        roots.transient(),
    ];
    let kept = [
        (roots.content(), "images"),
        (roots.containers(), "containers"),
        (roots.volumes(), "volumes"),
        (roots.networks(), "networks"),
    ];
    // Before the first start there are none of them.
    let begun = roots.apiserver_lock().exists();
    let mut checks: Vec<Check> = caches
        .iter()
        .filter_map(|path| cache(path, begun))
        .collect();
    checks.extend(
        kept.iter()
            .filter_map(|(path, what)| state(path, what, begun)),
    );
    if checks.is_empty() {
        checks.push(Check::ok("state", roots.app.display().to_string()));
    }
    checks
}

/// What can be made again needs nobody.
fn cache(path: &Path, begun: bool) -> Option<Check> {
    let wrong = wrong(path, begun)?;
    Some(Check::warn(
        "cache",
        format!(
            "{} {wrong}: it is made anew when it is needed",
            path.display()
        ),
        "none is needed",
    ))
}

fn state(path: &Path, what: &str, begun: bool) -> Option<Check> {
    let wrong = wrong(path, begun)?;
    let detail = format!("{} {wrong}: the {what} are kept there", path.display());
    Some(Check::fail("state", detail, remedy(path)))
}

fn remedy(path: &Path) -> String {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            format!("give it to who runs the system: chown, chmod 700 '{shown}'")
        }
        Err(_) if path.is_symlink() => {
            format!("mount, or put back, what the link '{shown}' leads to")
        }
        _ => format!(
            "put it back; without it: container system stop; rm -f '{shown}'; container system start"
        ),
    }
}

/// What is wrong with the directory `path`, which is to be there if the system has `begun`.
fn wrong(path: &Path, begun: bool) -> Option<String> {
    let own = rustix::process::geteuid();
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => Some(format!("is {}", kind(&found))),
        Ok(found) if !own.is_root() && found.uid() != own.as_raw() => {
            Some(format!("belongs to user {}", found.uid()))
        }
        Ok(found) if found.mode() & 0o700 != 0o700 => {
            Some(format!("has the mode {:o}", found.mode() & 0o7777))
        }
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            Some("is a link to nothing".to_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            begun.then(|| "is missing".to_owned())
        }
        Err(error) => Some(format!("cannot be looked at ({error})")),
    }
}

fn kind(found: &Metadata) -> &'static str {
    if found.is_file() {
        "a file"
    } else {
        "no directory"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use container_resource::check::Status;

    use super::*;

    #[test]
    fn each_directory_that_is_not_one_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = Roots::new(scratch.path().join("app"), "/p".into(), None).unwrap();
        let shown = || -> Vec<(Status, String)> {
            let all = checks(&roots).into_iter();
            all.map(|check| (check.status, check.detail)).collect()
        };
        assert_eq!(shown()[0].0, Status::Ok);
        fs::create_dir(&roots.app).unwrap();
        assert_eq!(shown()[0].0, Status::Ok);
        fs::write(roots.apiserver_lock(), "").unwrap();
        for name in [
            "layers",
            "views",
            "cache",
            "transient",
            "content",
            "containers",
            "volumes",
            "networks",
        ] {
            fs::create_dir(roots.app.join(name)).unwrap();
        }
        assert_eq!(shown().len(), 1);
        assert_eq!(shown()[0].0, Status::Ok);
        for name in ["layers", "views", "content"] {
            fs::remove_dir(roots.app.join(name)).unwrap();
        }
        fs::write(roots.app.join("views"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", roots.content()).unwrap();
        fs::set_permissions(roots.volumes(), fs::Permissions::from_mode(0o500)).unwrap();
        let expected = [
            (Status::Warn, "layers is missing"),
            (Status::Warn, "views is a file"),
            (Status::Fail, "content is a link to nothing"),
            (Status::Fail, "volumes has the mode 500"),
        ];
        let shown = shown();
        assert_eq!(shown.len(), expected.len(), "{shown:?}");
        for ((status, detail), (expected, words)) in shown.iter().zip(expected) {
            assert!(*status == expected && detail.contains(words), "{detail}");
        }
    }
}
