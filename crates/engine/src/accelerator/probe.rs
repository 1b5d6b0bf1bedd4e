//! Runs the trial guest and judges what came of it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::thread::JoinHandleExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_bindings::{KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};

use super::Verdict;
use super::guest;

/// How long the guest may run. A working KVM needs a few milliseconds; one that crawls is as good
/// as none.
const LIMIT: Duration = Duration::from_millis(200);
/// How long making the guest may take: some system calls, on a host that may be very busy.
const SETUP_LIMIT: Duration = Duration::from_secs(2);
/// How long a vCPU that was told to stop may take before its thread is abandoned.
const KICK_LIMIT: Duration = Duration::from_millis(50);

/// Opens the device, or says why it is of no use.
pub(super) fn open(device: &Path) -> Result<Kvm, Verdict> {
    let path = CString::new(device.as_os_str().as_bytes()).map_err(|_| Verdict::Absent)?;
    Kvm::new_with_path(path).map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ENXIO => Verdict::Absent,
        libc::EACCES | libc::EPERM => Verdict::NoPermission,
        _ => Verdict::Undecided {
            reason: format!("it cannot be opened: {error}"),
        },
    })
}

/// What the trial's thread tells.
enum Progress {
    /// The guest is about to run.
    Ready,
    Over(Verdict),
}

/// Runs the trial guest on a thread of its own, for at most [`LIMIT`].
pub(super) fn run(device: Kvm) -> Verdict {
    allow_kick();
    let (sender, receiver) = mpsc::channel();
    let trial = std::thread::Builder::new()
        .name("kvm-trial".to_owned())
        .spawn(move || {
            let mut steps = guest::STEPS.iter();
            let outcome = match Trial::new(&device) {
                Ok(mut trial) => {
                    let _ = sender.send(Progress::Ready);
                    trial.run(&mut steps)
                }
                Err(outcome) => outcome,
            };
            let verdict = judge(outcome, steps.next().map(|(_, name)| *name));
            // Fails, as above, when the trial took too long and was given up.
            let _ = sender.send(Progress::Over(verdict));
        });
    let undecided = |reason: &str| Verdict::Undecided {
        reason: reason.to_owned(),
    };
    let trial = match trial {
        Ok(trial) => trial,
        Err(error) => return undecided(&error.to_string()),
    };
    match receiver.recv_timeout(SETUP_LIMIT) {
        Ok(Progress::Ready) => {}
        Ok(Progress::Over(verdict)) => return verdict,
        Err(_) => return undecided("making a guest took too long"),
    }
    let over = receiver.recv_timeout(LIMIT).or_else(|_| {
        kick(&trial);
        // The verdict says where the guest was when it was interrupted.
        receiver.recv_timeout(KICK_LIMIT)
    });
    match over {
        Ok(Progress::Over(verdict)) => verdict,
        _ => undecided("a guest never stopped running"),
    }
}

/// How the trial ended, at the step that was next.
#[derive(Debug)]
enum Outcome {
    /// Every step was reported.
    Complete,
    /// A fault inside the guest.
    Fault,
    /// Interrupted by [`kick`].
    Slow,
    /// It could not be made, for the reason described.
    Hindered(String),
    /// Anything else, described.
    Failed(String),
}

fn judge(outcome: Outcome, next: Option<&str>) -> Verdict {
    let during = next.map_or_else(String::new, |step| format!(" on {step}"));
    let reason = match outcome {
        Outcome::Complete => return Verdict::Works,
        Outcome::Fault => format!("a guest faulted{during}"),
        Outcome::Slow => {
            let reason = format!("a guest took longer than {} ms{during}", LIMIT.as_millis());
            return Verdict::Undecided { reason };
        }
        Outcome::Hindered(reason) => return Verdict::Undecided { reason },
        Outcome::Failed(reason) => format!("{reason}{during}"),
    };
    Verdict::Unable { reason }
}

/// A virtual machine with one vCPU. Fields are dropped in this order: the memory goes last.
struct Trial {
    vcpu: VcpuFd,
    _vm: VmFd,
    _memory: Vec<Page>,
}

/// A page of guest memory, aligned as KVM wants it.
#[repr(align(4096))]
struct Page([u8; 4096]);

