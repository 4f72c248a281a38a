//! QUIC-LB of a service.

use std::str::FromStr as _;

use lb_common::quic::{CONFIGURATIONS, Parameters, configuration::MAX_SERVER_ID};

use super::{
    super::{
        field::{Field, Secret},
        model::{Backend, Protocol},
        problem::{Findings, Position},
        raw,
    },
    node::ReadSecret,
    values,
};
use crate::quic::{Hex, server_ids};

/// Octets of a key.
const KEY: usize = 16;

/// The configurations of a service of this protocol.
pub(super) fn configurations(
    findings: &mut Findings,
    field: &Field<raw::Quic>,
    protocol: Option<Protocol>,
    read: Option<ReadSecret<'_>>,
) -> Vec<Parameters> {
    let Some(raw) = field.get() else { return Vec::new() };
    if protocol == Some(Protocol::Tcp) {
        findings.add(field.at(), "`quic` in a TCP service", "remove it, or set `protocol: udp`");
    }
    let Some(list) = values::required(findings, &raw.configurations, field.at(), "configurations") else {
        return Vec::new();
    };
    if list.is_empty() {
        findings.add(raw.configurations.at(), "no configurations of QUIC-LB", "give at least one, or remove `quic`");
    }
    let mut checked: Vec<Parameters> = Vec::new();
    for item in list {
        let Some(parameters) = item.get().and_then(|raw| configuration(findings, raw, item.at(), read)) else {
            continue;
        };
        if checked.iter().any(|other| other.id == parameters.id) {
            let reason = format!("two configurations of QUIC-LB have the id {}", parameters.id);
            findings.add(item.at(), reason, format!("give one of them another, 0 to {}", CONFIGURATIONS - 1));
        }
        checked.push(parameters);
    }
    checked
}

fn configuration(
    findings: &mut Findings,
    raw: &raw::QuicConfiguration,
    at: Position,
    read: Option<ReadSecret<'_>>,
) -> Option<Parameters> {
    // The library knows the ranges and says what is wrong.
    let mut octets = |field, key| {
        values::required(findings, field, at, key)?;
        values::whole::<u8>(findings, field, key, 0..=255)
    };
    let id = octets(&raw.id, "id");
    let server_id_length = octets(&raw.server_id_length, "server_id_length");
    let nonce_length = octets(&raw.nonce_length, "nonce_length");
    let key = key(findings, raw, read)?;
    let parameters = Parameters { id: id?, server_id_length: server_id_length?, nonce_length: nonce_length?, key };
    if let Err(error) = parameters.check() {
        let message = error.to_string();
        let (reason, remedy) = message.split_once("; ").unwrap_or((&message, ""));
        findings.add(at, reason, remedy);
        return None;
    }
    Some(parameters)
}

/// The key, if there is one; `None`: it is wrong. It never gets into a message.
fn key(
    findings: &mut Findings,
    raw: &raw::QuicConfiguration,
    read: Option<ReadSecret<'_>>,
) -> Option<Option<[u8; KEY]>> {
    let (given, file) = (&raw.key, &raw.key_file);
    if given.is_given() && file.is_given() {
        let at = given.at().max(file.at());
        findings.add(at, "both `key` and `key_file` are given", "remove one of the two");
        return None;
    }
    let (text, at) = if let Some(Secret(text)) = given.get() {
        (text.clone(), given.at())
    } else if file.is_given() {
        let path = values::path(findings, file, "key_file")?;
        // Where no file may be read, any key will do.
        let Some(read) = read else { return Some(Some([0; KEY])) };
        match read(&path) {
            Ok(text) => (text, file.at()),
            Err(error) => {
                let reason = format!("`key_file` {} cannot be read: {error}", path.display());
                findings.add(file.at(), reason, "make it a file of text that the daemon may read");
                return None;
            }
        }
    } else {
        return (!given.is_given()).then_some(None);
    };
    let octets = Hex::from_str(text.trim()).ok().and_then(|hex| <[u8; KEY]>::try_from(hex.0).ok());
    if octets.is_none() {
        findings.add(
            at,
            "the key is not 16 octets in hexadecimal digits",
            "write 32 digits, as `openssl rand -hex 16` does",
        );
    }
    octets.map(Some)
}

/// A server id that is given.
pub(super) fn server_id(findings: &mut Findings, field: &Field<String>) -> Option<Hex> {
    let text = field.get()?;
    match Hex::from_str(text) {
        Ok(id) if id.0.len() <= usize::from(MAX_SERVER_ID) => return Some(id),
        Ok(id) => {
            let reason = format!("`quic_server_id` has {} octets", id.0.len());
            findings.add(field.at(), reason, format!("use 1 to {MAX_SERVER_ID}"));
        }
        Err(error) => {
            let message = error.to_string();
            let (reason, remedy) = message.split_once("; ").unwrap_or((&message, ""));
            findings.add(field.at(), format!("`quic_server_id`: {reason}"), remedy);
        }
    }
    None
}

/// Why the backends of a service cannot all have server ids, as `reason; remedy`.
pub(super) fn ids_conflict(configurations: &[Parameters], backends: &[Backend]) -> Option<String> {
    let lengths = || configurations.iter().map(|parameters| parameters.server_id_length);
    let unused = backends.iter().find_map(|backend| {
        let id = backend.quic_server_id.as_ref()?;
        let used = lengths().any(|length| usize::from(length) == id.0.len());
        (!used).then(|| {
            let remedy = "give one as long as `server_id_length` of a configuration";
            format!("no configuration of QUIC-LB has server ids like {id} of backend `{}`; {remedy}", backend.name)
        })
    });
    // Whether there are enough ids does not depend on the secret.
    unused
        .or_else(|| lengths().find_map(|length| server_ids(&[], backends, length).err()).map(|error| error.to_string()))
}
