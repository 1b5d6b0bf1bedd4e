//! As an ordinary user who has only the packages.

use std::process::Command;

use crate::system::{System, image};

/// A user that the test makes and removes.
#[derive(Debug)]
struct User {
    name: String,
}

impl User {
    fn make() -> Self {
        let name = format!("container-e2e-{}", std::process::id());
        let made = Command::new("useradd")
            .args(["--create-home", "--user-group", &name])
            .status()
            .unwrap();
        assert!(made.success());
        Self { name }
    }

    /// Runs a shell line as the user, with a login's environment.
    fn shell(&self, prefix: &str, line: &str) -> std::process::Output {
        let script = format!(
            "cd; export HOME=$PWD XDG_RUNTIME_DIR=$PWD/run PATH={prefix}/bin:$PATH; mkdir -p run; chmod 700 run; {line}"
        );
        Command::new("timeout")
            .args([
                "-k",
                "5",
                "120",
                "setpriv",
                "--reuid",
                &self.name,
                "--regid",
                &self.name,
                "--init-groups",
            ])
            .args([
                "env",
                "-i",
                &format!("PATH={}", std::env::var("PATH").unwrap()),
            ])
            .args(["sh", "-c", &script])
            .current_dir(format!("/home/{}", self.name))
            .output()
            .unwrap()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = Command::new("userdel")
            .args(["--remove", &self.name])
            .output();
    }
}

#[test]
fn an_ordinary_user_runs_containers() {
    let user = User::make();
    // The build directory may lie where the user cannot look.
    let copy = tempfile::Builder::new()
        .prefix("container-prefix")
        .tempdir()
        .unwrap();
    let prefix = copy.path().join("prefix");
    let shared = System::stopped();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(shared.prefix())
        .arg(&prefix)
        .status()
        .unwrap();
    assert!(copied.success());
    std::fs::copy(image(), copy.path().join("busybox.tar")).unwrap();
    let opened = Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(copy.path())
        .status()
        .unwrap();
    assert!(opened.success());

    let line = format!(
        "container system start && container image load -i {}/busybox.tar && \
         container run --rm busybox echo hello && container run -d --name c1 busybox sleep 1000 && \
         container exec c1 id -u; code=$?; container delete -f c1; container system stop && exit $code",
        copy.path().display()
    );
    let output = user.shell(prefix.to_str().unwrap(), &line);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("\nhello\nc1\n0\n"), "{text}");
}
