//! The default guest kernel: a copy in the app root, named by a link (as Apple's container has it).

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use container_api::roots::{self, ARCHITECTURE, Roots};
use container_archive::nameless;
use container_files::Links;
use rustix::fs::Mode;

use crate::failure::Failure;
use crate::output;

/// What to do when the default kernel is not the packaged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Install it.
    Install,
    /// Leave things as they are.
    Leave,
    /// Ask at the terminal; without a terminal, install it.
    Ask,
}

/// Sees to it that containers have a kernel to boot: the packaged one, unless another was chosen.
pub fn provide(roots: &Roots, answer: Answer) -> Result<(), Failure> {
    let packaged = roots.packaged_kernel();
    let link = roots.default_kernel();
    let installed = roots.kernels().join(file_name());
    if answer == Answer::Leave || is_chosen(&link) || is_current(&link, &installed, &packaged) {
        return Ok(());
    }
    if !packaged.is_file() {
        output::tell(format_args!(
            "Warning: there is no kernel at {}: containers cannot start",
            packaged.display()
        ));
        return Ok(());
    }
    if answer == Answer::Ask && !confirmed().context("read the answer")? {
        return Ok(());
    }
    install_packaged(roots)
}

/// Has the packaged kernel be the default again, whatever was chosen. Nothing changes where there is none.
pub fn choose_packaged(roots: &Roots) -> Result<(), Failure> {
    let packaged = roots.packaged_kernel();
    if !packaged.is_file() {
        let text = format!("there is no kernel at {}", packaged.display());
        return Err(Failure::Local(anyhow::anyhow!(text)));
    }
    install_packaged(roots)
}

/// Copies the packaged kernel and has it be the default. Until both are done, the kernel that was the default still is.
fn install_packaged(roots: &Roots) -> Result<(), Failure> {
    let packaged = roots.packaged_kernel();
    let installed = roots.kernels().join(file_name());
    let install = || -> io::Result<()> {
        roots::create_private(&roots.kernels())?;
        copy(&packaged, &installed)?;
        point(&roots.default_kernel(), &installed)
    };
    Ok(install().with_context(|| format!("install the kernel {}", packaged.display()))?)
}

/// A file without a name, where kernels are kept.
pub fn temporary(roots: &Roots) -> Result<File, Failure> {
    let make = || {
        roots::create_private(&roots.kernels())?;
        let directory = File::open(roots.kernels())?;
        if let Some(file) = nameless::create(&directory, Mode::RUSR | Mode::WUSR)? {
            return Ok(File::from(file));
        }
        // Not every file system has them.
        let path = roots
            .kernels()
            .join(format!(".unnamed-{}", std::process::id()));
        let file = container_files::create(&path)?;
        fs::remove_file(&path)?;
        Ok::<_, io::Error>(file)
    };
    Ok(make().with_context(|| format!("make a file in {}", roots.kernels().display()))?)
}

/// What a kernel is installed from.
#[derive(Debug)]
pub struct Source<'a> {
    /// Its image.
    pub kernel: &'a mut File,
    /// The archive of its modules, if it has some: see [`super::modules`].
    pub modules: Option<&'a mut File>,
}

