//! The default guest kernel: a copy in the app root, named by a link (reference section 3.2).

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use container_api::roots::{self, ARCHITECTURE, Roots};
use container_files::Links;

use crate::failure::Failure;
use crate::output;

/// What to do when the default kernel is not the packaged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Install it.
    Install,
    /// Leave things as they are.
    Leave,
    /// Ask whoever sits at the terminal; install it where nobody does.
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
    let install = || -> io::Result<()> {
        roots::create_private(&roots.kernels())?;
        copy(&packaged, &installed)?;
        point(&link, &installed)
    };
    Ok(install().with_context(|| format!("install the kernel {}", packaged.display()))?)
}

fn file_name() -> String {
    format!("vmlinux-{ARCHITECTURE}")
}

/// Whether the link names a kernel that is not the packaged one: somebody wants it so.
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
