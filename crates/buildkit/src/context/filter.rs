//! The builder's selection of a context's files.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use super::matcher::{Matched, Matcher};
use super::names::Names;
use super::pattern::{Pattern, PatternError, clean};

/// The most patterns that a builder may name: each is asked for each file.
const MAX_PATTERNS: usize = 10_000;
/// The most links that are followed.
const MAX_LINKS: usize = 10_000;

/// What a builder asks for, as the headers of its request say.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Nothing but what these match.
    pub include: Vec<String>,
    /// Nothing that these match.
    pub exclude: Vec<String>,
    /// Paths that are included, with what they lead to as symbolic links.
    pub follow: Vec<String>,
}

/// [`Wanted`], ready to be asked.
#[derive(Clone, Debug)]
pub struct Filter {
    include: Option<Matcher>,
    exclude: Option<Matcher>,
}

/// What the directories above have matched.
#[derive(Clone, Debug, Default)]
pub struct Above {
    include: Matched,
    exclude: Matched,
}

/// What becomes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It is not, but something below it may be.
    Pass,
    /// Neither it nor what is below it is sent.
    Skip,
}

impl Filter {
    /// Follows links in `root` where that is asked for.
    ///
    /// # Errors
    /// A pattern that is invalid.
    pub fn new(root: &OwnedFd, wanted: &Wanted) -> Result<Self, PatternError> {
        let count = wanted.include.len() + wanted.exclude.len() + wanted.follow.len();
        if count > MAX_PATTERNS {
            return Err(PatternError::TooLong(count));
        }
        let mut include: BTreeSet<String> = wanted.include.iter().cloned().collect();
        let mut whole = false;
        for path in followed(root, &wanted.follow) {
            // The root itself is all there is.
            whole |= path == ".";
            include.insert(path);
        }
        let include = if whole {
            None
        } else {
            Matcher::new(include.iter().map(String::as_str))?
        };
        Ok(Self {
            include,
            exclude: Matcher::new(wanted.exclude.iter().map(String::as_str))?,
        })
    }

    /// What becomes of `path`, and what is to be told to the paths below it.
    pub fn verdict(&self, path: &str, is_directory: bool, above: &Above) -> (Verdict, Above) {
        let mut below = Above::default();
        let mut verdict = Verdict::Send;
        if let Some(include) = &self.include {
            let (is_matched, matched) = include.matches(path, &above.include);
            below.include = matched;
            if !is_matched {
                if !is_directory || include.misses_all_below(path) {
                    return (Verdict::Skip, below);
                }
                verdict = Verdict::Pass;
            }
        }
        if let Some(exclude) = &self.exclude {
            let (is_matched, matched) = exclude.matches(path, &above.exclude);
            below.exclude = matched;
            if is_matched {
                if !is_directory || exclude.matches_all_below(path) {
                    return (Verdict::Skip, below);
                }
                verdict = Verdict::Pass;
            }
        }
        (verdict, below)
    }
}

/// `paths` and every link on the way to what they lead to in `root`, as paths of the root.
fn followed(root: &OwnedFd, paths: &[String]) -> BTreeSet<String> {
    let mut resolved = BTreeSet::new();
    let mut left: Vec<String> = paths.to_vec();
    while let Some(path) = left.pop() {
        if resolved.len() > MAX_LINKS {
            break;
        }
        let path = clean(&format!("/{path}"));
        let mut current = String::new();
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        if parts.peek().is_none() {
            resolved.insert(".".to_owned());
        }
        while let Some(part) = parts.next() {
            let parent = current.clone();
            if !current.is_empty() {
                current.push('/');
            }
            current.push_str(part);
            let targets = links(root, &parent, part);
            let is_last = parts.peek().is_none();
            if targets.is_empty() && !is_last {
                continue;
            }
            // A path that is known already leads nowhere new; so a circle of links ends.
            if resolved.insert(current.clone()) {
                let rest: Vec<&str> = parts.collect();
                left.extend(
                    targets
                        .iter()
                        .map(|target| format!("{target}/{}", rest.join("/"))),
                );
            }
            break;
        }
    }
    resolved
}

