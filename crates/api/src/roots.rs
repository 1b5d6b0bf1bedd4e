//! Where things are on disk (XDG base directories, Apple's container).

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::chain::about;

/// Architecture of this host's guests, as images and kernels are named by it.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// The directories of one system. Two systems with different app roots share nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// State: images, containers, kernels.
    pub app: PathBuf,
    /// The installed prefix: `bin`, `libexec`, `share`.
    pub install: PathBuf,
    /// Log files of the daemons.
    pub log: PathBuf,
    /// Whether somebody has named that directory; else a journal may have what they would say there.
    pub log_is_named: bool,
    /// Sockets of the daemons, mode 0700.
    pub runtime: PathBuf,
}

impl Roots {
    /// From `CONTAINER_APP_ROOT`, `CONTAINER_INSTALL_ROOT`, `CONTAINER_LOG_ROOT`, the XDG variables and the
    /// place of the running binary (`<install>/bin/container`).
    ///
    /// # Errors
    /// When neither a home directory nor the variables are set, or the binary's own path is unknown.
    pub fn from_environment() -> io::Result<Self> {
        let app = match directory("CONTAINER_APP_ROOT") {
            Some(path) => path,
            None => data_home()?.join("container"),
        };
        let install = install_root()?;
        let log = directory("CONTAINER_LOG_ROOT");
        Self::new(app, install, log)
    }

    /// For the given app root. The runtime directory is derived from it, so that whoever knows the app root
    /// finds the sockets. The app root is the same however it is spelled: relative, through a link, with `..`
    /// or a slash at its end.
    ///
    /// # Errors
    /// When a relative path cannot be made absolute.
    pub fn new(app: PathBuf, install: PathBuf, log: Option<PathBuf>) -> io::Result<Self> {
        let app = canonical(app)?;
        let install = std::path::absolute(install)?;
        let log_is_named = log.is_some();
        let log = log.map_or_else(|| Ok(app.join("log")), std::path::absolute)?;
        let mut name = String::from("container");
        let default = data_home()
            .and_then(|data| canonical(data.join("container")))
            .ok();
        if default.as_ref() != Some(&app) {
            name.push('-');
            let digest = Sha256::digest(app.as_os_str().as_encoded_bytes());
            name.push_str(&hex::encode(&digest[..6]));
        }
        Ok(Self {
            app,
            install,
            log,
            log_is_named,
            runtime: runtime_home().join(name),
        })
    }

    /// Whether it is what a user has without naming an app root.
    pub fn is_default(&self) -> bool {
        self.runtime.file_name() == Some("container".as_ref())
    }

    /// Socket of the apiserver.
    pub fn apiserver_socket(&self) -> PathBuf {
        self.runtime.join("apiserver.sock")
    }

    /// The file whose lock the apiserver holds.
    pub fn apiserver_lock(&self) -> PathBuf {
        self.app.join("apiserver.lock")
    }

    /// Where clients hand descriptors to the apiserver.
    pub fn apiserver_descriptors(&self) -> PathBuf {
        self.runtime.join("apiserver-descriptors.sock")
    }

    /// Socket of core-images.
    pub fn images_socket(&self) -> PathBuf {
        self.runtime.join("images.sock")
    }

    /// The lock that each client of a builder shares while it has to do with it; `id` is the builder's container.
    pub fn builder_lock(&self, id: &str) -> PathBuf {
        self.app.join("builders").join(format!("{id}.lock"))
    }

    /// The builder's socket `name` on the host.
    pub fn builder_socket(&self, id: &str, name: &str) -> PathBuf {
        self.runtime.join(format!("builder-{id}-{name}.sock"))
    }

