//! A running virtual machine.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

use tokio::net::UnixStream;

use crate::confinement::cgroup::Allowance;
use crate::console::BoundedFile;
use crate::device::{Disk, MacAddress};
use crate::exit::VmExit;
use crate::memory::HostMemory;
use crate::vmm::{ConnectError, ControlError, ExchangeError, Machine, Running, Stalls};

/// A virtual machine and its VMM process. Dropping it kills both.
#[derive(Debug)]
pub struct Vm {
    pub(crate) machine: Box<dyn Machine>,
    channel: Option<UnixStream>,
    moments: Moments,
    exit: Option<VmExit>,
}

/// When the phases of a start ended.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// The VMM's process was started.
    pub spawned: Instant,
    /// The VMM answered: the machine is complete and executes the guest.
    pub running: Instant,
}

impl Vm {
    /// The machine that a VMM has just started.
    pub(crate) fn new(running: Running) -> Self {
        Self {
            machine: running.machine,
            channel: Some(running.channel),
            moments: Moments {
                spawned: running.spawned,
                running: Instant::now(),
            },
            exit: None,
        }
    }

    /// Takes the guest channel: what the guest reads from and writes to the port of that name.
    /// `None` if it has been taken before.
    pub fn take_channel(&mut self) -> Option<UnixStream> {
        self.channel.take()
    }

    /// Process id of the VMM.
    pub fn pid(&self) -> u32 {
        self.machine.pid()
    }

    /// Puts the process `server`, which serves the machine's guest, and its children into the cgroup of the VMM, if that has one.
    /// Together they may take `more` than the VMM.
    ///
    /// # Errors
    /// When it cannot be put there.
    pub fn admit(&mut self, server: u32, more: Allowance) -> io::Result<()> {
        self.machine.admit(server, more)
    }

    /// When the phases of the start ended.
    pub fn moments(&self) -> Moments {
        self.moments
    }

    /// Waits for the end of the machine. May be cancelled, and asked again.
    ///
    /// # Errors
    /// Only if the process cannot be waited for, which the kernel doesn't do.
    pub async fn wait(&mut self) -> io::Result<VmExit> {
        if let Some(exit) = &self.exit {
            return Ok(exit.clone());
        }
        let exit = self.machine.wait().await?;
        Ok(self.exit.insert(exit).clone())
    }

    /// Ends the machine at once. What the guest has flushed to its disks is safe, the rest is lost.
    /// [`Vm::wait`] tells when it is over.
    pub fn kill(&self) -> io::Result<()> {
        self.machine.kill()
    }

    /// Stops the virtual CPUs.
    pub async fn pause(&self) -> Result<(), ControlError> {
        self.machine.pause().await
    }

    /// Lets the virtual CPUs run again.
    pub async fn resume(&self) -> Result<(), ControlError> {
        self.machine.resume().await
    }

    /// Tells of the moments at which the machine stands still as the host does not take what it writes to a disk, and lets it go on.
    pub fn stalls(&self) -> Stalls {
        self.machine.stalls()
    }

    /// Puts each of `disks` in the place of the present one of its role. The guest, which must not have them mounted,
    /// notices nothing: size and access of each have to be the same. After an error the machine is of no use.
    pub async fn exchange_disks(
        &mut self,
        disks: impl IntoIterator<Item = &Disk>,
    ) -> Result<(), ExchangeError> {
        let disks: Vec<_> = disks.into_iter().collect();
        self.machine.exchange_disks(&disks).await
    }

    /// Closes what [`Vm::exchange_disks`] has put aside, which takes as long as the exchange. Not to be done while the
    /// machine is paused: its VMM would keep the files open.
    pub async fn close_exchanged_disks(&mut self) -> Result<(), ControlError> {
        self.machine.close_exchanged_disks().await
    }

    /// Puts `tap` behind a NIC of the machine that is not connected; gives the address by which its guest finds that when it binds the driver
    /// of its transport. The tap is as one of a [`crate::Nic`], and `mtu`, in bytes, what its interface is to have in the guest: a NIC that
    /// the machine had from its start takes no more than it was made with.
    ///
    /// # Errors
    /// When there is no such NIC left, or the VMM does not take the tap.
    pub async fn connect_nic(
        &mut self,
        tap: BorrowedFd<'_>,
        mtu: u16,
    ) -> Result<MacAddress, ConnectError> {
        self.machine.connect_nic(tap, mtu).await
    }

    /// Makes the NIC `mac` lead nowhere, until it is connected again. The guest should have given it up before. The VMM keeps the tap of a
    /// NIC that the machine had from its start open until then, and neither reads from it for the guest nor writes to it: who made that
    /// tap should take it off its network.
    ///
    /// # Errors
    /// When there is no such NIC, or the VMM does not obey.
    pub async fn disconnect_nic(&mut self, mac: MacAddress) -> Result<(), ConnectError> {
        self.machine.disconnect_nic(mac).await
    }

    /// Records the guest's console from now on in `file`, kept under [`crate::console::CAPACITY`] bytes.
    pub fn record_console(&self, file: &Path) -> io::Result<()> {
        self.machine.record_console(BoundedFile::create(file)?);
        Ok(())
    }

    /// Writes `note` into the record of the guest's console, where there is one.
    pub fn note_on_console(&self, note: &[u8]) {
        self.machine.note_on_console(note);
    }

    /// What the machine costs the host: see [`HostMemory`].
    pub fn host_memory(&self) -> io::Result<u64> {
        HostMemory::open(self)?.bytes()
    }
}