/// Where the entries of `parent` that `part` matches lead to, as far as they are links.
fn links(root: &OwnedFd, parent: &str, part: &str) -> Vec<String> {
    let has_wildcard = part.contains(['*', '?', '[']);
    let parent_path = if parent.is_empty() { "." } else { parent };
    let Ok(directory) = open_beneath(root, Path::new(parent_path), OFlags::DIRECTORY) else {
        return Vec::new();
    };
    let link = |name: &Path| {
        let found = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            return None;
        }
        let target = rustix::fs::readlinkat(&directory, name, Vec::new()).ok()?;
        let target = target.into_string().ok()?;
        Some(if target.starts_with('/') {
            target
        } else {
            format!("{parent}/{target}")
        })
    };
    if !has_wildcard {
        return link(Path::new(part)).into_iter().collect();
    }
    let Ok(Some(pattern)) = Pattern::parse(part) else {
        return Vec::new();
    };
    let mut targets = Vec::new();
    if let Ok(mut names) = Names::read(&directory) {
        while let Some(name) = names.next() {
            if name.to_str().is_some_and(|name| pattern.matches(name)) {
                targets.extend(link(Path::new(name)));
            }
        }
    }
    targets
}

/// Opens `path` for reading where no link leads out of `root`, and nothing that would block.
pub fn open_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(
        root,
        path,
        flags
            | OFlags::RDONLY
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC
            | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_inside_the_context_alone() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(place("real/deep")).unwrap();
        std::fs::write(place("real/deep/file"), "x").unwrap();
        symlink("real", place("link")).unwrap();
        symlink("deep/file", place("real/alias")).unwrap();
        symlink("/real/alias", place("absolute")).unwrap();
        symlink("../../../../etc", place("out")).unwrap();
        symlink("b", place("a")).unwrap();
        symlink("a", place("b")).unwrap();
        let root = OwnedFd::from(std::fs::File::open(directory.path()).unwrap());
        let found = |paths: &[&str]| -> Vec<String> {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            followed(&root, &paths).into_iter().collect()
        };
        assert_eq!(found(&["real/deep"]), ["real/deep"]);
        assert_eq!(found(&["link/deep/file"]), ["link", "real/deep/file"]);
        assert_eq!(
            found(&["absolute"]),
            ["absolute", "real/alias", "real/deep/file"]
        );
        assert_eq!(found(&["a"]), ["a", "b"]);
        assert_eq!(found(&["l*"]), ["l*", "real"]);
        // As a chroot would: `..` of the root is the root.
        assert_eq!(found(&["out/passwd"]), ["etc/passwd", "out"]);
        assert_eq!(found(&["/"]), ["."]);
        assert_eq!(found(&["missing"]), ["missing"]);
    }

    #[test]
    fn a_directory_is_passed_for_what_is_in_it() {
        let root = OwnedFd::from(std::fs::File::open("/").unwrap());
        let wanted = Wanted {
            include: vec!["src/app".to_owned()],
            exclude: vec!["src/app/target".to_owned(), "**/*.o".to_owned()],
            ..Wanted::default()
        };
        let filter = Filter::new(&root, &wanted).unwrap();
        let none = Above::default();
        let (verdict, src) = filter.verdict("src", true, &none);
        assert_eq!(verdict, Verdict::Pass);
        let (verdict, app) = filter.verdict("src/app", true, &src);
        assert_eq!(verdict, Verdict::Send);
        assert_eq!(filter.verdict("src/app/x.c", false, &app).0, Verdict::Send);
        assert_eq!(filter.verdict("src/app/x.o", false, &app).0, Verdict::Skip);
        assert_eq!(
            filter.verdict("src/app/target", true, &app).0,
            Verdict::Skip
        );
        assert_eq!(filter.verdict("src/other", true, &src).0, Verdict::Skip);
        assert_eq!(filter.verdict("doc", true, &none).0, Verdict::Skip);
    }
}