    /// What the builder has said of itself in the run that the file names.
    pub fn builder_abilities(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("builder-{id}.json"))
    }

    /// The content store: an OCI image layout.
    pub fn content(&self) -> PathBuf {
        self.app.join("content")
    }

    /// Where clients hand descriptors to core-images.
    pub fn images_descriptors(&self) -> PathBuf {
        self.runtime.join("images-descriptors.sock")
    }

    /// Bundles, one directory per container.
    pub fn containers(&self) -> PathBuf {
        self.app.join("containers")
    }

    /// The name of the machine that is meant where none is named.
    pub fn default_machine(&self) -> PathBuf {
        self.app.join("default-machine.json")
    }

    /// Bundles of machines that live for one operation.
    pub fn transient(&self) -> PathBuf {
        self.app.join("transient")
    }

    /// Networks, one directory each.
    pub fn networks(&self) -> PathBuf {
        self.app.join("networks")
    }

    /// State of the network `name`: its configuration, and what its process keeps.
    pub fn network(&self, name: &str) -> PathBuf {
        self.networks().join(name)
    }

    /// Socket of the process of the network `name`.
    pub fn network_socket(&self, name: &str) -> PathBuf {
        self.runtime.join(format!("network-{name}.sock"))
    }

    /// Where clients hand descriptors to the process of the network `name`.
    pub fn network_descriptors(&self, name: &str) -> PathBuf {
        self.runtime.join(format!("taps-{name}.sock"))
    }

    /// Volumes, one directory each.
    pub fn volumes(&self) -> PathBuf {
        self.app.join("volumes")
    }

    /// What can be made again.
    pub fn cache(&self) -> PathBuf {
        self.app.join("cache")
    }

    /// Guest kernels and the links that name the default ones.
    pub fn kernels(&self) -> PathBuf {
        self.app.join("kernels")
    }

    /// The link that names the default kernel.
    pub fn default_kernel(&self) -> PathBuf {
        self.kernels()
            .join(format!("default.kernel-{ARCHITECTURE}"))
    }

    /// The modules of the installed `kernel`, if it has some: an archive that goes behind the initramfs.
    pub fn modules(&self, kernel: &Path) -> PathBuf {
        let mut name = kernel.file_name().unwrap_or_default().to_owned();
        name.push(".modules.cpio");
        kernel.with_file_name(name)
    }

    /// The kernel of the installed prefix.
    pub fn packaged_kernel(&self) -> PathBuf {
        self.share()
            .join("kernel")
            .join(format!("vmlinux-{ARCHITECTURE}"))
    }

    /// The initramfs of the installed prefix, with vminitd.
    pub fn initramfs(&self) -> PathBuf {
        self.share().join(format!("initramfs-{ARCHITECTURE}.cpio"))
    }

    /// The program of one of the system's own plugins; those of others are found by [`crate::plugin`].
    pub fn plugin(&self, name: &str) -> PathBuf {
        plugin(&self.install, name)
    }

    /// Guest files of the installed prefix.
    pub fn share(&self) -> PathBuf {
        self.install.join("share/container")
    }

    /// Creates the app, log and runtime directories, closed to other users.
    ///
    /// # Errors
    /// When a directory cannot be made, or the runtime directory, or the one above it that lies in `/tmp`, belongs
    /// to somebody else.
    pub fn create(&self) -> io::Result<()> {
        for directory in [&self.app, &self.log] {
            create_private(directory).map_err(naming(directory))?;
        }
        // Whoever may write there could put another directory in the place of ours.
        let home = self.runtime.parent();
        for directory in home
            .filter(|home| *home == temporary_home())
            .into_iter()
            .chain([self.runtime.as_path()])
        {
            create_private(directory).map_err(naming(directory))?;
            close(directory).map_err(naming(directory))?;
        }
        Ok(())
    }
}

/// The error with the path that it is about.
fn naming(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| about(path.display(), error)
}

/// One spelling of `path`, as far as it exists: absolute, without links, `.` and `..`.
fn canonical(path: PathBuf) -> io::Result<PathBuf> {
    let mut resolved = PathBuf::new();
    // `absolute` leaves `..` in, whose meaning depends on the links before it.
    for part in std::path::absolute(path)?.components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            part => {
                resolved.push(part);
                // What is not there yet, or cannot be looked at, has no other spelling.
                if let Ok(found) = std::fs::canonicalize(&resolved) {
                    resolved = found;
                }
            }
        }
    }
    Ok(resolved)
}

/// Takes `directory` from everybody else.
fn close(directory: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(directory)?;
    let own = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() || metadata.uid() != own {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it is not a directory of user {own}"),
        ));
    }
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Creates `path` and what is missing above it, mode 0700.
///
/// # Errors
/// As `mkdir(2)`.
pub fn create_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Makes sure that `path` is a directory that this user can use, whatever became of it: for what can be made again. A file in its place
/// goes, and so does a link that leads to no directory of this user's.
///
/// # Errors
/// As `unlink(2)`, `chmod(2)` and `mkdir(2)`, and where it is another user's.
pub fn restore_private(path: &Path) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    // A directory that is kept elsewhere is as good.
    let is_usable = |found: &std::fs::Metadata| found.is_dir() && (found.uid() == own || own == 0);
    match std::fs::metadata(path) {
        Ok(found) if is_usable(&found) => {
            if found.mode() & 0o700 != 0o700 {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
            }
            return Ok(());
        }
        _ => {}
    }
    match std::fs::remove_file(path) {
        // Nothing is there, or another thread has made the directory meanwhile.
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory
            ) =>
        {
            return Err(error);
        }
        _ => {}
    }
    create_private(path)?;
    match std::fs::metadata(path) {
        Ok(found) if is_usable(&found) => Ok(()),
        Ok(found) => {
            let text = format!("{} belongs to user {}", path.display(), found.uid());
            Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
        }
        Err(error) => Err(error),
    }
}

/// Lets this process make files and directories for its user only, whatever it inherited: an odd mask of whoever
/// started it would leave directories that it cannot enter itself, or that everybody can.
pub fn set_private_umask() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

fn directory(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// As [`directory`], for variables of the XDG base directory specification, which has relative paths ignored.
fn xdg_directory(variable: &str) -> Option<PathBuf> {
    directory(variable).filter(|path| path.is_absolute())
}

fn data_home() -> io::Result<PathBuf> {
    xdg_directory("XDG_DATA_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".local/share")))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "neither CONTAINER_APP_ROOT nor HOME is set",
            )
        })
}

