//! The Dockerfile of a build.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use container_buildkit::{Context as Directory, Sources};

use super::piped;
use crate::failure::Failure;

/// The largest, in bytes.
const LIMIT: u64 = 16 << 20;
/// What says that the Dockerfile is on this side, wherever the context is.
const SOURCE: &str = "dockerfilekey";
/// Names that are looked for where none is given.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// Where it is.
#[derive(Debug)]
pub enum Dockerfile {
    /// A file of this side, and its text.
    File {
        /// Its directory.
        directory: PathBuf,
        /// Its name there.
        name: String,
        /// What it says.
        text: String,
    },
    /// What standard input says.
    Text(String),
    /// A member of the context, which is a tar or elsewhere.
    Inside {
        /// Its name; nothing: the usual one.
        name: Option<String>,
        /// What it says, where that is known.
        text: Option<String>,
    },
}

impl Dockerfile {
    /// The one that `file` says, else the first of the usual names in the directory `context`.
    pub fn find(context: &Path, file: Option<&Path>) -> Result<Self, Failure> {
        match file {
            Some(path) if path == Path::new("-") => Self::read(Vec::new(), std::io::stdin()),
            Some(path) => Self::open(path),
            None => {
                let mut places = NAMES.iter().map(|name| context.join(name));
                if let Some(place) = places.find(|place| place.symlink_metadata().is_ok()) {
                    return Self::open(&place);
                }
                // A directory that cannot be read hides what is in it.
                std::fs::read_dir(context)
                    .with_context(|| format!("the build context '{}'", context.display()))?;
                Err(anyhow!(
                    "there is neither a Dockerfile nor a Containerfile in '{}': name it with --file",
                    context.display()
                )
                .into())
            }
        }
    }

    /// A member of a context that only the builder sees.
    pub fn inside(file: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self::Inside {
            name: member(file)?,
            text: None,
        })
    }

    /// A member of a tar, which is left at its beginning.
    pub fn packed(file: Option<&Path>, tar: &mut File) -> Result<Self, Failure> {
        let name = member(file)?;
        let names: Vec<&str> = match &name {
            Some(name) => vec![name],
            None => NAMES.to_vec(),
        };
        let found = piped::find(tar, &names, LIMIT).context("standard input")?;
        Ok(match found {
            Some((name, text)) => Self::Inside {
                name: Some(name),
                text: Some(text),
            },
            None => Self::Inside { name, text: None },
        })
    }

    /// `head`, and what `rest` says.
    pub fn read(head: Vec<u8>, rest: impl Read) -> Result<Self, Failure> {
        Ok(Self::Text(
            text(head, rest).context("the Dockerfile on standard input")?,
        ))
    }

    fn open(path: &Path) -> Result<Self, Failure> {
        let failed = || format!("the Dockerfile '{}'", path.display());
        // What comes through a pipe (`<(...)` of a shell) has no place beside which anything could be.
        let is_pipe = |kind: std::fs::FileType| kind.is_fifo() || kind.is_char_device();
        if std::fs::metadata(path).is_ok_and(|found| is_pipe(found.file_type())) {
            let pipe = File::open(path).with_context(failed)?;
            return Ok(Self::Text(text(Vec::new(), pipe).with_context(failed)?));
        }
        // A link is followed here: the builder would look for its target beside it.
        let real = std::fs::canonicalize(path).with_context(failed)?;
        let file = File::open(&real).with_context(failed)?;
        if !file.metadata().with_context(failed)?.is_file() {
            return Err(anyhow!("it is no file").context(failed()).into());
        }
        let text = text(Vec::new(), file).with_context(failed)?;
        // What belongs to it is looked for beside the name that was given.
        let has_own_ignore = ignore_file(path).is_some_and(|beside| beside.exists());
        let place = if has_own_ignore && path.symlink_metadata().is_ok_and(|found| found.is_file())
        {
            path
        } else {
            real.as_path()
        };
        let name = place.file_name().and_then(OsStr::to_str);
        let name = name.ok_or_else(|| anyhow!("its name is not UTF-8").context(failed()))?;
        let directory = place
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        Ok(Self::File {
            directory: directory.unwrap_or(Path::new(".")).to_owned(),
            name: name.to_owned(),
            text,
        })
    }

    /// Says to the builder where it is. Gives its text, where that is known.
    pub fn add(
        self,
        attributes: &mut HashMap<String, String>,
        sources: &mut Sources,
    ) -> Result<Option<String>, Failure> {
        let mut set = |name: &str| attributes.insert("filename".to_owned(), name.to_owned());
        match self {
            Self::File {
                directory,
                name,
                text,
            } => {
                set(&name);
                let opened = Directory::open(&directory);
                let opened = opened.with_context(|| directory.display().to_string())?;
                // A builder that was taken over reads nothing else of that directory.
                let ignore = format!("{name}.dockerignore");
                let opened = opened.only(vec![name, ignore]);
                attributes.insert(SOURCE.to_owned(), "dockerfile".to_owned());
                sources.contexts.insert("dockerfile".to_owned(), opened);
                Ok(Some(text))
            }
            Self::Text(text) => {
                set(NAMES[0]);
                let only = Directory::with_files(&[(NAMES[0], text.as_bytes())]);
                let only = only.context("a place for the Dockerfile")?;
                attributes.insert(SOURCE.to_owned(), "dockerfile".to_owned());
                sources.contexts.insert("dockerfile".to_owned(), only);
                Ok(Some(text))
            }
            Self::Inside { name, text } => {
                if let Some(name) = name {
                    set(&name);
                }
                Ok(text)
            }
        }
    }
}