/// Copies the kernel in `source` to the system's kernels as `name`, and has it be the default of guests of `architecture`.
/// Another kernel of that name is replaced only with `force`; it has the modules of this `source`, or none. The packaged kernel's name is kept for that one, which the next
/// `system start` would put back.
pub fn install(
    roots: &Roots,
    architecture: &str,
    name: &str,
    source: Source<'_>,
    force: bool,
) -> Result<(), Failure> {
    let Source {
        kernel: source,
        modules,
    } = source;
    let link = roots
        .kernels()
        .join(format!("default.kernel-{architecture}"));
    let kept = format!("chosen-{name}");
    let name = if name == file_name() { &kept } else { name };
    let target = roots.kernels().join(name);
    if name.is_empty() || name.starts_with('.') || name.starts_with("default.kernel-") {
        return Err(Failure::usage(format_args!(
            "a kernel cannot be called {name:?}"
        )));
    }
    check(architecture, source, name)?;
    if target.exists() && !force {
        let is_same = same(source, &target);
        if !is_same.with_context(|| format!("compare with {}", target.display()))? {
            let text = format!(
                "another kernel {name} is installed: --force replaces it, {}",
                target.display()
            );
            return Err(Failure::Local(anyhow::anyhow!(text)));
        }
    }
    let beside_it = roots.modules(&target);
    let write = || -> io::Result<()> {
        roots::create_private(&roots.kernels())?;
        match modules {
            Some(modules) => copy_open(modules, &beside_it)?,
            None => match fs::remove_file(&beside_it) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
        copy_open(source, &target)?;
        point(&link, &target)
    };
    Ok(write().with_context(|| format!("install the kernel {}", target.display()))?)
}

/// Whether `source` begins as kernels of the architecture do, at offsets of theirs: an ELF file or a bzImage
/// (Documentation/arch/x86/boot.rst), an Image (Documentation/arch/arm64/booting.rst).
fn check(architecture: &str, source: &File, name: &str) -> Result<(), Failure> {
    let begins = |offset: u64, magic: &[u8]| {
        let mut bytes = vec![0; magic.len()];
        source.read_exact_at(&mut bytes, offset).is_ok() && bytes == magic
    };
    let (is_kernel, kinds) = if architecture == "arm64" {
        (begins(0x38, b"ARM\x64"), "a 64-bit ARM Image")
    } else {
        let is_elf = begins(0, b"\x7fELF") && begins(18, &[62, 0]);
        let kinds = "an x86-64 ELF kernel or a bzImage";
        (is_elf || begins(0x202, b"HdrS"), kinds)
    };
    if is_kernel {
        return Ok(());
    }
    Err(Failure::Local(anyhow::anyhow!("{name} is not {kinds}")))
}

/// Whether two files hold the same.
fn same(source: &mut File, target: &Path) -> io::Result<bool> {
    let mut target = container_files::open(target, Links::Refuse)?;
    if source.metadata()?.len() != target.metadata()?.len() {
        return Ok(false);
    }
    source.rewind()?;
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let read = source.read(&mut left)?;
        if read == 0 {
            return Ok(true);
        }
        target.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
    }
}

fn file_name() -> String {
    format!("vmlinux-{ARCHITECTURE}")
}

/// Whether the link names a kernel that is not the packaged one: the user has chosen it.
fn is_chosen(link: &Path) -> bool {
    fs::read_link(link).is_ok_and(|target| target.file_name() != Some(file_name().as_ref()))
        && link.exists()
}

/// Whether the link names a copy of the packaged kernel as it is now. Copies keep its time.
fn is_current(link: &Path, installed: &Path, packaged: &Path) -> bool {
    let identity = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    let named = identity(link);
    named.is_some() && named == identity(installed) && named == identity(packaged)
}

fn confirmed() -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    output::ask("Install the default kernel? [Y/n] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(!matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "n" | "no"
    ))
}

/// Copies so that `to` is whole, old or new, whatever happens.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let temporary = beside(to);
    let write = || {
        let mut source = container_files::open(from, Links::Follow)?;
        let mut target = container_files::create(&temporary)?;
        io::copy(&mut source, &mut target)?;
        target.set_modified(source.metadata()?.modified()?)?;
        target.sync_all()?;
        fs::rename(&temporary, to)
    };
    discard_on_failure(write(), &temporary)
}

/// Copies what `from` holds so that `to` is whole, old or new, whatever happens.
fn copy_open(from: &mut File, to: &Path) -> io::Result<()> {
    let temporary = beside(to);
    let mut write = || {
        let mut file = container_files::create(&temporary)?;
        from.rewind()?;
        io::copy(from, &mut file)?;
        file.sync_all()?;
        fs::rename(&temporary, to)
    };
    discard_on_failure(write(), &temporary)
}

/// Makes `link` name `target`, which lies beside it.
fn point(link: &Path, target: &Path) -> io::Result<()> {
    let Some(name) = target.file_name() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let temporary = beside(link);
    let write = || {
        std::os::unix::fs::symlink(name, &temporary)?;
        fs::rename(&temporary, link)
    };
    discard_on_failure(write(), &temporary)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}

