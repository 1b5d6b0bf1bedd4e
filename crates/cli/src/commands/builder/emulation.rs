//! Programs of other CPUs in a builder: by qemu-user, where the builder's image has it.

use container_api::api::{ExecRequest, WaitRequest};
use container_resource::platform::Platform;
use container_resource::process::ProcessOptions;

use crate::connection::Context;
use crate::failure::Failure;

/// Tells the builder's kernel which program runs those of a CPU (Linux, `admin-guide/binfmt-misc.rst`). The program is opened now (`F`): a step
/// has another root. Arguments: QEMU's name of the CPU, and the pattern of its programs. Fails where there is no such program.
const REGISTER: &str = r#"
for name in "qemu-$1-static" "buildkit-qemu-$1" "qemu-$1"; do
    program=$(command -v "$name") && break
done
[ -n "$program" ] || exit 1
place=/proc/sys/fs/binfmt_misc
[ -e "$place/register" ] || mount -t binfmt_misc binfmt_misc "$place" || exit 1
[ -e "$place/qemu-$1" ] || printf '%s' ":qemu-$1:M::$2:$program:F" >"$place/register"
"#;

/// A CPU, as the header of its programs names it (ELF, "ELF Header").
struct Cpu {
    /// As platforms name it.
    architecture: &'static str,
    /// As QEMU names it.
    name: &'static str,
    /// `EI_CLASS`: 1 for 32 bits, 2 for 64.
    class: u8,
    /// The first byte of a number is its highest.
    is_big_endian: bool,
    /// `e_machine`.
    machine: u16,
}

const CPUS: [Cpu; 8] = [
    cpu("386", "i386", 1, false, 3),
    cpu("amd64", "x86_64", 2, false, 62),
    cpu("arm", "arm", 1, false, 40),
    cpu("arm64", "aarch64", 2, false, 183),
    cpu("loong64", "loongarch64", 2, false, 258),
    cpu("ppc64le", "ppc64le", 2, false, 21),
    cpu("riscv64", "riscv64", 2, false, 243),
    cpu("s390x", "s390x", 2, true, 22),
];

const fn cpu(
    architecture: &'static str,
    name: &'static str,
    class: u8,
    is_big_endian: bool,
    machine: u16,
) -> Cpu {
    Cpu {
        architecture,
        name,
        class,
        is_big_endian,
        machine,
    }
}

impl Cpu {
    /// Bytes at the beginning of its programs, and which bits of them count, as the kernel reads them: a program is of the type 2 or 3, of
    /// whatever system.
    fn pattern(&self) -> String {
        let number = |number: u16| {
            if self.is_big_endian {
                number.to_be_bytes()
            } else {
                number.to_le_bytes()
            }
        };
        let data = 1 + u8::from(self.is_big_endian);
        let mut magic = [0; 20];
        magic[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', self.class, data, 1]);
        magic[16..18].copy_from_slice(&number(2));
        magic[18..].copy_from_slice(&number(self.machine));
        let mut mask = [0xff; 20];
        mask[7] = 0;
        mask[16..18].copy_from_slice(&number(0xfffe));
        format!("{}:{}", escaped(&magic), escaped(&mask))
    }
}

fn escaped(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A text takes all that is written to it.
        let _ = write!(text, "\\x{byte:02x}");
        text
    })
}

/// Has the builder `name` run programs of `platform`, if its image can. Whether it does from now on, it says itself.
pub async fn emulate(context: &Context, name: &str, platform: &Platform) -> Result<(), Failure> {
    let mut cpus = CPUS.iter();
    let Some(cpu) = cpus.find(|cpu| cpu.architecture == platform.architecture) else {
        return Ok(());
    };
    let pattern = cpu.pattern();
    let words = ["/bin/sh", "-c", REGISTER, "register", cpu.name, &pattern];
    let request = ExecRequest {
        id: name.to_owned(),
        words: words.map(str::to_owned).to_vec(),
        options: serde_json::to_vec(&ProcessOptions::default())?.into(),
        stdio: None,
    };
    let mut containers = context.containers()?;
    let process = match containers.exec(request).await {
        Ok(reply) => reply.into_inner().process,
        // An image without a shell has no QEMU either.
        Err(status) => {
            context.debug(|| format!("emulation of {platform}: {}", status.message()));
            return Ok(());
        }
    };
    let request = WaitRequest {
        id: name.to_owned(),
        process,
        ..WaitRequest::default()
    };
    let exit = containers.wait(request).await?.into_inner();
    context.debug(|| format!("emulation of {platform}: exit code {}", exit.exit_code));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patterns of QEMU's `scripts/qemu-binfmt-conf.sh`.
    #[test]
    fn programs_are_known_by_their_headers() {
        let pattern = |architecture: &str| {
            let mut cpus = CPUS.iter();
            cpus.find(|cpu| cpu.architecture == architecture)
                .unwrap()
                .pattern()
        };
        assert_eq!(
            pattern("arm64"),
            r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
        );
        assert_eq!(
            pattern("s390x"),
            r"\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff"
        );
        assert!(CPUS.iter().all(|cpu| cpu.pattern().len() == 161));
    }
}
