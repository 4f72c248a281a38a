//! Making one probe: the table of kinds and the time-out.

use std::{future::Future, ops::Deref, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    Relay, Target, agent, dns, exec, grpc, http, http2, icmp, tcp, tls,
    trouble::{Trouble, shown},
    udp,
};
use crate::{
    config::model::{ForwardingMode, ProbeKind},
    health::{Advice, Answer, Outcome},
};

/// Makes single probes. The tests put a script in the place of the network.
pub(super) trait Check: Clone + Send + Sync + 'static {
    /// Tries the target once, without a time-out of its own.
    fn check(&self, target: &Target) -> impl Future<Output = Result<Advice, Trouble>> + Send;

    /// Whether the newest packets to a target did not leave this node.
    fn is_unsent(&self, _: &Target) -> bool {
        false
    }

    /// Whether what leads to a target is there, or is known not to be.
    fn is_ready(&self, _: &Target) -> bool {
        true
    }

    /// What is known of a target that no answer comes from.
    fn remark(&self, _: &Target) -> Option<String> {
        None
    }
}

/// Probes over the network.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    /// For targets that are probed on the way of the traffic.
    pub(super) relay: Option<Relay>,
}

/// A target and what leads to it.
pub(super) struct Dial<'a> {
    pub(super) target: &'a Target,
    pub(super) relay: Option<&'a Relay>,
}

impl Deref for Dial<'_> {
    type Target = Target;

    fn deref(&self) -> &Target {
        self.target
    }
}

impl Check for Network {
    async fn check(&self, target: &Target) -> Result<Advice, Trouble> {
        let dial = &Dial { target, relay: self.relay.as_ref() };
        // In boxes: else each probe of the simplest kind would be as large as that of the largest, thousands a second.
        match &target.kind {
            ProbeKind::Tcp => tcp::check(dial).await,
            ProbeKind::Tls(tls) => Box::pin(tls::check(dial, tls)).await,
            ProbeKind::Http(http) => Box::pin(http::check(dial, http)).await,
            ProbeKind::Http2(http) => Box::pin(http2::check(dial, http)).await,
            ProbeKind::Grpc(grpc) => Box::pin(grpc::check(dial, grpc)).await,
            ProbeKind::Udp(udp) => Box::pin(udp::check(dial, udp)).await,
            ProbeKind::Dns(dns) => Box::pin(dns::check(dial, dns)).await,
            ProbeKind::Icmp => Box::pin(icmp::check(target)).await,
            ProbeKind::Exec(exec) => Box::pin(exec::check(target, exec)).await,
            ProbeKind::Agent(agent) => Box::pin(agent::check(dial, agent)).await,
        }
    }

    fn is_unsent(&self, target: &Target) -> bool {
        let trouble = |relay: &Relay| target.way().and_then(|way| relay.trouble(way));
        self.relay.as_ref().is_some_and(|relay| trouble(relay).is_some())
    }

    fn is_ready(&self, target: &Target) -> bool {
        let settled = |relay: &Relay| target.way().is_none_or(|way| relay.is_settled(way));
        self.relay.as_ref().is_none_or(settled)
    }

    fn remark(&self, target: &Target) -> Option<String> {
        let way = target.way()?;
        let (vip, mode) = (way.via.vip, way.via.mode.name());
        Some(match self.relay.as_ref().and_then(|relay| relay.trouble(way)) {
            Some(trouble) => format!("on the way of the traffic, not sent: {trouble}"),
            None if way.via.mode == ForwardingMode::DsrL2 => {
                format!("at {vip} by {mode}: does the backend have the VIP?")
            }
            None => format!("at {vip} by {mode}: does the backend have the VIP, and a tunnel that takes it there?"),
        })
    }
}

/// What ICMP says of a host that does not have the address that a packet is for, and does not know where to send it.
const UNREACHABLE: [&str; 2] = ["network is unreachable", "no route to host"];

/// Makes one probe and judges it.
///
/// `timeout` polls the probe before the timer: an answer that arrived while this process did not run still counts.
pub(super) async fn outcome(check: &impl Check, target: &Target, limit: Duration) -> Outcome {
    let begun = Instant::now();
    match timeout(limit, check.check(target)).await {
        Ok(Ok(advice)) => Outcome::Success(Answer { latency: Some(begun.elapsed()), advice }),
        // What a target says may be in either.
        Ok(Err(Trouble::Node(reason))) => Outcome::Inconclusive(format!("cannot probe: {}", shown(reason.as_bytes()))),
        Ok(Err(Trouble::Target(reason))) => {
            let is_lost = UNREACHABLE.contains(&reason.as_str());
            let remark = is_lost.then(|| check.remark(target)).flatten().map(|remark| format!(" {remark}"));
            Outcome::Failure(shown(reason.as_bytes()) + &remark.unwrap_or_default())
        }
        Err(_) if !check.is_ready(target) => Outcome::Inconclusive("cannot probe: no way to it yet".to_owned()),
        Err(_) if target.kind.takes_silence() && !check.is_unsent(target) => Outcome::Success(Answer::default()),
        Err(_) => {
            let remark = check.remark(target).map(|remark| format!(" {remark}")).unwrap_or_default();
            Outcome::Failure(format!("timed out after {}{remark}", span(limit)))
        }
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