/// `XDG_RUNTIME_DIR`, else the place where systemd would put it, else one in `/tmp` (checked on creation).
fn runtime_home() -> PathBuf {
    if let Some(directory) = xdg_directory("XDG_RUNTIME_DIR") {
        return directory;
    }
    let uid = rustix::process::geteuid().as_raw();
    let systemd = PathBuf::from(format!("/run/user/{uid}"));
    if systemd.is_dir() {
        return systemd;
    }
    if uid == 0 {
        PathBuf::from("/run")
    } else {
        temporary_home()
    }
}

/// A place for this user where everybody may have been before.
fn temporary_home() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    PathBuf::from(format!("/tmp/container-{uid}"))
}

/// The program of one of the system's own plugins in the prefix `install`.
pub fn plugin(install: &Path, name: &str) -> PathBuf {
    install
        .join("libexec/container/plugins")
        .join(name)
        .join("bin")
        .join(name)
}

/// `CONTAINER_INSTALL_ROOT`, else the prefix above the running binary: `<install>/bin/<binary>` or
/// `<install>/libexec/container/plugins/<name>/bin/<name>`.
///
/// # Errors
/// When the running binary's path is unknown.
pub fn install_root() -> io::Result<PathBuf> {
    if let Some(path) = directory("CONTAINER_INSTALL_ROOT") {
        return Ok(path);
    }
    let binary = std::env::current_exe()?.canonicalize()?;
    binary
        .ancestors()
        .skip(1)
        .find(|directory| directory.join("share/container").is_dir())
        .or_else(|| binary.parent().and_then(Path::parent))
        .map(Path::to_path_buf)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "the binary lies in no install prefix",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_app_roots_have_different_sockets() {
        let one = Roots::new("/a".into(), "/p".into(), None).unwrap();
        let two = Roots::new("/b".into(), "/p".into(), None).unwrap();
        assert_ne!(one.apiserver_socket(), two.apiserver_socket());
        assert_eq!(one.log, Path::new("/a/log"));
    }

    #[test]
    fn an_app_root_is_one_however_it_is_spelled() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("real/deep")).unwrap();
        std::os::unix::fs::symlink("real/deep", top.join("link")).unwrap();
        let roots = |path: &Path| Roots::new(path.to_owned(), "/p".into(), None).unwrap();
        let expected = roots(&top.join("real/deep/app"));
        for spelling in [
            "real/deep/app/",
            "real//deep/./app",
            "link/app",
            "link/../deep/app",
            "absent/../real/deep/app",
            "real/deep/app/../app",
        ] {
            assert_eq!(roots(&top.join(spelling)), expected, "{spelling}");
        }
        std::fs::create_dir(top.join("real/deep/app")).unwrap();
        std::os::unix::fs::symlink(top.join("real/deep/app"), top.join("app")).unwrap();
        assert_eq!(roots(&top.join("app/")), expected);
    }

    #[test]
    fn an_error_of_the_directories_names_its_path() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("file"), "").unwrap();
        let app = scratch.path().join("file/app");
        let roots = Roots::new(app.clone(), "/p".into(), None).unwrap();
        let error = roots.create().unwrap_err().to_string();
        assert!(error.starts_with(&app.display().to_string()), "{error}");
    }

    #[test]
    fn created_directories_are_private() {
        let scratch = tempfile::tempdir().unwrap();
        let mut roots = Roots::new(scratch.path().join("app"), "/p".into(), None).unwrap();
        roots.runtime = scratch.path().join("run");
        roots.create().unwrap();
        for directory in [&roots.app, &roots.log, &roots.runtime] {
            assert_eq!(std::fs::metadata(directory).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_directory_of_what_can_be_made_again_is_there_whatever_became_of_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("cache");
        let (elsewhere, file) = (scratch.path().join("elsewhere"), scratch.path().join("f"));
        let restored = || {
            restore_private(&path).unwrap();
            std::fs::write(path.join("x"), "").unwrap();
            std::fs::metadata(&path).unwrap().mode() & 0o777
        };
        assert_eq!(restored(), 0o700);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(restored(), 0o700);
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(restored(), 0o700);
        // What a link leads to is used if it is a directory, and is never removed.
        for target in [&file, &elsewhere] {
            std::fs::remove_dir_all(&path).unwrap();
            std::fs::write(&file, "").unwrap();
            std::os::unix::fs::symlink(target, &path).unwrap();
            assert_eq!(restored(), 0o700);
            assert!(path.symlink_metadata().unwrap().is_dir() && file.exists());
        }
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        restored();
        assert!(elsewhere.join("x").exists());
    }

    #[test]
    fn a_directory_that_others_may_write_is_closed_and_a_link_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let (open, link) = (scratch.path().join("open"), scratch.path().join("link"));
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::os::unix::fs::symlink(&open, &link).unwrap();
        let refused = close(&link).unwrap_err().kind();
        assert_eq!(refused, io::ErrorKind::PermissionDenied);
        close(&open).unwrap();
        assert_eq!(std::fs::metadata(&open).unwrap().mode() & 0o777, 0o700);
    }
}
