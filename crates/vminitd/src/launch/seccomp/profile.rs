//! Turns a profile in the runtime specification's form into a filter.
//!
//! The filter walks the system call numbers upwards, runs of neighbours with one action at a time, so that a
//! profile that names 350 calls costs a few dozen comparisons; the kernel answers calls that are always
//! allowed without running it at all.

use std::collections::BTreeMap;

use libc::sock_filter;
use syscalls::Sysno;

use super::assemble::{ARCHITECTURE, NUMBER, if_at_least, if_equal, if_greater, load, ret, skip};
use super::{Filter, SeccompError, conditions};
use crate::spec::{Seccomp, SeccompArg, SeccompRule};

/// `AUDIT_ARCH_X86_64` of linux/audit.h.
const THIS_ARCHITECTURE: u32 = 0xc000_003e;
/// Name of this architecture in a profile.
const THIS_NAME: &str = "SCMP_ARCH_X86_64";
/// System calls of the x32 ABI have this bit set.
const X32: u32 = 0x4000_0000;
/// Of asm-generic/errno.h.
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// The kernel's `BPF_MAXINSNS`.
const INSTRUCTIONS_MAX: usize = 4096;

/// What happens to one system call.
#[derive(Clone, Debug, Default)]
struct Rules {
    /// Checked in order; all arguments of one must match.
    conditional: Vec<(Vec<SeccompArg>, u32)>,
    /// If none of them does.
    unconditional: Option<u32>,
}

/// Compiles `profile`. Names of system calls that this architecture does not have are passed over.
pub fn compile(profile: &Seccomp) -> Result<Filter, SeccompError> {
    if !profile.listener_path.is_empty() {
        return Err(SeccompError::Listener);
    }
    let architectures = &profile.architectures;
    if !architectures.is_empty() && !architectures.iter().any(|name| name == THIS_NAME) {
        return Err(SeccompError::Architecture);
    }
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut calls: BTreeMap<u32, Rules> = BTreeMap::new();
    for rule in &profile.syscalls {
        let action = action(&rule.action, rule.errno_ret)?;
        for name in &rule.names {
            let Ok(call) = name.parse::<Sysno>() else {
                continue;
            };
            let Ok(number) = u32::try_from(call.id()) else {
                continue;
            };
            calls.entry(number).or_default().add(rule, action);
        }
    }
    let program = program(&calls, default)?;
    if program.len() > INSTRUCTIONS_MAX {
        return Err(SeccompError::TooLong);
    }
    Ok(Filter {
        program: program.into(),
        flags: flags(&profile.flags)?,
    })
}

impl Rules {
    fn add(&mut self, rule: &SeccompRule, action: u32) {
        if rule.args.is_empty() {
            self.unconditional.get_or_insert(action);
            return;
        }
        // One rule that names an argument twice means either, as runc reads it.
        let mut indices: Vec<u32> = rule.args.iter().map(|argument| argument.index).collect();
        indices.sort_unstable();
        if indices.windows(2).any(|pair| pair[0] == pair[1]) {
            let alternatives = rule
                .args
                .iter()
                .map(|argument| (vec![argument.clone()], action));
            self.conditional.extend(alternatives);
        } else {
            self.conditional.push((rule.args.clone(), action));
        }
    }

    fn only_action(&self) -> Option<u32> {
        self.unconditional.filter(|_| self.conditional.is_empty())
    }
}

