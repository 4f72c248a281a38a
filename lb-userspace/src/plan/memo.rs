//! Finished tables of earlier plans, so that only what changed is computed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use lb_common::{
    hash::HashKey,
    schedule::maglev::{self, MaglevError, Member},
    service::builder::{self, BuildError, Rule, Table},
};

use super::desired::{BackendKey, DesiredService, ServiceKey};

/// A backend in a slot table: key, weight, destination id.
pub(super) type SlotMember = (BackendKey, u32, u32);

/// Finished tables by what they were made from. Nothing but a cache: it says nothing about what was written, so a plan that
/// failed or was written in part does no harm to it, and it may be lost or shared between plans at any time.
#[derive(Debug, Default)]
pub struct Memo {
    slots: HashMap<ServiceKey, SlotTable>,
    services: Option<(Vec<Rule>, HashKey, usize, Table)>,
}

#[derive(Debug)]
struct SlotTable {
    members: Vec<SlotMember>,
    size: u32,
    ids: Arc<Vec<u32>>,
}

impl Memo {
    /// The slots of a service: destination ids.
    pub(super) fn slots(
        &mut self,
        key: &ServiceKey,
        members: Vec<SlotMember>,
        size: u32,
    ) -> Result<Arc<Vec<u32>>, MaglevError> {
        if let Some(found) = self.slots.get(key)
            && found.members == members
            && found.size == size
        {
            return Ok(Arc::clone(&found.ids));
        }
        let ids = Arc::new(build(&members, size)?);
        self.slots.insert(*key, SlotTable { members, size, ids: Arc::clone(&ids) });
        Ok(ids)
    }

    /// The service table.
    pub(super) fn service_table(&mut self, rules: Vec<Rule>, key: &HashKey, most: usize) -> Result<&Table, BuildError> {
        let found = self.services.take().filter(|(of, under, within, _)| (of, under, within) == (&rules, key, &most));
        let table = match found {
            Some((.., table)) => table,
            None => builder::build(&rules, key, most)?,
        };
        Ok(&self.services.insert((rules, *key, most, table)).3)
    }

    /// Forgets services that are not desired.
    pub(super) fn retain(&mut self, desired: &BTreeMap<ServiceKey, DesiredService>) {
        self.slots.retain(|key, _| desired.contains_key(key));
    }
}

/// A Maglev table of destination ids. It depends on backends' addresses, ports and weights alone.
fn build(members: &[SlotMember], size: u32) -> Result<Vec<u32>, MaglevError> {
    let of = |((address, port), weight, _): &SlotMember| {
        let octets = match address {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(address) => address.octets(),
        };
        Member { id: maglev::member_id(&octets, *port), weight: *weight }
    };
    let table = maglev::build(&members.iter().map(of).collect::<Vec<_>>(), size)?;
    Ok(table.into_iter().map(|member| members[member as usize].2).collect())
}
