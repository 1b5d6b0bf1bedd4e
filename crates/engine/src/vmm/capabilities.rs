//! What a VMM can do beyond starting and ending a machine.

/// What a VMM states of itself. The engine does without what is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It saves machines and restores them. Without it each machine boots.
    pub templates: bool,
    /// A restored machine can have devices that the saved one had not. Without it a machine with a NIC or a volume boots.
    pub late_devices: bool,
    /// What is behind a disk can be exchanged while the machine runs. Without it no machine is prepared before its container is
    /// known.
    pub disk_exchange: bool,
    /// It has a balloon. Without it memory that the guest frees stays the guest's.
    pub balloon: bool,
    /// A machine stands still while a disk finds no room on the host, and goes on where it was. Without it the guest gets an error,
    /// and may lose what it has not written yet.
    pub waits_for_room: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self {
        templates: true,
        late_devices: true,
        disk_exchange: true,
        balloon: true,
        waits_for_room: true,
    };
}
