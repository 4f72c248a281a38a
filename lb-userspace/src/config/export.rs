//! The running configuration as a document: what the file says, with what was changed at run time.

use super::{
    model::{AdminState, Backend, ForwardingMode, Service},
    problem::{Findings, Position},
    sources::{AppliedServices, Sources, address_of, name_of},
    yaml::{Node, Value},
};

/// Writes the configuration of a daemon in YAML. `services` are as they run: those of the file and of `applied`, with backends added,
/// removed and changed.
#[must_use]
pub fn export<'a>(
    sources: &Sources,
    applied: &AppliedServices,
    services: impl Iterator<Item = &'a Service>,
    version: u64,
) -> String {
    let mut tree = sources.tree(0, &mut Findings::default()).unwrap_or_else(|| Node::map([]));
    let running: std::collections::HashMap<&str, &Service> =
        services.map(|service| (service.name.as_str(), service)).collect();
    if let Value::Map(entries) = &mut tree.value {
        entries.retain(|(key, _)| key.text() != Some("include"));
        for (_, value) in entries.iter_mut().filter(|(key, _)| key.text() == Some("services")) {
            let Value::List(list) = &mut value.value else { continue };
            list.extend(applied.values().map(|service| Node::from_json(service, Position::default())));
            // What is applied and not in force, as the file has taken its place, is not said.
            let mut seen = std::collections::HashSet::new();
            list.retain_mut(|node| {
                let Some(service) = name_of(node).and_then(|name| running.get(name)) else { return false };
                as_it_runs(node, service);
                seen.insert(service.name.as_str())
            });
        }
    }
    format!("# The running configuration, version {version}.\n{}", tree.to_yaml())
}

/// Puts the backends that a service has in place of those that are written.
fn as_it_runs(node: &mut Node, service: &Service) {
    let Value::Map(entries) = &mut node.value else { return };
    let Some((_, list)) = entries.iter_mut().find(|(key, _)| key.text() == Some("backends")) else { return };
    let Value::List(items) = &mut list.value else { return };
    let mut written: Vec<Node> = std::mem::take(items);
    let mut places: std::collections::HashMap<_, usize> = std::collections::HashMap::new();
    for (index, item) in written.iter().enumerate() {
        places.extend(address_of(item).map(|address| (address, index)));
    }
    *items = service
        .backends
        .iter()
        .map(|backend| match places.get(&backend.address) {
            Some(index) => changed(std::mem::replace(&mut written[*index], Value::Null.into()), backend),
            None => added(backend, service),
        })
        .collect();
}

/// A written backend, with the weight and the state that it has.
fn changed(mut node: Node, backend: &Backend) -> Node {
    let said = |node: &Node, key: &str| node.get(key).map(Node::to_json);
    let (weight, state) = (said(&node, "weight"), said(&node, "admin_state"));
    let is_weight = weight.unwrap_or_else(|| 1.into()) == backend.weight;
    let is_state = state.unwrap_or_else(|| "enabled".into()) == state_name(backend.admin_state);
    if is_weight && is_state {
        return node;
    }
    if let Some(address) = node.text() {
        node = Node::map([("address", Value::text(address))]);
    }
    if !is_weight {
        node.set("weight", Value::Unsigned(backend.weight.into()));
    }
    if !is_state {
        node.set("admin_state", Value::text(state_name(backend.admin_state)));
    }
    node
}

/// A backend that was added at run time.
fn added(backend: &Backend, service: &Service) -> Node {
    let mut node = Node::map([("address", Value::text(backend.address.to_string()))]);
    if backend.name != backend.address.to_string() {
        node.set("name", Value::text(&backend.name));
    }
    if let Some(mode) = backend.mode {
        node.set("mode", mode_value(mode));
    }
    if backend.mode.unwrap_or(service.mode).is_nat() && backend.port != 0 {
        node.set("port", Value::Unsigned(backend.port.into()));
    }
    if let Some(most) = backend.max_connections {
        node.set("max_connections", Value::Unsigned(most.into()));
    }
    if backend.priority != 0 {
        node.set("priority", Value::Unsigned(backend.priority.into()));
    }
    if backend.backup {
        node.set("backup", Value::Bool(true));
    }
    if let Some(id) = &backend.quic_server_id {
        node.set("quic_server_id", Value::text(id.to_string()));
    }
    changed(node, backend)
}

fn mode_value(mode: ForwardingMode) -> Value {
    let option = |key: &'static str, value: u64| {
        Node::map([("type", Value::text(mode.name())), (key, Value::Unsigned(value))]).value
    };
    match mode {
        ForwardingMode::Gue { port } => option("port", port.into()),
        ForwardingMode::FullNat { toa: Some(kind) } => option("toa", kind.into()),
        _ => Value::text(mode.name()),
    }
}

const fn state_name(state: AdminState) -> &'static str {
    match state {
        AdminState::Enabled => "enabled",
        AdminState::Draining => "draining",
        AdminState::Disabled => "disabled",
    }
}
