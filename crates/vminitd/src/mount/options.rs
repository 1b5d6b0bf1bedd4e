//! Mount options as fstab(5) and the runtime specification write them.

use rustix::mount::{MountAttrFlags, MountPropagationFlags};

/// How mounts made below one mount spread to its peers.
pub type Propagation = MountPropagationFlags;

/// Options of one mount, told apart by who understands them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Attributes of the mount that are switched on.
    pub set: MountFlagSet,
    /// Flags of the file system itself.
    pub superblock: Vec<&'static str>,
    /// The mount is a view of another place.
    pub bind: bool,
    /// The view includes what is mounted below.
    pub recursive: bool,
    /// Changes of propagation, in order.
    pub propagation: Vec<Propagation>,
    /// The mount shows what is below this path of the file system, `X-mount.subdir=` of mount(8).
    pub part: Option<String>,
    /// The mount keeps others from what is not there, `X-absent`: see [`crate::launch`].
    pub absent: bool,
    /// The rest: for the file system.
    pub data: Vec<(String, Option<String>)>,
}

/// Attributes of a mount to switch on and off, as `mount_setattr(2)` wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountFlagSet {
    pub on: MountAttrFlags,
    pub off: MountAttrFlags,
}

impl Default for MountFlagSet {
    fn default() -> Self {
        Self {
            on: MountAttrFlags::empty(),
            off: MountAttrFlags::empty(),
        }
    }
}

impl MountFlagSet {
    /// A later option wins over an earlier one.
    fn switch(&mut self, flag: MountAttrFlags, on: bool) {
        let (to, from) = if on {
            (&mut self.on, &mut self.off)
        } else {
            (&mut self.off, &mut self.on)
        };
        to.insert(flag);
        from.remove(flag);
    }

    /// The access time modes are values of one field, of which `relatime` is zero.
    fn access_time(&mut self, mode: MountAttrFlags) {
        self.on.remove(MountAttrFlags::MOUNT_ATTR__ATIME);
        self.on.insert(mode);
        self.off.insert(MountAttrFlags::MOUNT_ATTR__ATIME);
    }

    /// Whether there is nothing to change.
    pub fn is_empty(self) -> bool {
        self.on.is_empty() && self.off.is_empty()
    }
}