/// The name of a member.
fn member(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let name = file.map(|path| path.to_str().map(str::to_owned));
    match name {
        Some(None) => Err(anyhow!("--file is not UTF-8").into()),
        Some(name) => Ok(name),
        None => Ok(None),
    }
}

/// `<Dockerfile>.dockerignore`.
fn ignore_file(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(".dockerignore");
    Some(path.with_file_name(name))
}

fn text(head: Vec<u8>, rest: impl Read) -> anyhow::Result<String> {
    let mut bytes = head;
    rest.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        anyhow::bail!("it has more than {LIMIT} bytes");
    }
    String::from_utf8(bytes).map_err(|_| anyhow!("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(dockerfile: &Dockerfile) -> &str {
        match dockerfile {
            Dockerfile::File { name, .. } => name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_usual_names_are_looked_for() {
        let scratch = tempfile::tempdir().unwrap();
        let context = scratch.path();
        let missing = Dockerfile::find(context, None).unwrap_err();
        assert!(format!("{missing:?}").contains("neither a Dockerfile"));
        std::fs::write(context.join("Containerfile"), "FROM a").unwrap();
        assert_eq!(
            name(&Dockerfile::find(context, None).unwrap()),
            "Containerfile"
        );
        std::fs::write(context.join("Dockerfile"), "FROM b").unwrap();
        assert_eq!(
            name(&Dockerfile::find(context, None).unwrap()),
            "Dockerfile"
        );
        let other = context.join("x/other");
        std::fs::create_dir(context.join("x")).unwrap();
        std::os::unix::fs::symlink("../Containerfile", &other).unwrap();
        assert_eq!(
            name(&Dockerfile::find(context, Some(&other)).unwrap()),
            "Containerfile"
        );
        assert!(Dockerfile::find(context, Some(&context.join("x"))).is_err());
        assert!(Dockerfile::find(context, Some(&context.join("none"))).is_err());
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"FROM p").unwrap();
        drop(writer);
        let pipe = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let piped = Dockerfile::find(context, Some(Path::new(&pipe))).unwrap();
        assert!(matches!(piped, Dockerfile::Text(text) if text == "FROM p"));
    }

    #[test]
    fn only_the_dockerfile_of_its_directory_is_given_away() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("Dockerfile"), "FROM a").unwrap();
        let found = Dockerfile::find(scratch.path(), None).unwrap();
        let (mut attributes, mut sources) = (HashMap::new(), Sources::default());
        let text = found.add(&mut attributes, &mut sources).unwrap();
        assert_eq!(text.as_deref(), Some("FROM a"));
        assert_eq!(attributes["filename"], "Dockerfile");
        let shown = format!("{:?}", sources.contexts["dockerfile"]);
        assert!(shown.contains("Dockerfile.dockerignore"), "{shown}");
    }

    #[test]
    fn a_large_one_is_taken_and_a_huge_one_is_not() {
        assert!(text(Vec::new(), std::io::repeat(b'x').take(1 << 20)).is_ok());
        assert!(text(Vec::new(), std::io::repeat(b'x')).is_err());
    }
}
