//! Clients: real programs, and load generators inside the test that count exactly.

mod connections;
mod crowd;
mod download;
mod echoes;
mod held;
mod single;
mod syn_flood;
mod tools;
mod udp;

pub use connections::{Attempt, Load, Tally, attempts, connections};
pub use crowd::{Asked, Crowd, allow_connections};
pub use download::{Download, DownloadReport};
pub use echoes::{EchoReport, Echoes, Failure};
pub use held::Held;
pub use single::{SILENCE, connect, who};
pub use syn_flood::{Packets, SynFlood};
pub use tools::{Iperf3Datagrams, Iperf3Run, WrkRun, curl, dig, dig_tcp, iperf3, iperf3_datagrams, wrk};
pub use udp::{Sent, StreamReport, UdpSink, UdpStream, collect};
