//! HAProxy and nginx, from the distribution, as one would set them up for TCP: one thread, as there is one core.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use evenkeel_tests::{
    http::get_text,
    names::scratch,
    process::Process,
    topology::{Topology, VIP4},
    wait::PATIENCE,
};
use tempfile::TempDir;

use super::{
    stage::{DATAGRAMS, HTTP, TCP_PORTS},
    subject::Subject,
};

/// Where the distribution puts nginx's modules.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Starts one of them on the VIP and waits until the client is served.
pub(super) fn start(subject: Subject, topology: &Topology) -> Result<(Process, TempDir)> {
    let balancer = topology.balancer();
    balancer.ip(&[format!("addr add {VIP4}/32 dev lo")])?;
    let directory = scratch(subject.name())?;
    let (file, log) = (directory.path().join("configuration"), directory.path().join("log"));
    let backends: Vec<String> = topology.backends().iter().map(|backend| backend.addresses().v4.to_string()).collect();
    let mut command = Command::new(subject.name());
    if subject == Subject::Haproxy {
        fs::write(&file, haproxy(&backends))?;
        command.arg("-db").arg("-f").arg(&file);
    } else {
        fs::write(&file, nginx(directory.path(), &backends))?;
        command.arg("-p").arg(directory.path()).arg("-c").arg(&file).arg("-e").arg(&log);
    }
    let output = File::create(&log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut process =
        balancer.spawn(command).with_context(|| format!("run `cargo xtask setup` for {}", subject.name()))?;
    let server = SocketAddr::new(VIP4.into(), HTTP);
    let ready = process.wait_ready(&format!("{} serves", subject.name()), PATIENCE, || {
        topology.client().enter(|| get_text(server, "/who", Duration::from_secs(1)))??;
        Ok(())
    });
    ready.with_context(|| format!("it said: {}", fs::read_to_string(&log).unwrap_or_default().trim()))?;
    Ok((process, directory))
}

fn haproxy(backends: &[String]) -> String {
    let mut text = String::from(
        "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  option splice-auto\n  balance roundrobin\n",
    );
    for port in TCP_PORTS {
        let _ = writeln!(text, "listen port-{port}\n  bind {VIP4}:{port} backlog 4096");
        for (number, backend) in backends.iter().enumerate() {
            let _ = writeln!(text, "  server b{number} {backend}:{port}");
        }
    }
    text
}

fn nginx(directory: &Path, backends: &[String]) -> String {
    let mut text = String::new();
    // Where the module is built in there is no file, and loading it twice is an error.
    if Path::new(MODULE).exists() {
        let _ = writeln!(text, "load_module {MODULE};");
    }
    let _ = writeln!(
        text,
        "daemon off;\nmaster_process off;\nworker_rlimit_nofile 16384;\npid {}/pid;\nevents {{ worker_connections 8000; }}\nstream {{",
        directory.display()
    );
    for port in TCP_PORTS.into_iter().chain([DATAGRAMS]) {
        let _ = writeln!(text, "  upstream port-{port} {{");
        for backend in backends {
            let _ = writeln!(text, "    server {backend}:{port};");
        }
        let (udp, extra) = if port == DATAGRAMS { (" udp", " proxy_responses 0;") } else { (" backlog=4096", "") };
        let _ = writeln!(text, "  }}\n  server {{ listen {VIP4}:{port}{udp}; proxy_pass port-{port};{extra} }}");
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_each_backend() {
        let backends = ["10.0.0.11".to_owned(), "10.0.0.12".to_owned()];
        for (text, ports) in
            [(haproxy(&backends), &TCP_PORTS[..]), (nginx(Path::new("/tmp"), &backends), &TCP_PORTS[..])]
        {
            for port in ports {
                assert_eq!(text.matches(&format!("{VIP4}:{port}")).count(), 1, "{text}");
                for backend in &backends {
                    assert_eq!(text.matches(&format!("{backend}:{port}")).count(), 1, "{text}");
                }
            }
        }
    }
}
