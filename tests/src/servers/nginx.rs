//! nginx.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{LOOPBACK, log_file, with_log};
use crate::{
    content::Content,
    http::{BACKEND_HEADER, get_text},
    names,
    namespace::Namespace,
    process::Process,
    wait::PATIENCE,
};

/// Where the content lies; `/file?rate=N` sends N bytes per second, without `rate` as fast as it goes.
pub const FILE_PATH: &str = "/file";

/// A running nginx. `GET /who` gives its name as the body; every response has it in [`BACKEND_HEADER`].
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    _directory: TempDir,
}

/// Starts nginx on the ports of all the namespace's addresses; `content` is served at [`FILE_PATH`].
///
/// # Errors
/// When nginx is missing or does not start; the message has its log.
pub fn nginx(namespace: &Namespace, name: &str, ports: &[u16], content: Option<&Content>) -> Result<Nginx> {
    let first = *ports.first().context("nginx needs a port")?;
    let directory = names::scratch("nginx")?;
    let (configuration, log) = write_files(directory.path(), name, ports, content)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory.path()).arg("-c").arg(configuration).arg("-e").arg(&log);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(log_file(&log)?);
    let mut process = namespace.spawn(command)?;
    let ready = process.wait_ready(&format!("nginx {name} answers"), PATIENCE, || {
        let said = namespace.enter(|| get_text(SocketAddr::new(LOOPBACK, first), "/who", Duration::from_secs(5)))??;
        ensure!(said == name, "{said} answers instead");
        Ok(())
    });
    with_log(ready, &log)?;
    Ok(Nginx { process, _directory: directory })
}

impl Nginx {
    /// Kills it with SIGKILL: its connections are reset, its port refuses.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Its process, for signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn write_files(directory: &Path, name: &str, ports: &[u16], content: Option<&Content>) -> Result<(PathBuf, PathBuf)> {
    let root = directory.join("www");
    fs::create_dir(&root)?;
    if let Some(content) = content {
        fs::write(root.join("file"), content.bytes())?;
    }
    let configuration = directory.join("nginx.conf");
    fs::write(&configuration, configure(directory, name, ports))?;
    Ok((configuration, directory.join("log")))
}

/// One process without a master: killing it kills all of it, which a master's workers would survive.
fn configure(directory: &Path, name: &str, ports: &[u16]) -> String {
    let listen: String = ports
        .iter()
        .map(|port| format!("    listen {port} backlog=4096;\n    listen [::]:{port} ipv6only=on backlog=4096;\n"))
        .collect();
    let directory = directory.display();
    format!(
        "daemon off;
master_process off;
pid {directory}/pid;
worker_rlimit_nofile 8192;
events {{ worker_connections 4000; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  add_header {BACKEND_HEADER} {name} always;
  server {{
{listen}    root {directory}/www;
    location = /who {{ default_type text/plain; return 200 {name}; }}
    location / {{ limit_rate $arg_rate; }}
  }}
}}
"
    )
}
