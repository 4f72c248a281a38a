//! Programs.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use super::{LONG, Outcome, ProbeKind, TIMED_OUT, failure, hasty, loopback, probe, success};
use crate::config::model::Exec;

fn shell(script: &str) -> ProbeKind {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    ProbeKind::Exec(Arc::new(Exec { command }))
}

#[tokio::test]
async fn the_end_decides_and_the_first_line_is_the_reason() {
    let address = loopback(8080);
    success(address, shell("exit 0")).await;
    success(address, shell("echo noise; echo noise >&2")).await;
    assert_eq!(failure(address, shell("exit 3")).await, "ended with 3");
    assert_eq!(failure(address, shell("echo disk is full; echo more; exit 1")).await, "ended with 1: disk is full");
    assert_eq!(failure(address, shell("echo disk is full >&2; exit 1")).await, "ended with 1: disk is full");
    assert_eq!(failure(address, shell("kill -9 $$")).await, "signal: 9 (SIGKILL)");
    let flood = failure(address, shell("head -c 1000000 /dev/zero | tr '\\0' x; exit 2")).await;
    assert!(flood.starts_with("ended with 2: xxx") && flood.chars().count() < 150, "{flood}");
}

#[tokio::test]
async fn the_environment_is_what_the_documentation_says() {
    let environment = |address: SocketAddr| async move {
        let wanted = format!(
            "EVENKEEL_ADDRESS={} EVENKEEL_FAMILY={} EVENKEEL_PORT={}",
            address.ip(),
            if address.is_ipv4() { 4 } else { 6 },
            address.port()
        );
        // What the shell sets itself is not counted.
        let script = format!(
            "found=$(env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= -e ^PATH= | sort | tr '\\n' ' '); \
             [ \"$found\" = '{wanted} ' ] && [ \"$PWD\" = / ] && [ -n \"$PATH\" ] || {{ echo \"$found\"; exit 1; }}"
        );
        success(address, shell(&script)).await;
    };
    environment(loopback(8080)).await;
    environment("[::1]:53".parse().unwrap()).await;
    // There is no shell but the one that was asked for.
    let command = ["/bin/echo", "$(id)", ";", "false"].map(str::to_owned).to_vec();
    success(loopback(1), ProbeKind::Exec(Arc::new(Exec { command }))).await;
}

/// Waits until there is no such process, or only what is left of it for its parent to reap.
async fn gone(pid: &str) {
    let stat = format!("/proc/{pid}/stat");
    let gone = async {
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("it was not killed");
}

#[tokio::test]
async fn the_time_out_kills_the_whole_group() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!("sleep 100 & echo $! $$ > {0}.new; mv {0}.new {0}; wait", pids.display());
    let target = super::target(loopback(1), shell(&script));
    let probing =
        tokio::spawn(async move { super::check::outcome(&super::check::Network::default(), &target, LONG).await });
    let started = async {
        while !pids.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, started).await.expect("the script was not started");
    let found = fs::read_to_string(&pids).unwrap();
    let [child, leader] = found.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{found}") };
    assert!(Path::new(&format!("/proc/{child}")).exists());
    // A probe that is given up for another reason (its target was removed) ends the same way.
    probing.abort();
    gone(child).await;
    gone(leader).await;
    assert_eq!(hasty(loopback(1), shell("sleep 100")).await, Outcome::Failure(TIMED_OUT.into()));
}

#[tokio::test]
async fn what_is_left_running_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    // It holds the pipe of the output open.
    success(loopback(1), shell(&format!("sleep 100 & echo $! > {}; exit 0", pid.display()))).await;
    let left = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_be_started_says_nothing_about_the_target() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    fs::write(&plain, "no program").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    for (path, reason) in
        [("/nonexistent/check", "no such file or directory"), (plain.to_str().unwrap(), "permission denied")]
    {
        let kind = ProbeKind::Exec(Arc::new(Exec { command: vec![path.to_owned()] }));
        let expected = format!("cannot probe: {path} cannot be started: {reason}");
        assert_eq!(probe(loopback(1), kind).await, Outcome::Inconclusive(expected));
    }
}
