//! What a guest boots from.

use std::path::PathBuf;

use container_api::guest_files::GuestFiles;
use container_api::roots::restore_private;
use container_api::{Error, Kind};

use super::Containers;
use crate::thread::on_thread;

impl Containers {
    /// The files of the default kernel, or of `kernel`. Modules of another kernel than the last one's are first put behind the initramfs,
    /// which takes the disk's time.
    ///
    /// # Errors
    /// As [`GuestFiles::find`].
    pub(crate) async fn guest_files(&self, kernel: Option<&str>) -> Result<GuestFiles, Error> {
        let roots = self.roots.clone();
        let kernel = kernel.map(PathBuf::from);
        let find = move || {
            // Whoever removes the cache while the system runs only makes a start slower.
            if let Err(error) = restore_private(&roots.cache()) {
                tracing::warn!(path = %roots.cache().display(), %error, "there is no cache");
            }
            GuestFiles::find(&roots, kernel.as_deref())
        };
        on_thread("guest-files", find)
            .await
            .map_err(|error| Error::caused(Kind::Internal, error))?
    }
}
