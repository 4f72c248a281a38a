//! Network namespaces for tests.

use std::{
    fs::File,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::sched::{CloneFlags, setns};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace that lasts as long as this.
pub(super) struct Namespace(String);

impl Namespace {
    /// A new one with the loopback interface up; `None` (and a line that says so) without root.
    pub(super) fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return None;
        }
        let name = format!("ek-nb-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(&["netns", "add", &name]);
        let namespace = Self(name);
        namespace.ip("link set lo up");
        Some(namespace)
    }

    /// Runs `ip ARGUMENTS` inside.
    pub(super) fn ip(&self, arguments: &str) {
        let mut all = vec!["-n", &self.0];
        all.extend(arguments.split_whitespace());
        run(&all);
    }

    /// What `ip ARGUMENTS` prints inside.
    pub(super) fn output(&self, arguments: &str) -> String {
        let output = Command::new("ip").args(["-n", &self.0]).args(arguments.split_whitespace()).output();
        String::from_utf8(output.expect("iproute2 is installed").stdout).expect("text")
    }

    /// Runs many `ip` commands, one a line, inside, and returns when all are done.
    pub(super) fn ip_batch(&self, lines: &str) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, lines.as_bytes()).unwrap();
        run(&["-n", &self.0, "-batch", file.path().to_str().unwrap()]);
    }

    /// Sets a value below `net.` inside.
    pub(super) fn sysctl(&self, key: &str, value: u32) {
        let path = format!("/proc/sys/net/{}", key.replace('.', "/"));
        self.enter(move || std::fs::write(&path, value.to_string()).unwrap_or_else(|error| panic!("{path}: {error}")));
    }

    /// Joins this and another namespace with a veth pair; interface names and addresses, IPv6 without DAD.
    pub(super) fn connect(&self, (name, address): (&str, &str), peer: &Self, (peer_name, peer_address): (&str, &str)) {
        self.ip(&format!("link add {name} type veth peer name {peer_name} netns {}", peer.0));
        for (namespace, name, address) in [(self, name, address), (peer, peer_name, peer_address)] {
            for address in address.split_whitespace() {
                let nodad = if address.contains(':') { "nodad" } else { "" };
                namespace.ip(&format!("address add {address} dev {name} {nodad}"));
            }
            namespace.ip(&format!("link set {name} up"));
        }
    }

    /// Runs `inside` on a thread of its own in this namespace.
    pub(super) fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        let outcome = std::thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                    inside()
                })
                .join()
        });
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The veth pairs go with it. A panic here would hide the one that brought us here.
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).stderr(Stdio::null()).status();
    }
}

fn run(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
}