impl MountOptions {
    /// Sorts `options`. Every input is accepted: what is unknown here is for the file system to judge.
    pub fn parse<S: AsRef<str>>(options: &[S]) -> Self {
        use MountAttrFlags as Attr;
        use MountPropagationFlags as Spread;
        let mut parsed = Self::default();
        for option in options {
            match option.as_ref() {
                "" | "defaults" | "remount" | "async" | "nomand" | "mand" => {}
                "ro" => parsed.read_only(true),
                "rw" => parsed.read_only(false),
                "nosuid" => parsed.set.switch(Attr::MOUNT_ATTR_NOSUID, true),
                "suid" => parsed.set.switch(Attr::MOUNT_ATTR_NOSUID, false),
                "nodev" => parsed.set.switch(Attr::MOUNT_ATTR_NODEV, true),
                "dev" => parsed.set.switch(Attr::MOUNT_ATTR_NODEV, false),
                "noexec" => parsed.set.switch(Attr::MOUNT_ATTR_NOEXEC, true),
                "exec" => parsed.set.switch(Attr::MOUNT_ATTR_NOEXEC, false),
                "nodiratime" => parsed.set.switch(Attr::MOUNT_ATTR_NODIRATIME, true),
                "diratime" => parsed.set.switch(Attr::MOUNT_ATTR_NODIRATIME, false),
                "nosymfollow" => parsed.set.switch(Attr::MOUNT_ATTR_NOSYMFOLLOW, true),
                "symfollow" => parsed.set.switch(Attr::MOUNT_ATTR_NOSYMFOLLOW, false),
                "noatime" => parsed.set.access_time(Attr::MOUNT_ATTR_NOATIME),
                "strictatime" => parsed.set.access_time(Attr::MOUNT_ATTR_STRICTATIME),
                "relatime" | "atime" | "norelatime" | "nostrictatime" => {
                    parsed.set.access_time(Attr::MOUNT_ATTR_RELATIME);
                }
                "sync" => parsed.superblock.push("sync"),
                "dirsync" => parsed.superblock.push("dirsync"),
                "bind" => parsed.bind = true,
                "rbind" => (parsed.bind, parsed.recursive) = (true, true),
                "private" => parsed.propagation.push(Spread::PRIVATE),
                "rprivate" => parsed.propagation.push(Spread::PRIVATE | Spread::REC),
                "shared" => parsed.propagation.push(Spread::SHARED),
                "rshared" => parsed.propagation.push(Spread::SHARED | Spread::REC),
                "slave" => parsed.propagation.push(Spread::DOWNSTREAM),
                "rslave" => parsed.propagation.push(Spread::DOWNSTREAM | Spread::REC),
                "unbindable" => parsed.propagation.push(Spread::UNBINDABLE),
                "runbindable" => parsed.propagation.push(Spread::UNBINDABLE | Spread::REC),
                "X-absent" => parsed.absent = true,
                other if other.starts_with("X-mount.subdir=") => {
                    parsed.part = other.split_once('=').map(|(_, part)| part.to_owned());
                }
                other => parsed.data.push(match other.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (other.to_owned(), None),
                }),
            }
        }
        parsed
    }

    fn read_only(&mut self, on: bool) {
        self.set.switch(MountAttrFlags::MOUNT_ATTR_RDONLY, on);
        self.superblock.retain(|flag| *flag != "ro");
        if on {
            self.superblock.push("ro");
        }
    }

    /// Whether `ro` is the last word.
    pub fn is_read_only(&self) -> bool {
        self.set.on.contains(MountAttrFlags::MOUNT_ATTR_RDONLY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn options_go_to_who_understands_them() {
        let options = MountOptions::parse(&[
            "nosuid",
            "noexec",
            "ro",
            "size=65536k",
            "mode=1777",
            "newinstance",
        ]);
        assert_eq!(
            options.set.on,
            MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NOEXEC
                | MountAttrFlags::MOUNT_ATTR_RDONLY
        );
        assert_eq!(options.superblock, ["ro"]);
        assert_eq!(
            options.data,
            [
                ("size".to_owned(), Some("65536k".to_owned())),
                ("mode".to_owned(), Some("1777".to_owned())),
                ("newinstance".to_owned(), None),
            ]
        );
        assert!(!options.bind);
    }

    #[test]
    fn a_part_of_a_file_system_is_not_the_file_systems_business() {
        let options = MountOptions::parse(&["nodev", "X-mount.subdir=a=b"]);
        assert_eq!(options.part.as_deref(), Some("a=b"));
        assert!(options.data.is_empty());
    }

    #[test]
    fn the_last_of_two_opposites_wins() {
        let options = MountOptions::parse(&["ro", "noexec", "exec", "rw", "rbind", "rslave"]);
        assert!(!options.is_read_only());
        assert!(options.superblock.is_empty());
        assert!(options.set.on.is_empty());
        assert!(options.bind && options.recursive);
        assert_eq!(
            options.propagation,
            [Propagation::DOWNSTREAM | Propagation::REC]
        );
    }

    #[test]
    fn an_access_time_mode_replaces_the_other() {
        let options = MountOptions::parse(&["strictatime", "noatime"]);
        assert_eq!(options.set.on, MountAttrFlags::MOUNT_ATTR_NOATIME);
        assert_eq!(options.set.off, MountAttrFlags::MOUNT_ATTR__ATIME);
    }

    proptest! {
        #[test]
        fn any_option_is_taken(options in proptest::collection::vec(".{0,12}", 0..8)) {
            let parsed = MountOptions::parse(&options);
            prop_assert!(parsed.data.len() <= options.len());
            prop_assert!((parsed.set.on & parsed.set.off & !MountAttrFlags::MOUNT_ATTR__ATIME).is_empty());
        }
    }
}
