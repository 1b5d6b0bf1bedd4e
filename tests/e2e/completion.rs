//! Completion in the shells themselves, with names of what there is. No machine is started.

use std::process::Command;

use crate::system::{Outcome, System};

/// A shell's script, with `container` of `system` as the command.
fn shell(system: &System, words: &[&str]) -> Outcome {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", "60"]).args(words);
    system.environment(&mut command);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}/bin:{path}", system.prefix().display()));
    command.env("HOME", system.scratch());
    Outcome::from(command.output().unwrap())
}

/// What follows `line` in bash.
fn bash(system: &System, line: &str) -> String {
    let script = r#"source <(container --generate-completion-script bash)
        read -ra COMP_WORDS <<<"$1"; [[ $1 != *" " ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
        function=$(complete -p container | sed 's/.* -F \([^ ]*\) .*/\1/')
        $function container "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; printf '%s\n' "${COMPREPLY[@]}""#;
    shell(system, &["bash", "-c", script, "bash", line])
        .ok()
        .stdout
}

/// The same in fish.
fn fish(system: &System, line: &str) -> String {
    let script = "container --generate-completion-script fish | source; complete --do-complete $argv[1] | string replace -r '\\t.*' ''; true";
    shell(system, &["fish", "--no-config", "-c", script, "--", line])
        .ok()
        .stdout
}

/// What a terminal of zsh shows of the line when the tabulator is pressed: `name` alone fits.
fn zsh(system: &System, line: &str, name: &str) -> String {
    let script = r#"zmodload zsh/zpty; zpty shell zsh -f -i
        zpty -w shell 'PS1=; autoload -U compinit; compinit -u -d $HOME/.zcompdump; source <(container --generate-completion-script zsh); echo re''ady'
        zpty -r -m shell said '*ready*'
        zpty -w -n shell "$1"$'\t'
        zpty -r -m shell said "*$2*"
        print -r -- "$said""#;
    shell(system, &["zsh", "-f", "-c", script, "zsh", line, name])
        .ok()
        .stdout
}

#[test]
fn shells_complete_names_of_what_there_is() {
    let system = System::start();
    for made in [
        "create --name webserver --network none busybox",
        "create --name worker --network none busybox",
        "network create backend",
        "volume create database",
    ] {
        system.run(made.split(' ')).ok();
    }
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for complete in [bash as fn(&System, &str) -> String, fish] {
        let names = |line: &str| lines(&complete(&system, line));
        assert_eq!(names("container start w"), ["webserver", "worker"]);
        assert_eq!(names("container network inspect b"), ["backend"]);
        assert_eq!(names("container volume delete d"), ["database"]);
        assert!(names("container image inspect b")[0].starts_with("busybox"));
        assert!(names("container run --na").contains(&"--name".to_owned()));
        assert_eq!(names("container sys"), ["system"]);
        assert_eq!(names("container start nobody"), [""; 0]);
    }
    let said = zsh(&system, "container start webs", "webserver");
    assert!(said.contains("start webserver"), "{said}");
    // Where nothing answers, nothing is complained of.
    system.run(["system", "stop"]).ok();
    assert_eq!(bash(&system, "container start w").trim(), "");
}