impl Trial {
    fn new(kvm: &Kvm) -> Result<Self, Outcome> {
        let failed =
            |what: &'static str| move |error| Outcome::Hindered(format!("{what} failed: {error}"));
        let version = kvm.get_api_version();
        if u32::try_from(version) != Ok(KVM_API_VERSION) {
            return Err(Outcome::Failed(format!(
                "its API version is {version}, not {KVM_API_VERSION}"
            )));
        }
        let mut memory: Vec<Page> = guest::memory()
            .chunks(4096)
            .map(|bytes| {
                let mut page = Page([0; 4096]);
                page.0.copy_from_slice(bytes);
                page
            })
            .collect();
        let vm = kvm.create_vm().map_err(failed("creating a VM"))?;
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: 0,
            memory_size: guest::SIZE as u64,
            userspace_addr: memory.as_mut_ptr() as u64,
        };
        // SAFETY: the region is the whole of `memory`, which is used for nothing else and outlives
        // the VM as a later field of `Trial`.
        unsafe { vm.set_user_memory_region(region) }.map_err(failed("giving a VM memory"))?;
        let vcpu = vm.create_vcpu(0).map_err(failed("creating a vCPU"))?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        let cpuid = cpuid.map_err(failed("reading the CPU's features"))?;
        vcpu.set_cpuid2(&cpuid)
            .map_err(failed("setting a vCPU's features"))?;
        let mut special = vcpu
            .get_sregs()
            .map_err(failed("reading a vCPU's registers"))?;
        guest::enter_long_mode(&mut special);
        vcpu.set_sregs(&special)
            .map_err(failed("entering long mode"))?;
        let mut registers = vcpu
            .get_regs()
            .map_err(failed("reading a vCPU's registers"))?;
        registers.rip = guest::ENTRY;
        registers.rsp = guest::STACK;
        registers.rflags = 2;
        vcpu.set_regs(&registers)
            .map_err(failed("setting a vCPU's registers"))?;
        Ok(Self {
            vcpu,
            _vm: vm,
            _memory: memory,
        })
    }

    /// Runs until the guest has reported every one of `steps`, which are taken as they come.
    fn run(&mut self, steps: &mut std::slice::Iter<'_, (u8, &'static str)>) -> Outcome {
        loop {
            let Some((expected, _)) = steps.as_slice().first() else {
                return Outcome::Complete;
            };
            match self.vcpu.run() {
                Ok(VcpuExit::IoOut(guest::PORT, [value])) if value == expected => {
                    steps.next();
                }
                Ok(VcpuExit::IoOut(guest::PORT, [guest::FAULT])) => return Outcome::Fault,
                Ok(VcpuExit::Shutdown) => return Outcome::Failed("a guest was reset".to_owned()),
                Ok(VcpuExit::InternalError) => {
                    return Outcome::Failed("KVM failed to emulate an instruction".to_owned());
                }
                Ok(other) => return Outcome::Failed(format!("a guest stopped with {other:?}")),
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                    return Outcome::Slow;
                }
                Err(error) => return Outcome::Failed(format!("running a vCPU failed: {error}")),
            }
        }
    }
}

/// Makes the signal of [`kick`] interrupt system calls and do nothing else.
fn allow_kick() {
    extern "C" fn ignore(_: libc::c_int) {}
    // SAFETY: sigaction is a plain structure for which zeroes are valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = ignore as *const () as usize;
    // SAFETY: the handler does nothing, and nobody else in this process uses the signal.
    unsafe {
        libc::sigaction(kick_signal(), &raw const action, std::ptr::null_mut());
    }
}

fn kick<T>(thread: &JoinHandle<T>) {
    if !thread.is_finished() {
        // SAFETY: the handle is not joined, so the thread's identifier is valid.
        unsafe {
            libc::pthread_kill(thread.as_pthread_t(), kick_signal());
        }
    }
}

/// A real-time signal that neither the C library nor Tokio uses.
fn kick_signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn refusal(path: &Path) -> Verdict {
        open(path).err().unwrap()
    }

    #[test]
    fn absent() {
        assert_eq!(refusal(Path::new("/dev/nonexistent-kvm")), Verdict::Absent);
        assert_eq!(refusal(Path::new("/dev/null/kvm")), Verdict::Absent);
    }

    #[test]
    fn no_permission() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o000)).unwrap();
        let path = file.path().to_owned();
        let verdict = std::thread::spawn(move || {
            // SAFETY: setfsuid takes an integer; as a raw call it concerns this thread only. It
            // takes root's power over files away, as an ordinary user's test run has none.
            unsafe { libc::syscall(libc::SYS_setfsuid, 65_534) };
            refusal(&path)
        });
        assert_eq!(verdict.join().unwrap(), Verdict::NoPermission);
    }

    #[test]
    fn unable_when_it_is_something_else() {
        let kvm = open(Path::new("/dev/null")).unwrap();
        let Verdict::Unable { reason } = run(kvm) else {
            panic!()
        };
        assert!(reason.contains("API version"), "{reason}");
    }

    #[test]
    fn works_only_when_every_step_was_reported() {
        assert_eq!(judge(Outcome::Complete, None), Verdict::Works);
        let text = |outcome, step| judge(outcome, step).to_string();
        assert_eq!(
            text(
                Outcome::Failed("KVM failed to emulate an instruction".into()),
                Some("xrstor")
            ),
            "/dev/kvm cannot run a guest: KVM failed to emulate an instruction on xrstor"
        );
        assert!(text(Outcome::Slow, Some("a loop")).contains("200 ms on a loop"));
        assert!(text(Outcome::Fault, Some("int3")).contains("faulted on int3"));
        for passing in [
            Outcome::Slow,
            Outcome::Hindered("creating a VM failed".into()),
        ] {
            assert!(matches!(judge(passing, None), Verdict::Undecided { .. }));
        }
    }

    /// Whatever this host's KVM is, the verdict comes in time.
    #[test]
    fn the_trial_is_bounded() {
        let start = Instant::now();
        let verdict = open(Path::new("/dev/kvm")).map_or_else(|verdict| verdict, run);
        let bound = SETUP_LIMIT + LIMIT + KICK_LIMIT + Duration::from_millis(50);
        assert!(start.elapsed() < bound, "{verdict}");
    }
}
