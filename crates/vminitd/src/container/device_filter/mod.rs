//! The device control group: an eBPF program that says which devices may be opened or made
//! (cgroup-v2.rst, "Device controller"; linux/bpf.h, `struct bpf_cgroup_dev_ctx`).

mod instruction;
mod kernel;

use std::io;
use std::os::fd::OwnedFd;

use container_api::devices;

use crate::spec::DeviceRule;
use instruction::{
    Instruction, and, answer, copy, if_zero, load_word, shift_right, unless_equal, unless_same,
};

/// `BPF_DEVCG_DEV_*` and `BPF_DEVCG_ACC_*`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const EVERY_ACCESS: i32 = MKNOD | READ | WRITE;

/// Offsets in `struct bpf_cgroup_dev_ctx`; `access_type` has the access in its high half, the type in the low.
const ACCESS_TYPE: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

/// Devices that the runtime specification gives to every container: character major, minor or any.
const DEFAULT: [(i64, Option<i64>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// Attaches a filter for `rules` to the group whose directory is open at `cgroup`.
pub fn attach(cgroup: &OwnedFd, rules: &[DeviceRule]) -> io::Result<()> {
    kernel::attach(cgroup, &kernel::load(&program(rules)?)?)
}

/// The last rule that matches decides; without any, nothing is allowed but the default devices.
fn program(rules: &[DeviceRule]) -> io::Result<Vec<Instruction>> {
    let mut program = vec![
        // r2 = type, r3 = access, r4 = major, r5 = minor
        load_word(2, ACCESS_TYPE),
        and(2, 0xffff),
        load_word(3, ACCESS_TYPE),
        shift_right(3, 16),
        load_word(4, MAJOR),
        load_word(5, MINOR),
    ];
    // An explicit rule about one of the default devices comes later in the list, so it wins.
    let defaults = DEFAULT.iter().map(|(major, minor)| DeviceRule {
        allow: true,
        kind: Some("c".to_owned()),
        major: Some(*major),
        minor: *minor,
        access: None,
    });
    let all = rules.iter().take_while(|rule| is_catch_all(rule)).cloned();
    let specific = rules.iter().skip_while(|rule| is_catch_all(rule)).cloned();
    let ordered: Vec<DeviceRule> = all.chain(defaults).chain(specific).collect();
    for rule in ordered.iter().rev() {
        let block = block(rule)?;
        let always = !block.iter().any(|instruction| instruction.is_conditional());
        program.extend(block);
        if always {
            // The verifier refuses a program with instructions that are never reached.
            return Ok(program);
        }
    }
    program.extend(answer(false));
    Ok(program)
}

/// What containers are usually allowed: to make any node, and to open the default devices, FUSE and TUN.
pub fn usual() -> Vec<DeviceRule> {
    let rule = |kind: &str, numbers: (Option<i64>, Option<i64>), access: &str| DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major: numbers.0,
        minor: numbers.1,
        access: Some(access.to_owned()),
    };
    let mut rules = vec![
        DeviceRule::default(),
        rule("c", (None, None), "m"),
        rule("b", (None, None), "m"),
    ];
    for (major, minor) in devices::USUAL {
        rules.push(rule("c", (Some(major), minor), "rwm"));
    }
    rules
}

/// Whether `rules` come to the same as the [usual](usual) ones, as no rules at all do.
pub fn are_usual(rules: &[DeviceRule]) -> bool {
    rules.is_empty() || matches!((program(rules), program(&usual())), (Ok(a), Ok(b)) if a == b)
}

fn is_catch_all(rule: &DeviceRule) -> bool {
    rule.major.is_none_or(|n| n < 0)
        && rule.minor.is_none_or(|n| n < 0)
        && matches!(rule.kind.as_deref(), None | Some("" | "a"))
}

/// Answers if the rule matches, else falls through.
fn block(rule: &DeviceRule) -> io::Result<Vec<Instruction>> {
    let mut tests: Vec<Instruction> = Vec::new();
    match rule.kind.as_deref() {
        None | Some("" | "a") => {}
        Some("b") => tests.push(unless_equal(2, BLOCK)),
        Some("c" | "u") => tests.push(unless_equal(2, CHARACTER)),
        Some(other) => return Err(invalid(format!("unknown device type {other:?}"))),
    }
    let access = access(rule.access.as_deref().unwrap_or_default())?;
    if access != EVERY_ACCESS {
        // An allowed access must ask for nothing else; a denied one for any of it.
        tests.extend([copy(1, 3), and(1, access)]);
        tests.push(if rule.allow {
            unless_same(1, 3)
        } else {
            if_zero(1)
        });
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number.filter(|number| *number >= 0) {
            let number = u32::try_from(number).map_err(|_| invalid("device number too large"))?;
            tests.push(unless_equal(
                register,
                i32::from_ne_bytes(number.to_ne_bytes()),
            ));
        }
    }
    let answer = answer(rule.allow);
    let length = tests.len() + answer.len();
    for (index, test) in tests
        .iter_mut()
        .enumerate()
        .filter(|(_, test)| test.is_jump())
    {
        test.offset = i16::try_from(length - index - 1).map_err(io::Error::other)?;
    }
    tests.extend(answer);
    Ok(tests)
}

fn access(letters: &str) -> io::Result<i32> {
    if letters.is_empty() {
        return Ok(EVERY_ACCESS);
    }
    letters.chars().try_fold(0, |set, letter| match letter {
        'r' => Ok(set | READ),
        'w' => Ok(set | WRITE),
        'm' => Ok(set | MKNOD),
        other => Err(invalid(format!("unknown device access {other:?}"))),
    })
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the few opcodes that `program` uses.
    fn allows(rules: &[DeviceRule], kind: i32, access: i32, major: u32, minor: u32) -> bool {
        let program = program(rules).unwrap();
        let mut registers = [0_u32; 6];
        let mut at = 0;
        loop {
            let Instruction {
                code,
                registers: pair,
                offset,
                immediate,
            } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let value = immediate.cast_unsigned();
            let mut jump = false;
            match code {
                0x61 => {
                    registers[to] = match offset {
                        ACCESS_TYPE => (access << 16 | kind).cast_unsigned(),
                        MAJOR => major,
                        _ => minor,
                    }
                }
                0x54 => registers[to] &= value,
                0x74 => registers[to] >>= value,
                0xbc => registers[to] = registers[from],
                0xb7 => registers[to] = value,
                0x56 => jump = registers[to] != value,
                0x5d => jump = registers[to] != registers[from],
                0x15 => jump = registers[to] == value,
                0x95 => return registers[0] == 1,
                other => panic!("opcode {other:#x}"),
            }
            at += 1 + if jump {
                usize::try_from(offset).unwrap()
            } else {
                0
            };
        }
    }

    fn rules(json: &str) -> Vec<DeviceRule> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_default_devices_are_always_there() {
        let deny = rules(r#"[{"allow":false,"access":"rwm"}]"#);
        for rules in [&deny[..], &[]] {
            assert!(allows(rules, CHARACTER, READ | WRITE, 1, 3));
            assert!(allows(rules, CHARACTER, READ | WRITE, 136, 77));
            assert!(!allows(rules, BLOCK, READ, 254, 0));
            assert!(!allows(rules, CHARACTER, READ, 1, 1));
        }
    }

    #[test]
    fn the_last_matching_rule_decides() {
        let rules = rules(
            r#"[{"allow":false},{"allow":true,"type":"b","major":254,"minor":2,"access":"r"},
                {"allow":true,"type":"c","major":10,"access":"rw"},
                {"allow":false,"type":"c","major":10,"minor":200,"access":"w"}]"#,
        );
        assert!(allows(&rules, BLOCK, READ, 254, 2));
        assert!(!allows(&rules, BLOCK, READ | WRITE, 254, 2));
        assert!(!allows(&rules, BLOCK, READ, 254, 3));
        assert!(allows(&rules, CHARACTER, READ | WRITE, 10, 1));
        assert!(allows(&rules, CHARACTER, READ, 10, 200));
        assert!(!allows(&rules, CHARACTER, READ | WRITE, 10, 200));
        assert!(!allows(&rules, CHARACTER, MKNOD, 10, 1));
    }

    #[test]
    fn the_usual_rules_are_recognised() {
        let usual = rules(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","access":"m"},
                {"allow":true,"type":"b","major":-1,"minor":-1,"access":"m"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"},
                {"allow":true,"type":"c","major":1,"minor":5,"access":"rwm"},
                {"allow":true,"type":"c","major":1,"minor":7,"access":"rwm"},
                {"allow":true,"type":"c","major":1,"minor":8,"access":"rwm"},
                {"allow":true,"type":"c","major":1,"minor":9,"access":"rwm"},
                {"allow":true,"type":"c","major":5,"minor":0,"access":"rwm"},
                {"allow":true,"type":"c","major":5,"minor":1,"access":"rwm"},
                {"allow":true,"type":"c","major":5,"minor":2,"access":"rwm"},
                {"allow":true,"type":"c","major":136,"access":"rwm"},
                {"allow":true,"type":"c","major":10,"minor":229,"access":"rwm"},
                {"allow":true,"type":"c","major":10,"minor":200,"access":"rwm"}]"#,
        );
        assert!(are_usual(&usual) && are_usual(&[]));
        assert!(!are_usual(&usual[..13]));
        assert!(allows(&usual, BLOCK, MKNOD, 254, 0));
        assert!(!allows(&usual, BLOCK, READ, 254, 0));
        assert!(allows(&usual, CHARACTER, READ | WRITE, 10, 229));
    }

    #[test]
    fn everything_can_be_allowed() {
        let rules = rules(r#"[{"allow":true,"type":"a","major":-1,"minor":-1,"access":"rwm"}]"#);
        assert!(allows(&rules, BLOCK, EVERY_ACCESS, 254, 0));
        assert!(!are_usual(&rules));
    }

    #[test]
    fn what_no_kernel_knows_is_refused() {
        assert!(program(&rules(r#"[{"allow":true,"type":"x"}]"#)).is_err());
        assert!(program(&rules(r#"[{"allow":true,"access":"rx"}]"#)).is_err());
        assert!(program(&rules(r#"[{"allow":true,"type":"c","major":4294967296}]"#)).is_err());
    }
}
