//! Finds the program to run, as execvp(3) does, but in the container and with an answer that says what is wrong.

use std::ffi::{CStr, CString};

use rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
use rustix::io::Errno;

use super::failure::Failure;

/// Resolves `name` against `path` (a `PATH` value) as the user that the calling process has become.
pub fn find(name: &CStr, path: &str) -> Result<CString, Failure> {
    let shown = || name.to_string_lossy().into_owned();
    if name.to_bytes().contains(&b'/') {
        return match check(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(error) => Err(refusal(shown(), error)),
        };
    }
    let mut refused = None;
    if !name.is_empty() {
        for directory in path.split(':') {
            let directory = if directory.is_empty() { "." } else { directory };
            let mut candidate = format!("{directory}/").into_bytes();
            candidate.extend_from_slice(name.to_bytes());
            // `PATH` comes from the environment, which has no NUL.
            let Ok(candidate) = CString::new(candidate) else {
                continue;
            };
            match check(&candidate) {
                Ok(()) => return Ok(candidate),
                Err(Errno::ACCESS) => refused = Some(candidate),
                Err(_) => {}
            }
        }
    }
    match refused {
        Some(candidate) => Err(refusal(
            candidate.to_string_lossy().into_owned(),
            Errno::ACCESS,
        )),
        None => Err(Failure::NotInPath(shown())),
    }
}

/// What execve(2)'s error means to whoever asked for `name`.
pub fn refusal(name: String, error: Errno) -> Failure {
    match error {
        Errno::NOENT | Errno::NOTDIR => Failure::NoSuchFile(name),
        Errno::NOEXEC => Failure::Format(name),
        error => Failure::NotExecutable {
            path: name,
            source: error.into(),
        },
    }
}

fn check(path: &CStr) -> Result<(), Errno> {
    let kind = FileType::from_raw_mode(stat(path)?.st_mode);
    if kind == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    if kind != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn found(name: &str, path: &str) -> Result<String, Failure> {
        find(&CString::new(name).unwrap(), path).map(|path| path.into_string().unwrap())
    }

    #[test]
    fn the_first_that_can_run_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = |part: &str| directory.path().join(part).to_str().unwrap().to_owned();
        for (part, mode) in [("a", 0o644), ("b", 0o755), ("c", 0o755)] {
            std::fs::create_dir(path(part)).unwrap();
            let file = path(&format!("{part}/tool"));
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        }
        std::fs::create_dir(path("a/directory")).unwrap();
        let search = format!("{}:{}:{}", path("a"), path("b"), path("c"));
        assert_eq!(found("tool", &search).unwrap(), path("b/tool"));
        assert_eq!(found(&path("c/tool"), "").unwrap(), path("c/tool"));
        assert!(matches!(found("none", &search), Err(Failure::NotInPath(_))));
        assert!(matches!(found("", &search), Err(Failure::NotInPath(_))));
        assert!(matches!(
            found("directory", &search),
            Err(Failure::NotInPath(_))
        ));
        assert!(matches!(
            found("tool", &path("a")),
            Err(Failure::NotExecutable { .. })
        ));
        assert!(matches!(
            found(&path("x/y"), ""),
            Err(Failure::NoSuchFile(_))
        ));
        assert!(matches!(
            found(&path("a"), ""),
            Err(Failure::NotExecutable { .. })
        ));
    }
}
