//! Which services an event concerns.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use crate::{
    config::model::Service,
    state::{Effective, Runtime, runtime::parse_key},
};

/// The services that are to be planned, by their position in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Concerned {
    All,
    Some(BTreeSet<u32>),
}

impl Concerned {
    pub(super) fn nobody() -> Self {
        Self::Some(BTreeSet::new())
    }

    pub(super) fn add(&mut self, service: u32) {
        if let Self::Some(some) = self {
            some.insert(service);
        }
    }

    pub(super) fn is_nobody(&self) -> bool {
        *self == Self::nobody()
    }
}

/// Services by name, and by the addresses of their backends, leaving ones included.
#[derive(Debug, Default)]
pub(super) struct Users {
    by_name: HashMap<String, u32>,
    by_address: BTreeSet<(IpAddr, u32)>,
}

impl Users {
    pub(super) fn of(effective: &Effective, runtime: &Runtime) -> Self {
        let names = || (0..).zip(&effective.services).map(|(index, service)| (service.name.clone(), index));
        let addresses = (0..).zip(&effective.services).flat_map(|(index, service)| {
            addresses(service, runtime).map(move |address| (address, index)).collect::<Vec<_>>()
        });
        Self { by_name: names().collect(), by_address: addresses.collect() }
    }

    /// The service of a name.
    pub(super) fn named(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The services with a backend of an address.
    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = u32> + Clone {
        self.by_address.range((address, 0)..=(address, u32::MAX)).map(|(_, index)| *index)
    }

    /// Another state of a service, or other backends that leave it.
    pub(super) fn replace(
        &mut self,
        index: u32,
        (before, then): (&Service, &Runtime),
        (after, now): (&Service, &Runtime),
    ) {
        let stay: BTreeSet<IpAddr> = addresses(after, now).collect();
        for address in addresses(before, then).filter(|address| !stay.contains(address)) {
            self.by_address.remove(&(address, index));
        }
        self.by_address.extend(stay.into_iter().map(|address| (address, index)));
    }

    /// One more backend of a service.
    pub(super) fn add(&mut self, index: u32, address: IpAddr) {
        self.by_address.insert((address, index));
    }

    /// One backend less.
    pub(super) fn remove(&mut self, index: u32, address: IpAddr) {
        self.by_address.remove(&(address, index));
    }
}

fn addresses<'a>(service: &'a Service, runtime: &'a Runtime) -> impl Iterator<Item = IpAddr> + 'a {
    let leaving = runtime.services.get(&service.name).into_iter().flat_map(|changes| changes.leaving.keys());
    let leaving = leaving.filter_map(|key| parse_key(key)).map(|(address, _)| address);
    service.backends.iter().map(|backend| backend.address).chain(leaving)
}
