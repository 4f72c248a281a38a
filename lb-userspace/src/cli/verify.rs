//! `evenkeel verify`

use clap::Args;
use hyper::Method;

use super::{Daemon, exit, output};
use crate::api::model::{DriftStatus, Verified};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Tell what differs, and repair nothing. Exits with 6 if there is something.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn main(arguments: &Arguments, daemon: &Daemon<'_>) -> anyhow::Result<u8> {
    let path = format!("/v1/verify?dry_run={}", arguments.dry_run);
    let verified: Verified = daemon.ask(Method::POST, &path, None::<&()>)?;
    if daemon.json {
        output::json(&verified)?;
    } else {
        print(&verified);
    }
    Ok(if arguments.dry_run && verified.total > 0 { exit::DIFFERENT } else { 0 })
}

fn print(verified: &Verified) {
    let milliseconds = verified.took_us.div_ceil(1000);
    if verified.total == 0 {
        return output::print(&format!("the tables are as they should be ({milliseconds} ms)"));
    }
    let what = if verified.repaired { "repaired" } else { "left as it is" };
    output::print(&format!("{} differ from what they should be, {what} ({milliseconds} ms):", verified.total));
    verified.drifts.iter().for_each(|drift| output::print(&format!("  {}", line(drift))));
    if verified.total > verified.drifts.iter().map(|drift| drift.count).sum() {
        output::print("  and more");
    }
}

/// A drift in one line.
fn line(DriftStatus { table, index, count, what, service, backend }: &DriftStatus) -> String {
    let of = match (service, backend) {
        (Some(service), Some(backend)) => format!(", backend {backend} of {service}"),
        (Some(service), None) => format!(", service {service}"),
        _ => String::new(),
    };
    let more = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
    format!("{table}[{index}]{more}{of}: {what}")
}