fn program(calls: &BTreeMap<u32, Rules>, default: u32) -> Result<Vec<sock_filter>, SeccompError> {
    let mut code = vec![
        load(ARCHITECTURE),
        if_equal(THIS_ARCHITECTURE, 1, 0),
        ret(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
        if_at_least(X32, 0, 1),
        ret(default),
    ];
    // Calls younger than the profile look missing rather than forbidden, so that programs fall back.
    let permissive = matches!(default, libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG);
    if let (Some((newest, _)), false) = (calls.last_key_value(), permissive) {
        code.push(if_greater(*newest, 0, 1));
        code.push(ret(libc::SECCOMP_RET_ERRNO | ENOSYS));
    }
    let mut calls = calls.iter().peekable();
    while let Some((&first, rules)) = calls.next() {
        let Some(action) = rules.only_action() else {
            let block = block(rules, default)?;
            code.push(if_equal(first, 1, 0));
            code.push(skip(length(&block)?));
            code.extend(block);
            continue;
        };
        let mut last = first;
        while let Some((&number, _)) = calls
            .next_if(|(number, next)| **number == last + 1 && next.only_action() == Some(action))
        {
            last = number;
        }
        code.extend([
            if_greater(last, 3, 0),
            if_at_least(first, 0, 1),
            ret(action),
            ret(default),
        ]);
    }
    code.push(ret(default));
    Ok(code)
}

/// Code for one system call with conditions. It always ends the filter.
fn block(rules: &Rules, default: u32) -> Result<Vec<sock_filter>, SeccompError> {
    let mut block = Vec::new();
    for (arguments, action) in &rules.conditional {
        let mut rule = vec![ret(*action)];
        // Backwards, because each condition must know how much follows it.
        for condition in arguments.iter().rev() {
            let mut test = conditions::code(condition, length(&rule)?)?;
            test.extend(rule);
            rule = test;
        }
        block.extend(rule);
    }
    block.push(ret(rules.unconditional.unwrap_or(default)));
    Ok(block)
}

fn length(code: &[sock_filter]) -> Result<u32, SeccompError> {
    u32::try_from(code.len()).map_err(|_| SeccompError::TooLong)
}

fn action(name: &str, errno: Option<u32>) -> Result<u32, SeccompError> {
    let data = errno.unwrap_or(EPERM) & libc::SECCOMP_RET_DATA;
    Ok(match name {
        "SCMP_ACT_ALLOW" => libc::SECCOMP_RET_ALLOW,
        "SCMP_ACT_ERRNO" => libc::SECCOMP_RET_ERRNO | data,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => libc::SECCOMP_RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => libc::SECCOMP_RET_KILL_PROCESS,
        "SCMP_ACT_TRAP" => libc::SECCOMP_RET_TRAP,
        "SCMP_ACT_TRACE" => libc::SECCOMP_RET_TRACE | data,
        "SCMP_ACT_LOG" => libc::SECCOMP_RET_LOG,
        other => return Err(SeccompError::Action(other.to_owned())),
    })
}

fn flags(names: &[String]) -> Result<libc::c_ulong, SeccompError> {
    let mut flags = 0;
    for name in names {
        flags |= match name.as_str() {
            "SECCOMP_FILTER_FLAG_TSYNC" => libc::SECCOMP_FILTER_FLAG_TSYNC,
            "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            other => return Err(SeccompError::Flag(other.to_owned())),
        };
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    type Holds = fn(u64) -> bool;

    fn profile(json: &str) -> Result<Filter, SeccompError> {
        compile(&serde_json::from_str(json).unwrap())
    }

    /// Runs `calls` on a thread of its own under the filter, by this machine's kernel.
    fn under<T: Send + 'static>(json: &str, calls: fn() -> T) -> T {
        let filter = profile(json).unwrap();
        std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            filter.install().unwrap();
            calls()
        })
        .join()
        .unwrap()
    }

    fn personality(persona: u64) -> Result<i64, Errno> {
        // SAFETY: personality(2) of the current value changes nothing; the filter decides on the others.
        let result = unsafe { libc::syscall(libc::SYS_personality, persona) };
        if result >= 0 {
            Ok(result)
        } else {
            Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap())
        }
    }

    /// Each comparison at the edges of a value that needs both halves.
    #[test]
    fn the_kernel_compares_as_the_profile_says() {
        const VALUE: u64 = 0x1_8000_0005;
        const PROBES: [u64; 6] = [
            5,
            VALUE - 1,
            VALUE,
            VALUE + 1,
            VALUE + (1 << 32),
            VALUE - (1 << 32),
        ];
        let table: [(&str, Holds); 6] = [
            ("EQ", |value| value == VALUE),
            ("NE", |value| value != VALUE),
            ("GT", |value| value > VALUE),
            ("GE", |value| value >= VALUE),
            ("LT", |value| value < VALUE),
            ("LE", |value| value <= VALUE),
        ];
        for (name, holds) in table {
            let json = format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["personality"],
                    "action":"SCMP_ACT_ERRNO","errnoRet":95,
                    "args":[{{"index":0,"value":{VALUE},"op":"SCMP_CMP_{name}"}}]}},
                    {{"names":["personality"],"action":"SCMP_ACT_ERRNO","errnoRet":96}}]}}"#
            );
            let seen = under(&json, || PROBES.map(personality));
            let expected = PROBES
                .map(|probe| Err(Errno::from_raw_os_error(if holds(probe) { 95 } else { 96 })));
            assert_eq!(seen, expected, "{name}");
        }
    }

    #[test]
    fn masks_select_bits() {
        let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["personality"],
            "action":"SCMP_ACT_ERRNO","errnoRet":95,"args":[
            {"index":0,"value":17179869188,"valueTwo":4,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["personality"],"action":"SCMP_ACT_ERRNO"}]}"#;
        let seen = under(json, || {
            [0x4, 0xd, 0x4_0000_0004, 0x8_0000_0004, 0].map(personality)
        });
        let [yes, no] = [Err(Errno::OPNOTSUPP), Err(Errno::PERM)];
        assert_eq!(seen, [yes, yes, no, yes, no]);
    }

    #[test]
    fn what_is_not_named_meets_the_default() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],
            "syscalls":[{"names":["exit","exit_group","futex","munmap","madvise","sigaltstack","mmap",
            "mprotect","rt_sigprocmask","write","read","close","getpid","brk","rseq","nosuchcall",
            "personality"],"action":"SCMP_ACT_ALLOW"}]}"#;
        let seen = under(json, || {
            // SAFETY: neither call touches memory.
            let young = unsafe { libc::syscall(libc::SYS_futex_waitv, 0, 0, 0, 0, 0) };
            let young = (young, std::io::Error::last_os_error().raw_os_error());
            // SAFETY: as above.
            let old = unsafe { libc::syscall(libc::SYS_getuid) };
            (
                personality(u64::from(u32::MAX)).is_ok(),
                young,
                old,
                std::io::Error::last_os_error().raw_os_error(),
            )
        });
        assert_eq!(
            seen,
            (true, (-1, Some(libc::ENOSYS)), -1, Some(libc::EPERM))
        );
    }

    #[test]
    fn what_cannot_be_filtered_is_refused() {
        let rule = |rule: &str| {
            profile(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{rule}]}}"#
            ))
            .map(|_| ())
        };
        assert_eq!(
            rule(r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#),
            Err(SeccompError::Action("SCMP_ACT_NOTIFY".to_owned()))
        );
        assert_eq!(
            rule(
                r#"{"names":["read"],"action":"SCMP_ACT_ALLOW",
                "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#
            ),
            Err(SeccompError::Argument(6))
        );
        assert_eq!(
            profile(r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_ARM"]}"#)
                .map(|_| ()),
            Err(SeccompError::Architecture)
        );
    }
}