fn discard_on_failure(outcome: io::Result<()>, temporary: &Path) -> io::Result<()> {
    if outcome.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(temporary);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel without modules.
    fn of(kernel: &mut File) -> Source<'_> {
        let modules = None;
        Source { kernel, modules }
    }

    fn system(root: &Path) -> Roots {
        let roots = Roots::new(root.join("app"), root.join("prefix"), None).unwrap();
        fs::create_dir_all(roots.share().join("kernel")).unwrap();
        fs::write(roots.share().join("kernel").join(file_name()), "kernel 1").unwrap();
        roots
    }

    fn default_kernel(roots: &Roots) -> io::Result<String> {
        fs::read_to_string(roots.default_kernel())
    }

    #[test]
    fn it_is_installed_once_and_brought_up_to_date() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = system(scratch.path());
        provide(&roots, Answer::Leave).unwrap();
        assert!(default_kernel(&roots).is_err());
        provide(&roots, Answer::Install).unwrap();
        assert_eq!(default_kernel(&roots).unwrap(), "kernel 1");
        fs::write(roots.share().join("kernel").join(file_name()), "kernel 22").unwrap();
        provide(&roots, Answer::Install).unwrap();
        assert_eq!(default_kernel(&roots).unwrap(), "kernel 22");
        assert_eq!(fs::read_dir(roots.kernels()).unwrap().count(), 2);
    }

    /// A bzImage as far as anybody looks at it here.
    fn kernel(text: &str) -> File {
        let mut bytes = vec![0; 0x202];
        bytes.extend(b"HdrS");
        bytes.extend(text.as_bytes());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn a_kernel_is_replaced_only_when_that_is_asked_for() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = system(scratch.path());
        provide(&roots, Answer::Install).unwrap();
        let set = |name: &str, text: &str, force| {
            install(&roots, ARCHITECTURE, name, of(&mut kernel(text)), force)
        };
        let chosen = || fs::read(roots.default_kernel()).map(|bytes| bytes[0x206..].to_vec());
        set("vmlinux-6.1", "one", false).unwrap();
        set("vmlinux-6.1", "one", false).unwrap();
        assert_eq!(chosen().unwrap(), b"one");
        let Err(Failure::Local(error)) = set("vmlinux-6.1", "two", false) else {
            panic!()
        };
        assert!(error.to_string().contains("--force"), "{error}");
        set("vmlinux-6.1", "two", true).unwrap();
        assert_eq!(chosen().unwrap(), b"two");
        for name in ["", "..", ".x", "default.kernel-amd64"] {
            assert!(set(name, "three", true).is_err(), "{name}");
        }
        let mut text = tempfile::tempfile().unwrap();
        text.write_all(&[b'x'; 1000]).unwrap();
        assert!(install(&roots, ARCHITECTURE, "text", of(&mut text), false).is_err());
        // Nothing but kernels and the link is left.
        assert_eq!(fs::read_dir(roots.kernels()).unwrap().count(), 3);
        choose_packaged(&roots).unwrap();
        assert_eq!(default_kernel(&roots).unwrap(), "kernel 1");
    }

    #[test]
    fn a_kernel_with_the_packaged_ones_name_stays_chosen() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = system(scratch.path());
        provide(&roots, Answer::Install).unwrap();
        for text in ["one", "two"] {
            let mut source = kernel(text);
            install(&roots, ARCHITECTURE, &file_name(), of(&mut source), true).unwrap();
            provide(&roots, Answer::Install).unwrap();
            let chosen = fs::read(roots.default_kernel()).unwrap();
            assert_eq!(&chosen[0x206..], text.as_bytes());
        }
        let packaged = fs::read_to_string(roots.kernels().join(file_name()));
        assert_eq!(packaged.unwrap(), "kernel 1");
    }

    #[test]
    fn without_a_packaged_kernel_the_chosen_one_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = system(scratch.path());
        fs::remove_file(roots.packaged_kernel()).unwrap();
        install(&roots, ARCHITECTURE, "own", of(&mut kernel("mine")), false).unwrap();
        let Err(Failure::Local(error)) = choose_packaged(&roots) else {
            panic!()
        };
        assert!(error.to_string().contains("there is no kernel"), "{error}");
        assert!(fs::read(roots.default_kernel()).unwrap().ends_with(b"mine"));
    }

    #[test]
    fn modules_come_and_go_with_their_kernel() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = system(scratch.path());
        let set = |modules: Option<&str>, force| {
            let mut archive = modules.map(|text| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(text.as_bytes()).unwrap();
                file
            });
            let source = Source {
                kernel: &mut kernel("own"),
                modules: archive.as_mut(),
            };
            install(&roots, ARCHITECTURE, "own", source, force).unwrap();
            fs::read_to_string(roots.modules(&roots.kernels().join("own"))).ok()
        };
        assert_eq!(set(None, false), None);
        assert_eq!(set(Some("one"), false).as_deref(), Some("one"));
        assert_eq!(set(Some("two"), true).as_deref(), Some("two"));
        assert_eq!(set(None, false), None);
    }

    #[test]
    fn a_kernel_that_was_chosen_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = system(scratch.path());
        provide(&roots, Answer::Install).unwrap();
        let own = roots.kernels().join("my-kernel");
        fs::write(&own, "mine").unwrap();
        point(&roots.default_kernel(), &own).unwrap();
        provide(&roots, Answer::Install).unwrap();
        assert_eq!(default_kernel(&roots).unwrap(), "mine");
    }
}
