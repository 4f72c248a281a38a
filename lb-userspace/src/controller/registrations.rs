//! Backends that register themselves for a time and say again and again that they are there.
//!
//! How long a registration is good for is kept with the backend. When it ends is not: a heartbeat writes nothing. So a daemon
//! that starts gives each of them its whole time once more, since nobody could be heard while there was no daemon. It is
//! measured by a clock that nobody sets.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    plan::desired::BackendKey,
    state::{Runtime, runtime::parse_key},
};

/// When registrations end.
#[derive(Debug, Default)]
pub(crate) struct Registrations {
    ends: BTreeMap<(String, BackendKey), Instant>,
    /// The last look at who has expired.
    looked: Option<Instant>,
}

/// The longest time between two looks in which heartbeats were heard all the while.
const STANDSTILL: Duration = Duration::from_secs(1);

impl Registrations {
    /// A heartbeat.
    pub(super) fn renew(&mut self, service: &str, backend: BackendKey, ttl: Option<Duration>, now: Instant) {
        let name = (service.to_owned(), backend);
        match ttl {
            Some(ttl) => drop(self.ends.insert(name, now + ttl)),
            None => drop(self.ends.remove(&name)),
        }
    }

    /// What is left of a registration.
    pub(super) fn remaining(&self, service: &str, backend: BackendKey, now: Instant) -> Option<Duration> {
        let end = self.ends.get(&(service.to_owned(), backend))?;
        Some(end.saturating_duration_since(now))
    }

    /// The backends whose time is up. One that was not heard of yet begins now.
    pub(super) fn expired(&mut self, runtime: &Runtime, now: Instant) -> Vec<(String, BackendKey)> {
        let registered = runtime.services.iter().flat_map(|(service, changes)| {
            changes.backends.iter().filter_map(move |(text, change)| {
                let ttl = change.added.as_ref()?.ttl?;
                Some(((service.clone(), parse_key(text)?), ttl))
            })
        });
        // Nobody was heard while the process stood still.
        let since = self.looked.replace(now).map_or(Duration::ZERO, |looked| now.duration_since(looked));
        if since > STANDSTILL {
            self.ends.values_mut().for_each(|end| *end += since);
        }
        let mut before = std::mem::take(&mut self.ends);
        self.ends = registered
            .map(|(name, ttl)| {
                let end = before.remove(&name).unwrap_or_else(|| now + ttl);
                (name, end)
            })
            .collect();
        self.ends.iter().filter(|(_, end)| **end <= now).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::model::AdminState, state::runtime::Added};

    const BACKEND: BackendKey = (std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 80);
    const TTL: Duration = Duration::from_secs(30);

    fn registered(ttl: Option<Duration>) -> Runtime {
        let mut runtime = Runtime::default();
        runtime.backend_mut("web", BACKEND).added = Some(Added {
            name: "b1".to_owned(),
            mode: None,
            max_connections: None,
            weight: 1,
            priority: 0,
            backup: false,
            admin_state: AdminState::Enabled,
            quic_server_id: None,
            ttl,
        });
        runtime
    }

    /// Who has expired when the daemon has looked every second.
    fn look(from: &mut Registrations, runtime: &Runtime, start: Instant, time: Duration) -> Vec<(String, BackendKey)> {
        (1..=time.as_secs()).for_each(|second| drop(from.expired(runtime, start + Duration::from_secs(second))));
        from.expired(runtime, start + time)
    }

    #[test]
    fn it_ends_its_time_after_the_last_heartbeat() {
        let (runtime, start) = (registered(Some(TTL)), Instant::now());
        let mut registrations = Registrations::default();
        registrations.renew("web", BACKEND, Some(TTL), start);
        assert!(look(&mut registrations, &runtime, start, TTL - Duration::from_millis(1)).is_empty());
        registrations.renew("web", BACKEND, Some(TTL), start + TTL / 2);
        assert!(look(&mut registrations, &runtime, start, TTL).is_empty());
        assert_eq!(registrations.remaining("web", BACKEND, start + TTL), Some(TTL / 2));
        assert_eq!(look(&mut registrations, &runtime, start + TTL, TTL / 2), [("web".to_owned(), BACKEND)]);
    }

    #[test]
    fn a_standstill_of_the_daemon_ends_nothing() {
        let (runtime, start) = (registered(Some(TTL)), Instant::now());
        let mut registrations = Registrations::default();
        registrations.renew("web", BACKEND, Some(TTL), start);
        assert!(registrations.expired(&runtime, start).is_empty());
        assert!(registrations.expired(&runtime, start + 10 * TTL).is_empty());
        assert_eq!(registrations.remaining("web", BACKEND, start + 10 * TTL), Some(TTL));
        assert_eq!(look(&mut registrations, &runtime, start + 10 * TTL, TTL).len(), 1);
    }

    #[test]
    fn a_daemon_that_starts_gives_it_its_whole_time() {
        let (runtime, start) = (registered(Some(TTL)), Instant::now());
        let mut registrations = Registrations::default();
        assert!(registrations.expired(&runtime, start).is_empty());
        assert_eq!(registrations.remaining("web", BACKEND, start), Some(TTL));
        assert!(look(&mut registrations, &runtime, start, TTL / 2).is_empty());
        assert_eq!(look(&mut registrations, &runtime, start + TTL / 2, TTL / 2).len(), 1);
    }

    #[test]
    fn without_a_time_to_live_there_is_no_end() {
        let start = Instant::now();
        let mut registrations = Registrations::default();
        registrations.renew("web", BACKEND, Some(TTL), start);
        registrations.renew("web", BACKEND, None, start);
        assert!(registrations.expired(&registered(None), start + 2 * TTL).is_empty());
        assert_eq!(registrations.remaining("web", BACKEND, start), None);
    }

    #[test]
    fn what_was_removed_is_forgotten() {
        let start = Instant::now();
        let mut registrations = Registrations::default();
        registrations.renew("web", BACKEND, Some(TTL), start);
        assert!(registrations.expired(&Runtime::default(), start + 2 * TTL).is_empty());
        // Registered anew it begins anew.
        assert!(registrations.expired(&registered(Some(TTL)), start + 2 * TTL).is_empty());
    }
}
