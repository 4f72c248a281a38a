//! Answers to what the API asks.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Instant, SystemTime},
};

use anyhow::Result;
use lb_common::{
    abi::{DestinationCounters, NodeCounters, Pick, Word32},
    flow::FlowWord,
    schedule::least,
    verdict::{DropReason, PassReason, Verdict},
    wire::{ip, tcp},
};

use super::{Controller, inputs, limits, precedence};
use crate::{
    api::model::{
        AffinityStatus, ApiError, BackendStatus, DrainStatus, ExplainRequest, Explanation, FlowStatus, Flows,
        HealthTransition, InterfaceStatus, LastProbe, LimitStatus, NextHopStatus, NodeStatus, NodeTotals,
        QuicServerStatus, QuorumStatus, RegistrationStatus, ServiceStatus, Status,
    },
    config::model::{Backend, Protocol, SchedulerKind, Service},
    dataplane::{
        explain::{self, Answer, Question},
        scan::{self, FlowCounts, Scan},
    },
    health,
    neighbour::Resolution,
    plan::desired::{BackendKey, ServiceKey, backend_key},
    quic::{self, Hex},
    state::{DrainRecord, runtime::parse_key},
};

impl Controller {
    /// The state of everything.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell counters or the time.
    pub fn status(&self) -> Result<Status> {
        let scan = self.scan()?;
        let services = self.effective().services.iter().map(|service| self.service_status(service, &scan));
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            config_file: self.config_file.display().to_string(),
            config_version: self.version(),
            left_out: self.left_out.clone(),
            verify: self.verified.clone(),
            reload_error: self.reload_error.clone(),
            node: self.node_status(&scan)?,
            services: services.collect::<Result<_>>()?,
        })
    }

    fn node_status(&self, scan: &Scan) -> Result<NodeStatus> {
        let interface = |attached: &crate::dataplane::kernel::Attached| InterfaceStatus {
            name: attached.interface.clone(),
            ifindex: attached.ifindex,
            mode: attached.mode.name().to_owned(),
        };
        Ok(NodeStatus {
            interfaces: self.attached.iter().map(interface).collect(),
            flow_entries: u64::from(self.config.node.flow_entries),
            flow_entries_used: scan.used,
            features: self.plane.constants().features.names().map(str::to_owned).collect(),
            counters: totals(&self.plane.node_counters()?),
        })
    }

    fn service_status(&self, service: &Service, scan: &Scan) -> Result<ServiceStatus> {
        let slots = self.slots_of(service);
        let mut backends = Vec::new();
        for (backend, quic) in service.backends.iter().zip(self.server_ids(service)?) {
            backends.push(BackendStatus { quic, ..self.backend_status(service, backend, &slots, scan)? });
        }
        let changes = self.reconciler.runtime.services.get(&service.name);
        for (key, leaving) in changes.into_iter().flat_map(|changes| &changes.leaving) {
            let Some(key) = parse_key(key) else { continue };
            let backend = inputs::leaving_backend(key, leaving);
            let status = self.backend_status(service, &backend, &slots, scan)?;
            let flows = status.active_flows + status.closing_flows;
            let drain = Some(drain_status(service, &leaving.drain, flows));
            backends.push(BackendStatus { leaving: true, drain, ..status });
        }
        let (groups, groups_note) = self.group_status(service);
        let place = self.origins.service(&service.name);
        Ok(ServiceStatus {
            name: service.name.clone(),
            origin: if place.is_some() { "file" } else { "runtime" }.to_owned(),
            place,
            vip: service.vip_text(),
            port: service.ports.to_string(),
            protocol: service.protocol.to_string(),
            mode: service.mode.name().to_owned(),
            scheduler: service.scheduler.kind.name().to_owned(),
            by_score: service.scheduler.kind.pick().is_by_score(),
            scheduler_note: scheduler_note(service.scheduler.kind, slots.values().sum()),
            affinity: service.affinity.map(|affinity| AffinityStatus {
                r#type: "client-ip".to_owned(),
                prefix: affinity.prefix_for(service.vip.addr()),
                timeout_ms: affinity.timeout.as_millis() as u64,
            }),
            slots: slots.values().sum(),
            quorum: self.quorum_status(service),
            on_no_backend: service.on_no_backend.name().to_owned(),
            overflow_threshold: service.overflow_threshold,
            groups,
            groups_note,
            on_backend_down: service.on_backend_down.name().to_owned(),
            drain_timeout_ms: service.drain_timeout.as_millis() as u64,
            on_drain_timeout: service.on_drain_timeout.name().to_owned(),
            limits: self.limit_status(service)?,
            active_flows: backends.iter().map(|backend| backend.active_flows).sum(),
            packets: backends.iter().map(|backend| backend.packets).sum(),
            bytes: backends.iter().map(|backend| backend.bytes).sum(),
            backends,
        })
    }

    fn quorum_status(&self, service: &Service) -> Option<QuorumStatus> {
        let (quorum, watched) = (service.quorum.as_ref()?, self.reconciler.watch.of(&service.name)?);
        Some(QuorumStatus {
            state: watched.standing.name().to_owned(),
            since: watched.since?,
            able: watched.count.able,
            backends: watched.count.all,
            able_weight: watched.count.able_weight,
            weight: watched.count.weight,
            up: quorum.up.to_string(),
            down: quorum.down.to_string(),
        })
    }

    /// Limits of a service's new flows, and what they refused.
    fn limit_status(&self, service: &Service) -> Result<LimitStatus> {
        let Some(known) = self.reconciler.actual.services.get(&ServiceKey::of(service)) else {
            return Ok(LimitStatus::default());
        };
        let counters = self.plane.limit_counters(known.index..known.index + 1)?;
        let refused = counters.iter().flat_map(limits::refused).filter(|(_, count)| *count > 0);
        Ok(limits::status(
            &service.limits,
            known.limits,
            refused.map(|(name, count)| (name.to_owned(), count)).collect(),
        ))
    }

    /// What the servers of a service have to use in QUIC connection ids, by backend.
    fn server_ids(&self, service: &Service) -> Result<Vec<Vec<QuicServerStatus>>> {
        let secret = quic::secret(&self.plane.constants().hash_key);
        let mut found = vec![Vec::new(); service.backends.len()];
        for parameters in &service.quic {
            let length = parameters.server_id_length;
            for (found, id) in found.iter_mut().zip(quic::server_ids(&secret, &service.backends, length)?) {
                found.push(QuicServerStatus {
                    config_id: parameters.id,
                    mode: parameters.mode_name().to_owned(),
                    server_id: Hex(id.octets()[..usize::from(length)].to_vec()).to_string(),
                    nonce_length: parameters.nonce_length,
                });
            }
        }
        Ok(found)
    }

    /// Slots of a service's table by destination.
    fn slots_of(&self, service: &Service) -> BTreeMap<u32, u32> {
        let mut slots = BTreeMap::new();
        if let Some(known) = self.reconciler.actual.services.get(&ServiceKey::of(service)) {
            let range = known.slots.offset as usize..(known.slots.offset + known.slots.size) as usize;
            for id in self.plane.tables().slots[range].iter().map(Word32::load) {
                *slots.entry(id).or_default() += 1;
            }
        }
        slots
    }

    fn backend_status(
        &self,
        service: &Service,
        backend: &Backend,
        slots: &BTreeMap<u32, u32>,
        scan: &Scan,
    ) -> Result<BackendStatus> {
        let key = backend_key(backend);
        let id = self.destination(service, key);
        let state =
            id.and_then(|id| self.reconciler.actual.destinations.get(&id)).map(|found| found.state).unwrap_or_default();
        let flows: FlowCounts = id.map(|id| scan.of(id)).unwrap_or_default();
        let counters = match id {
            Some(id) => self.plane.destination_counters(id)?,
            None => DestinationCounters::default(),
        };
        let forwarded = counters.forwarded();
        let change = self.reconciler.runtime.backend(&service.name, key);
        let health = inputs::target(service, backend).map(|(target, _)| self.reconciler.health.get(&target));
        let known = health.flatten();
        let place = self.origins.backend(&service.name, backend.address);
        Ok(BackendStatus {
            name: backend.name.clone(),
            address: backend.address,
            port: backend.port,
            mode: backend.mode.unwrap_or(service.mode).name().to_owned(),
            toa: backend.mode.unwrap_or(service.mode).toa(),
            weight: backend.weight,
            max_connections: backend.max_connections.unwrap_or(service.max_connections),
            priority: backend.priority,
            backup: backend.backup,
            admin_state: backend.admin_state,
            health: match (health, known) {
                (None, _) => "unprobed".to_owned(),
                (Some(_), None) => "unknown".to_owned(),
                (Some(_), Some(health)) => health.status.to_string(),
            },
            health_since: known.map(|health| health.since),
            health_reason: known.map(|health| health.reason.clone()),
            held_until: known.and_then(|health| health.held_until),
            last_probe: known.and_then(|health| {
                let last = health.last.as_ref()?;
                Some(LastProbe {
                    target: health.target.to_string(),
                    at: last.at,
                    latency_us: last.latency().map(|latency| latency.as_micros() as u64),
                    error: last.error().map(str::to_owned),
                })
            }),
            health_history: known.into_iter().flat_map(|health| &*health.history).map(transition).collect(),
            weight_percent: known.and_then(|health| health.advice.weight_percent),
            passive: self.passive_status(service, key),
            slow_start_percent: self.reconciler.slow_start_percent(&ServiceKey::of(service), &key),
            wants: known.and_then(|health| health.advice.wants).map(|wants| wants.name().to_owned()),
            takes_flows: state.takes_flows,
            keeps_flows: state.keeps_flows,
            slots: id.and_then(|id| slots.get(&id)).copied().unwrap_or(0),
            next_hop: self.next_hop_status(backend.address),
            active_flows: flows.active,
            closing_flows: flows.closing,
            flows_new: counters.flows_new.get(),
            flows_closed: counters.flows_closed.get(),
            packets: forwarded.packets.get(),
            bytes: forwarded.bytes.get(),
            drain: change.and_then(|change| change.drain).map(|drain| drain_status(service, &drain, flows.all())),
            leaving: false,
            origin: if change.is_some_and(|change| change.added.is_some()) || place.is_none() {
                "runtime"
            } else {
                "file"
            }
            .to_owned(),
            place,
            registration: self.registration(&service.name, key),
            runtime_changes: change
                .into_iter()
                .flat_map(|change| [change.weight.map(|_| "weight"), change.admin_state.map(|_| "admin_state")])
                .flatten()
                .map(str::to_owned)
                .collect(),
            quic: Vec::new(),
        })
    }

    fn registration(&self, service: &str, key: BackendKey) -> Option<RegistrationStatus> {
        let ttl = self.reconciler.runtime.backend(service, key)?.added.as_ref()?.ttl?;
        let remaining = self.registrations.remaining(service, key, Instant::now()).unwrap_or(ttl);
        Some(RegistrationStatus { ttl_ms: ttl.as_millis() as u64, remaining_ms: remaining.as_millis() as u64 })
    }

    fn next_hop_status(&self, address: IpAddr) -> NextHopStatus {
        let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        match (self.reconciler.next_hops.get(&address).map(|hop| &**hop), self.reconciler.last_known.get(&address)) {
            (Some(Resolution::Resolved(hop)), _) => NextHopStatus {
                resolved: true,
                interface: Some(hop.ifname.clone()),
                vlan: hop.vlan,
                mac: Some(text(hop.mac)),
                gateway: hop.gateway,
                reason: None,
                since: None,
                drops: None,
            },
            (other, last) => NextHopStatus {
                resolved: last.is_some(),
                interface: None,
                vlan: None,
                mac: last.map(|(_, mac)| text(*mac)),
                gateway: None,
                reason: match other {
                    Some(Resolution::Unresolved(reason)) => Some(reason.clone()),
                    _ => Some("not asked yet".to_owned()),
                },
                since: self.reconciler.missing.get(&address).map(|missing| missing.since),
                drops: last.is_none().then(|| DropReason::Neighbour.name().to_owned()),
            },
        }
    }

    /// Live flows, of a service or a backend of it.
    ///
    /// # Errors
    ///
    /// 404 for what does not exist, 500 if the clock cannot be read.
    pub fn flows(&self, service: Option<&str>, backend: Option<&str>, limit: usize) -> Result<Flows, ApiError> {
        let service = service.map(|name| self.service(name)).transpose()?;
        let names = self.destination_names();
        if let Some(backend) = backend
            && !names.values().any(|(_, name, key)| matches_backend(backend, name, *key))
        {
            return Err(ApiError::not_found(format!("no backend {backend:?}")));
        }
        let now = self.plane.now().map_err(|error| ApiError::internal(format!("{error:#}")))?;
        let mut found = Flows { total: 0, flows: Vec::new() };
        for flow in scan::live(self.plane.tables(), now) {
            let Some((of_service, name, key)) = names.get(&flow.destination) else { continue };
            let wanted = service.is_none_or(|service| service.name == *of_service)
                && backend.is_none_or(|backend| matches_backend(backend, name, *key));
            if !wanted {
                continue;
            }
            found.total += 1;
            if found.flows.len() < limit {
                found.flows.push(FlowStatus {
                    service: of_service.clone(),
                    backend: name.clone(),
                    state: flow.state.name().to_owned(),
                    idle_ms: self.plane.clock().time(flow.idle).as_millis() as u64,
                });
            }
        }
        Ok(found)
    }

    /// Service, name and key of every destination.
    fn destination_names(&self) -> BTreeMap<u32, (String, String, BackendKey)> {
        let mut names = BTreeMap::new();
        for service in &self.effective().services {
            let Some(known) = self.reconciler.actual.services.get(&ServiceKey::of(service)) else { continue };
            let leaving = self.reconciler.runtime.services.get(&service.name).map(|changes| &changes.leaving);
            for (key, id) in &known.backends {
                let configured = service.backends.iter().find(|backend| backend_key(backend) == *key);
                let name = configured.map(|backend| backend.name.clone()).or_else(|| {
                    leaving?.iter().find(|(text, _)| parse_key(text) == Some(*key)).map(|(_, l)| l.name.clone())
                });
                let name = name.unwrap_or_else(|| key.0.to_string());
                names.insert(*id, (service.name.clone(), name, *key));
            }
        }
        names
    }

    /// What would happen to a packet.
    ///
    /// # Errors
    ///
    /// 400 if its addresses are of different families.
    pub fn explain(&self, request: &ExplainRequest) -> Result<Explanation, ApiError> {
        let question = Question {
            protocol: match request.protocol {
                Protocol::Tcp => ip::Protocol::Tcp,
                Protocol::Udp => ip::Protocol::Udp,
                Protocol::Any => {
                    return Err(ApiError::bad_request("a packet is of tcp or of udp; ask for one of them"));
                }
            },
            source: request.source,
            destination: request.destination,
            tcp_flags: if request.syn { tcp::SYN } else { tcp::ACK },
        };
        let now = self.plane.now().map_err(|error| ApiError::internal(format!("{error:#}")))?;
        // On a node with one interface packets come from there; else it is not known which way the verdict goes.
        let ingress = match self.attached.as_slice() {
            [only] => Some(only.ifindex),
            _ => None,
        };
        let answer =
            explain::explain(self.plane.tables(), self.plane.constants(), now, ingress.unwrap_or(0), &question)
                .map_err(|error| ApiError::bad_request(format!("{error:#}")))?;
        let names = self.destination_names();
        let name = |id: u32| names.get(&id).map(|(_, name, _)| name.clone());
        let (verdict, reason, help) = describe(&answer, ingress.is_some());
        let service = answer.service.and_then(|index| {
            let (key, _) = self.reconciler.actual.services.iter().find(|(_, service)| service.index == index)?;
            self.effective().services.iter().find(|service| ServiceKey::of(service) == *key)
        });
        Ok(Explanation {
            verdict: verdict.to_owned(),
            reason: reason.map(str::to_owned),
            help: help.map(str::to_owned),
            service: service.map(|service| service.name.clone()),
            beats: service
                .map(|service| precedence::beaten(service, &self.effective().services, &question))
                .unwrap_or_default(),
            slot: answer.slot.map(|(slot, _)| slot),
            chosen_anew: answer.chosen_anew,
            forgotten: answer.forgotten,
            slot_backend: answer.slot.and_then(|(_, id)| name(id)),
            flow: answer.flow.and_then(|word| self.flow_status(word, now, &names)),
            backend: answer.destination.and_then(name),
            next_hop: answer
                .destination
                .and_then(|id| names.get(&id))
                .map(|(_, _, (address, _))| self.next_hop_status(*address)),
        })
    }

    fn flow_status(
        &self,
        word: FlowWord,
        now: u32,
        names: &BTreeMap<u32, (String, String, BackendKey)>,
    ) -> Option<FlowStatus> {
        let (service, backend, _) = names.get(&word.destination())?;
        Some(FlowStatus {
            service: service.clone(),
            backend: backend.clone(),
            state: word.state()?.name().to_owned(),
            idle_ms: self.plane.clock().time(word.idle(now)).as_millis() as u64,
        })
    }
}

