//! Where a mount is put in a container.

use std::fs;

use super::{bind, directory};
use crate::system::System;

#[test]
fn links_of_the_image_lead_to_places_within_it() {
    let system = System::shared();
    let data = directory(&system, "places");
    let file = data.join("a,b");
    fs::write(&file, "host\n").unwrap();
    let words = [
        "run", "--name", "linked", "-m", "256M", "busybox", "sh", "-c",
    ];
    let script = "ln -s /etc /to-etc; ln -s ../../../../.. /up; ln -s /nowhere/deep /dangling; mkdir /nowhere";
    system.run(words.iter().chain(&[script])).ok();
    system.run(["commit", "linked", "linked"]).ok();
    system.run(["delete", "linked"]).ok();
    let file = file.to_str().unwrap();
    let words = [
        "run",
        "--rm",
        "-m",
        "256M",
        "-v",
        &bind(&data, "/to-etc/shared"),
        "-v",
        &bind(&data, "/up/above"),
        "-v",
        &format!("{file}:/dangling"),
        "--mount",
        &format!("ro,dst=//to-etc/./one,\"src={file}\",type=bind"),
        "--tmpfs",
        "/to-etc/shared/memory:size=1m",
        "linked",
        "sh",
        "-c",
        "cat /etc/shared/a,b /above/a,b /dangling /etc/one; grep -c ' /etc/shared/memory tmpfs' /proc/mounts; \
         echo x > /etc/one || echo refused",
    ];
    let outcome = system.run(words).ok();
    assert_eq!(outcome.stdout, "host\nhost\nhost\nhost\n1\nrefused\n");
    system.run(["image", "delete", "linked"]).ok();
    assert_eq!(fs::read_to_string(file).unwrap(), "host\n");
}
