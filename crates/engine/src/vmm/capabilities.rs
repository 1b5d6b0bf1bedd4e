//! What a VMM can do beyond starting and ending a machine.

use crate::spec::VmSpec;

/// What a VMM states of itself. The engine does without what is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It saves machines and restores them. Without it each machine boots.
    pub templates: bool,
    /// A restored machine can have devices that the saved one had not. Without it a machine with a NIC or a volume boots.
    pub late_devices: bool,
    /// Its machines can have spare NICs. Without it a running machine is connected to no further network.
    pub spare_nics: bool,
    /// Its machines can have shares. Without it one that has a share does not start.
    pub shares: bool,
    /// Its guests can use the CPU's virtualization extensions. Without it a machine that is to have them does not start.
    pub nested_virtualization: bool,
    /// Its machines can tell a kernel of their devices by firmware tables. Without it one that has to does not start.
    pub firmware_tables: bool,
    /// What is behind a disk can be exchanged while the machine runs. Without it no machine is prepared before its container is
    /// known.
    pub disk_exchange: bool,
    /// It has a balloon. Without it memory that the guest frees stays the guest's.
    pub balloon: bool,
    /// A machine stands still while the host does not take what it writes to a disk, and goes on where it was. Without it the guest gets an error,
    /// and may lose what it has not written yet.
    pub waits_for_room: bool,
}

impl Capabilities {
    /// What `spec` cannot do without and a VMM that can do this does not have, for people to read.
    pub(crate) fn lacking_for(self, spec: &VmSpec) -> Option<&'static str> {
        let needs = [
            (
                self.shares,
                spec.shares().next().is_some(),
                "a share of the host's files",
            ),
            (
                self.nested_virtualization,
                spec.nested_virtualization,
                "the CPU's virtualization extensions",
            ),
            (
                self.firmware_tables,
                spec.firmware_tables,
                "firmware tables",
            ),
        ];
        let mut lacking = needs.into_iter().filter(|(has, needs, _)| *needs && !has);
        lacking.next().map(|(.., what)| what)
    }

    /// Everything.
    pub const ALL: Self = Self {
        templates: true,
        late_devices: true,
        spare_nics: true,
        shares: true,
        nested_virtualization: true,
        firmware_tables: true,
        disk_exchange: true,
        balloon: true,
        waits_for_room: true,
    };
}
