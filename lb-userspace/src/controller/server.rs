//! Changes of all backends of an address at once.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use super::{Controller, change::apply};
use crate::{
    api::model::{ApiError, BackendChange, Changed},
    config::model::{AdminState, Backend, Service},
};

impl Controller {
    /// Changes admin state or weight of every backend of an address, in all services or in none.
    ///
    /// # Errors
    ///
    /// 404 if no service has such a backend, 400 for a change that changes nothing, 409 if there is no drain to cancel.
    pub fn change_server(&mut self, address: IpAddr, wanted: &BackendChange) -> Result<Changed, ApiError> {
        let all = self.backends_at(address)?;
        let concerned: Vec<_> =
            all.iter().filter(|(_, backend)| !wanted.undrain || backend.admin_state == AdminState::Draining).collect();
        if concerned.is_empty() {
            return Err(ApiError::conflict(format!("no backend with address {address} is draining")));
        }
        let (mut runtime, now) = (self.reconciler.runtime.clone(), SystemTime::now());
        let mut lines = Vec::new();
        for (service, backend) in concerned {
            let what = apply(&mut runtime, service, backend, wanted, now)?;
            lines.push(format!("backend {} of service {} {what}", backend.name, service.name));
        }
        self.commit_all(runtime, lines.join("\n"))
    }

    /// The backends of an address, with their services.
    fn backends_at(&self, address: IpAddr) -> Result<Vec<(Arc<Service>, Backend)>, ApiError> {
        let services = self.effective().services.iter();
        let found: Vec<_> = services
            .flat_map(|service| {
                let backends = service.backends.iter().filter(move |backend| backend.address == address);
                backends.map(|backend| (Arc::clone(service), backend.clone()))
            })
            .collect();
        if found.is_empty() {
            return Err(ApiError::not_found(format!(
                "no service has a backend with address {address}; `evenkeel server list` shows those that there are"
            )));
        }
        Ok(found)
    }
}
