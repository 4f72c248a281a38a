//! The ways from the node to backends: the forwarding modes.

use lb_common::abi::Mode;

use crate::{
    case::Expect,
    outer::Outer,
    translated::Translation,
    world::{Backend, Service},
};

/// How a service's backends are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With other MAC addresses alone.
    Link,
    /// In an outer header.
    Tunnel(Outer),
    /// With other addresses and ports.
    Translation(Translation),
}

impl Way {
    /// Those that change more than MAC addresses.
    pub(crate) fn others() -> Vec<Self> {
        let tunnels = [Mode::Ipip, Mode::Gue].into_iter().flat_map(Outer::all).map(Self::Tunnel);
        let translations = [Mode::Nat, Mode::FullNat].map(|mode| Self::Translation(Translation { mode, port: 0 }));
        tunnels.chain(translations).collect()
    }

    /// The forwarding mode.
    pub(crate) const fn mode(self) -> Mode {
        match self {
            Self::Link => Mode::DsrL2,
            Self::Tunnel(outer) => outer.mode,
            Self::Translation(translation) => translation.mode,
        }
    }

    /// A service whose backends are reached so.
    pub(crate) fn of(self, service: Service) -> Service {
        match self {
            Self::Link => service,
            Self::Tunnel(outer) => service.through(outer),
            Self::Translation(Translation { mode, port }) => service.translated(mode, port),
        }
    }

    /// What becomes of a packet that goes to a backend.
    pub(crate) const fn to(self, backend: Backend) -> Expect {
        match self {
            Self::Link => Expect::To(backend),
            Self::Tunnel(outer) => Expect::Wrapped(backend, outer),
            Self::Translation(translation) => Expect::Translated(backend, translation),
        }
    }
}
