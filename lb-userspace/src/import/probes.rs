//! Probes of several services: what is probed in the same way is one probe here, with the same times.

use std::collections::HashMap;

use super::{
    Context,
    model::{At, Probe, VirtualServer},
    values::{scalar, time},
};

/// Gives all services that share a probe the times of the first of them.
pub(super) fn share_times(context: &mut Context, servers: &mut [VirtualServer]) {
    let mut first = HashMap::new();
    // Who shares with whom, as trees: services that are linked by others have one root.
    let mut parents: Vec<usize> = (0..servers.len()).collect();
    for (index, server) in servers.iter().enumerate() {
        let Some(At(_, probe)) = &server.probe else { continue };
        for backend in server.servers.iter().chain(&server.sorry) {
            let port = probe.port.unwrap_or(if backend.port == 0 { server.port } else { backend.port });
            let other = *first.entry((probe.kind, probe.keys.clone(), backend.address, port)).or_insert(index);
            let (one, other) = (root(&mut parents, index), root(&mut parents, other));
            parents[one.max(other)] = one.min(other);
        }
    }
    for index in 0..servers.len() {
        let first = root(&mut parents, index);
        let Some(At(place, Probe { times, .. })) = servers[first].probe.clone() else { continue };
        if let Some(At(at, probe)) = &mut servers[index].probe
            && probe.times != times
        {
            probe.times = times;
            let place = place.line;
            context
                .ledger
                .changed(*at, format!("one probe serves all services with this server: the times of line {place}"));
        }
    }
}

fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

impl Probe {
    /// In YAML.
    pub(super) fn render(&self) -> String {
        let times = self.times;
        let mut keys = vec![("type", self.kind.to_owned()), ("interval", time(times.interval))];
        if times.retry != times.interval {
            keys.push(("fast_interval", time(times.retry)));
        }
        keys.extend([("timeout", time(times.timeout)), ("rise", "1".to_owned()), ("fall", times.fall.to_string())]);
        if times.is_up_at_first {
            keys.push(("initial", "up".to_owned()));
        }
        keys.extend(self.port.map(|port| ("port", port.to_string())));
        keys.extend(self.source.map(|source| ("source", scalar(&source.to_string()))));
        keys.extend(self.keys.iter().cloned());
        let keys: Vec<String> = keys.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
        format!("{{{}}}", keys.join(", "))
    }
}
