//! Making one probe: the table of kinds and the time-out.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    Target, agent, dns, exec, grpc, http, http2, icmp, tcp, tls,
    trouble::{Trouble, shown},
    udp,
};
use crate::{
    config::model::ProbeKind,
    health::{Advice, Answer, Outcome},
};

/// Makes single probes. The tests put a script in the place of the network.
pub(super) trait Check: Clone + Send + Sync + 'static {
    /// Tries the target once, without a time-out of its own.
    fn check(&self, target: &Target) -> impl Future<Output = Result<Advice, Trouble>> + Send;
}

/// Probes over the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network;

impl Check for Network {
    async fn check(&self, target: &Target) -> Result<Advice, Trouble> {
        match &target.kind {
            ProbeKind::Tcp => tcp::check(target).await,
            ProbeKind::Tls(tls) => tls::check(target, tls).await,
            ProbeKind::Http(http) => http::check(target, http).await,
            ProbeKind::Http2(http) => http2::check(target, http).await,
            ProbeKind::Grpc(grpc) => grpc::check(target, grpc).await,
            ProbeKind::Udp(udp) => udp::check(target, udp).await,
            ProbeKind::Dns(dns) => dns::check(target, dns).await,
            ProbeKind::Icmp => icmp::check(target).await,
            ProbeKind::Exec(exec) => exec::check(target, exec).await,
            ProbeKind::Agent(agent) => agent::check(target, agent).await,
        }
    }
}

/// Makes one probe and judges it.
///
/// `timeout` polls the probe before the timer: an answer that arrived while this process did not run still counts.
pub(super) async fn outcome(check: &impl Check, target: &Target, limit: Duration) -> Outcome {
    let begun = Instant::now();
    match timeout(limit, check.check(target)).await {
        Ok(Ok(advice)) => Outcome::Success(Answer { latency: Some(begun.elapsed()), advice }),
        // What a target says may be in either.
        Ok(Err(Trouble::Node(reason))) => Outcome::Inconclusive(format!("cannot probe: {}", shown(reason.as_bytes()))),
        Ok(Err(Trouble::Target(reason))) => Outcome::Failure(shown(reason.as_bytes())),
        Err(_) if target.kind.takes_silence() => Outcome::Success(Answer::default()),
        Err(_) => Outcome::Failure(format!("timed out after {}", span(limit))),
    }
}

fn span(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        assert_eq!(span(Duration::from_secs(2)), "2 s");
        assert_eq!(span(Duration::from_millis(1500)), "1500 ms");
    }
}
