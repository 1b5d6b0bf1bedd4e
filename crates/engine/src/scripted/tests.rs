//! The scripted VMM does what it is told.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::SaveError;
use crate::device::Device;
use crate::spec::{Accelerator, VmSpec};

/// A machine that can be started here, with files in `directory`.
fn spec(directory: &Path, devices: Vec<Device>) -> VmSpec {
    // An ELF header of x86-64 with one program header (elf.h): as much of a kernel as is looked at.
    let mut kernel = vec![0; 120];
    kernel[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (kernel[18], kernel[32], kernel[54], kernel[56]) = (62, 64, 56, 1);
    std::fs::write(directory.join("kernel"), kernel).unwrap();
    std::fs::write(directory.join("initramfs"), "x").unwrap();
    VmSpec {
        kernel: directory.join("kernel"),
        initramfs: Some(directory.join("initramfs")),
        command_line: String::new(),
        vcpus: NonZeroU32::MIN,
        memory_bytes: 64 << 20,
        devices,
        accelerator: Accelerator::Software,
        firmware_tables: false,
        nested_virtualization: false,
    }
}

/// The state of a system may be removed while a template is made for it: nothing of it comes back.
#[tokio::test]
async fn a_place_that_was_taken_away_is_not_made_again() {
    let scratch = tempfile::tempdir().unwrap();
    let spec = spec(scratch.path(), vec![Device::Balloon]);
    let script = Script::new(|side| side.power.off());
    let engine = script.engine().unwrap();
    let saveable = engine.start_saveable(&spec).await.unwrap();
    let taken = scratch.path().join("templates");
    let error = saveable.save(&taken.join("template")).await.unwrap_err();
    assert!(matches!(error, SaveError::Write(_)), "{error:?}");
    assert!(!taken.exists());
}

#[tokio::test]
async fn a_machine_is_saved_and_restored_and_each_way_to_fail_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let spec = spec(scratch.path(), vec![Device::Balloon]);
    let mut script = Script::new(|side| side.power.off());
    let engine = script.engine().unwrap();
    let place = scratch.path().join("template");
    let saveable = engine.start_saveable(&spec).await.unwrap();
    saveable.save(&place).await.unwrap();
    let template = engine.open_template(&place, &spec).unwrap();
    let mut vm = engine.restore(&template, &spec).await.unwrap();
    assert_eq!(vm.wait().await.unwrap().cause, ExitCause::Guest);
    assert_eq!(script.calls(), ["start", "save", "restore"]);
    for (act, start, restore) in [
        (
            Act::NotStarted,
            "cannot start the VMM scripted",
            "cannot start the VMM",
        ),
        (
            Act::Dies,
            "the VMM ended at its start",
            "the VMM did not load the saved state",
        ),
        (
            Act::Silent,
            "the VMM does not answer",
            "the VMM did not load the saved state",
        ),
    ] {
        (script.start, script.restore) = (act, act);
        let engine = script.engine().unwrap();
        let error = engine.start(&spec).await.unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
        let error = engine.restore(&template, &spec).await.unwrap_err();
        assert_eq!(error.to_string(), restore);
    }
}

#[test]
fn a_balloon_that_the_vmm_lacks_is_left_out() {
    let scratch = tempfile::tempdir().unwrap();
    let spec = spec(scratch.path(), vec![Device::Balloon, Device::Entropy]);
    let mut script = Script::new(drop);
    let devices = |script: &Script| {
        let engine = script.engine().unwrap();
        engine.possible(&spec).devices.len()
    };
    assert_eq!(devices(&script), 2);
    script.capabilities.balloon = false;
    assert_eq!(devices(&script), 1);
}

#[tokio::test]
async fn a_machine_stands_still_until_there_is_room() {
    let scratch = tempfile::tempdir().unwrap();
    let spec = spec(scratch.path(), vec![]);
    let (sender, mut sides) = tokio::sync::mpsc::unbounded_channel();
    let mut script = Script::new(move |side| drop(sender.send(side)));
    let vm = script.engine().unwrap().start(&spec).await.unwrap();
    let side = sides.recv().await.unwrap();
    let mut stalls = vm.stalls();
    side.room.runs_out();
    assert_eq!(stalls.next().await.unwrap(), Refusal::Full);
    // There is still none.
    stalls.retry().await.unwrap();
    stalls.next().await.unwrap();
    side.room.comes_back();
    stalls.retry().await.unwrap();
    let more = tokio::time::timeout(Duration::from_millis(1), stalls.next());
    assert!(more.await.is_err());
    side.room.refuses(Refusal::Quota);
    assert_eq!(stalls.next().await.unwrap(), Refusal::Quota);
    assert_eq!(script.calls(), ["start", "retry", "retry"]);

    script.capabilities.waits_for_room = false;
    let vm = script.engine().unwrap().start(&spec).await.unwrap();
    sides.recv().await.unwrap().room.runs_out();
    assert!(matches!(
        vm.stalls().next().await,
        Err(ControlError::Closed)
    ));
}

#[tokio::test]
async fn what_a_machine_cannot_do_without_is_refused_before_its_start() {
    let scratch = tempfile::tempdir().unwrap();
    let mut nested = spec(scratch.path(), vec![]);
    nested.nested_virtualization = true;
    let mut script = Script::new(drop);
    script.capabilities.nested_virtualization = false;
    let engine = script.engine().unwrap();
    let error = engine.start(&nested).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the machine is to have the CPU's virtualization extensions, which its VMM does not give it"
    );
    assert!(script.calls().is_empty());
    script.capabilities.spare_nics = false;
    let engine = script.engine().unwrap();
    let mut plain = nested;
    plain.nested_virtualization = false;
    assert_eq!(engine.room_for_spare_nics(&plain), 0);
}
