//! Set-up against a machine of doubles: a folder of programs, with an `apt-get` that installs into it.

use std::{fs, process::Command};

use super::{
    parts::{Probe, Remedy},
    *,
};

const TOOL: Part = Part {
    name: "evenkeel-double",
    purpose: Purpose::Test,
    probe: Probe::Programs(&["evenkeel-double"]),
    remedy: Remedy::Packages(&[&["double-light", "double"]]),
};

/// A machine in a folder. `offered` is what its package lists have, `on_install` what its apt-get does.
struct Doubles {
    folder: tempfile::TempDir,
    machine: Machine,
}

impl Doubles {
    fn new(offered: &str, on_install: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = folder.path().to_owned();
        let machine = Machine {
            path: vec![at.clone(), "/usr/bin".into(), "/bin".into()],
            may_install: true,
            service_policy: at.join("policy-rc.d"),
        };
        let doubles = Self { folder, machine };
        doubles.program("apt-cache", &format!("printf '{offered}:\\n  Candidate: 1.0\\n'"));
        let log = at.join("log");
        let install = format!("if [ $1 = install ]; then {on_install}; fi");
        doubles.program("apt-get", &format!("cd {}; echo \"$@\" >>{}\n{install}", at.display(), log.display()));
        doubles
    }

    /// `install` writes the program: a program that this process has open for writing, even in a child that another
    /// test is just starting, cannot be run.
    fn program(&self, name: &str, script: &str) {
        let text = self.folder.path().join("text");
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("the folder is ours");
        let install = Command::new("install").arg("-m755").arg(&text).arg(self.folder.path().join(name)).status();
        assert!(install.expect("install runs").success());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

#[test]
fn what_is_missing_is_installed_once_and_no_service_may_start() {
    let doubles = Doubles::new("double", "sh ./policy-rc.d; echo policy $? >>log; cp apt-cache evenkeel-double");
    install_missing(&doubles.machine, &[&TOOL]).expect("apt-get installs it");
    let log = doubles.log();
    let lines: Vec<_> = log.lines().collect();
    assert!(lines[0].starts_with("update"), "{log}");
    assert!(lines[1].starts_with("install --yes --no-install-recommends double -o"), "the alternative: {log}");
    assert_eq!(lines[2], "policy 101", "services were forbidden: {log}");
    assert!(!doubles.machine.service_policy.exists(), "and are allowed again");

    install_missing(&doubles.machine, &[&TOOL]).expect("nothing is missing any more");
    assert_eq!(doubles.log(), log, "a second run does nothing");
}

#[test]
fn a_failed_installation_shows_the_output_and_what_to_do() {
    let doubles = Doubles::new("double", "echo E: no space left; exit 100");
    let error = install_missing(&doubles.machine, &[&TOOL]).expect_err("apt-get fails").to_string();
    for expected in ["| E: no space left", "exit status: 100", "apt-get install", "What to do:"] {
        assert!(error.contains(expected), "{expected:?} is not in {error}");
    }
    assert!(!doubles.machine.service_policy.exists());
}

#[test]
fn a_package_that_is_not_offered_is_named() {
    let doubles = Doubles::new("other", "true");
    let error = install_missing(&doubles.machine, &[&TOOL]).expect_err("it is not to be had").to_string();
    assert!(error.contains("double-light") && error.contains("evenkeel-double"), "{error}");
    assert!(!doubles.log().contains("install"), "{}", doubles.log());
}

#[test]
fn an_installation_that_changes_nothing_is_not_taken_for_a_success() {
    let doubles = Doubles::new("double", "true");
    let error = install_missing(&doubles.machine, &[&TOOL]).expect_err("the program is not there").to_string();
    assert!(error.contains("still missing after everything was installed"), "{error}");
}

#[test]
fn elsewhere_nothing_is_run_and_the_commands_are_shown() {
    let mut doubles = Doubles::new("double", "cp apt-cache evenkeel-double");
    doubles.machine.may_install = false;
    let error = install_missing(&doubles.machine, &[&TOOL]).expect_err("it stays missing").to_string();
    assert!(error.contains("apt-get install --yes --no-install-recommends double-light"), "{error}");
    assert_eq!(doubles.log(), "");
}

#[test]
fn a_failed_refresh_of_the_lists_does_not_stop_the_installation() {
    let doubles = Doubles::new("double", "cp apt-cache evenkeel-double");
    doubles.program("apt-get", "cd \"$(dirname \"$0\")\"; [ $1 = update ] && exit 100; cp apt-cache evenkeel-double");
    install_missing(&doubles.machine, &[&TOOL]).expect("the old lists have the package");
}

#[test]
fn an_old_linker_and_one_that_does_not_run_count_as_missing() {
    let linker = PARTS.iter().find(|part| matches!(part.probe, Probe::BpfLinker)).expect("it is on the list");
    let doubles = Doubles::new("double", "true");
    for (script, present) in [
        ("echo bpf-linker 0.12.9", false),
        ("exit 127", false),
        ("echo bpf-linker 0.13.0", true),
        ("echo bpf-linker 1.0.0", true),
    ] {
        doubles.program("bpf-linker", script);
        assert_eq!(linker.is_present(&doubles.machine, None), present, "{script:?}");
    }
}

#[test]
fn the_guest_is_set_up_only_when_it_is_asked_for() {
    let of = |vm| Options { check: true, vm }.parts().iter().filter(|part| part.purpose == Purpose::Vm).count();
    assert_eq!(of(false), 0);
    assert!(of(true) > 0);
}