fn matches_backend(wanted: &str, name: &str, key: BackendKey) -> bool {
    wanted == name
        || wanted == crate::state::runtime::key_text(key)
        || wanted.parse::<IpAddr>().is_ok_and(|address| address == key.0)
}

fn transition(change: &health::Transition) -> HealthTransition {
    HealthTransition { at: change.at, health: change.status.to_string(), reason: change.reason.clone() }
}

/// Where a scheduler does otherwise than its name says.
fn scheduler_note(kind: SchedulerKind, backends: u32) -> Option<String> {
    (kind.pick() == Pick::Least && backends > least::MOST).then(|| {
        format!("{backends} backends take flows: of more than {} the better of two at random is taken", least::MOST)
    })
}

fn drain_status(service: &Service, record: &DrainRecord, flows: u64) -> DrainStatus {
    DrainStatus {
        since: record.since,
        deadline: record.deadline,
        flows_left: flows,
        empty: flows == 0,
        overdue: record.is_overdue(SystemTime::now()),
        then: record.then(service).name().to_owned(),
        ended: record.ended,
    }
}

fn describe(answer: &Answer, known_ingress: bool) -> (&'static str, Option<&'static str>, Option<&'static str>) {
    match answer.verdict {
        _ if answer.reset => ("reset", Some("backend-leaves"), Some("the backend of the flow lets its flows go")),
        _ if answer.refused => {
            let reason = answer.limit.unwrap_or(DropReason::NoBackend);
            ("reject", Some(reason.name()), Some(reason.help()))
        }
        Verdict::Transmit | Verdict::Redirect(_) | Verdict::Return(_) if !known_ingress => ("forward", None, None),
        Verdict::Transmit => ("transmit", None, None),
        Verdict::Redirect(_) | Verdict::Return(_) => ("redirect", None, None),
        Verdict::Pass(reason) => ("pass", Some(reason.name()), Some(reason.help())),
        Verdict::Drop(reason) => ("drop", Some(reason.name()), Some(reason.help())),
    }
}

fn totals(counters: &NodeCounters) -> NodeTotals {
    let passed = |reason: &PassReason| (reason.name().to_owned(), counters.passed(*reason).get());
    let dropped = |reason: &DropReason| (reason.name().to_owned(), counters.dropped(*reason).get());
    NodeTotals {
        received: counters.received().packets.get(),
        received_bytes: counters.received().bytes.get(),
        transmitted: counters.transmitted.packets.get(),
        redirected: counters.redirected.packets.get(),
        replies: counters.replies.get(),
        passed: PassReason::ALL.iter().map(passed).collect(),
        dropped: DropReason::ALL.iter().map(dropped).collect(),
        flows_created: counters.flows_created.get(),
        flows_evicted: counters.flows_evicted.get(),
        flows_displaced: counters.flows_displaced.get(),
        flows_untracked: counters.flows_untracked.get(),
        flows_forgotten: counters.flows_forgotten.get(),
        nat_replies: counters.nat_replies.get(),
        quic_unrouted: counters.quic_unrouted.get(),
        toa_omitted: counters.toa_omitted.get(),
    }
}
