//! Which groups of a service's backends take its new flows, as `status` tells it.

use std::time::SystemTime;

use super::Controller;
use crate::{
    api::model::GroupStatus,
    config::model::Service,
    plan::takers::{Because, Group, Takers, WHOLE, takers},
};

impl Controller {
    /// The groups of a service, and why it is not the first alone that takes flows.
    pub(super) fn group_status(&self, service: &Service) -> (Vec<GroupStatus>, Option<String>) {
        let reconciler = &self.reconciler;
        let inputs = reconciler.inputs(service, reconciler.runtime.services.get(&service.name), SystemTime::now());
        let takers = takers(service, &inputs);
        (takers.groups.iter().map(status).collect(), note(service, &takers))
    }
}

fn status(group: &Group) -> GroupStatus {
    let &Group { priority, backends, able, weight, able_weight, share, .. } = group;
    let share_percent = (1000.0 * f64::from(share) / f64::from(WHOLE)).round() / 10.0;
    GroupStatus { priority, share_percent, backends, able, weight, able_weight }
}

fn note(service: &Service, takers: &Takers) -> Option<String> {
    let first = takers.groups.first()?;
    match takers.because {
        Because::Able if first.share == WHOLE => None,
        Because::Able => {
            let name = first.priority.unwrap_or(0);
            Some(match service.overflow_threshold {
                0 => format!("nobody of priority {name} can take flows: the next one does"),
                threshold => format!("less than {threshold}% of priority {name} is able: later ones take the rest"),
            })
        }
        Because::Backups if takers.groups.len() == 1 => None,
        Because::Backups => Some("no other backend is able: the backups take all flows".to_owned()),
        Because::FailOpen => Some("no backend is able: fail-open, so flows go to those that are down".to_owned()),
        Because::SorryBackups => Some("no backend is able: the backups take all flows, up or down".to_owned()),
        Because::Nobody => Some(format!("no backend is able: on_no_backend is {}", service.on_no_backend.name())),
    }
}
