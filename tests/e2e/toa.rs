//! `full-nat` with `toa`: backends learn their clients from the wire.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    capture::{Capture, Segment},
    clients::Download,
    content::Content,
    daemon::{Daemon, Paths},
    namespace::Namespace,
    scenario::{Service, configuration, nginx_everywhere, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
    translation::Pool,
    wait::{PATIENCE, wait_until},
};

use crate::serving::LIMIT;

const KIND: u8 = 254;
const CONNECTIONS: usize = 30;
/// Bytes of a download.
const SIZE: usize = 16_000_000;

/// Opens connections one after another, with an answer on each; returns what they have for their own ends.
fn connect(client: &Namespace, server: SocketAddr) -> Result<BTreeSet<SocketAddr>> {
    let connect = || -> Result<SocketAddr> {
        let mut stream = TcpStream::connect_timeout(&server, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("b1"), "{answer}");
        Ok(stream.local_addr()?)
    };
    client.enter(|| (0..CONNECTIONS).map(|_| connect()).collect())?
}

/// Who the client is by the first option of the kind (RFC 9293, section 3.1).
fn told(options: &[u8]) -> Option<SocketAddr> {
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        rest = match (kind, tail) {
            (0, _) => return None,
            (1, _) => tail,
            (&KIND, [8, a, b, address @ ..]) => {
                let address: [u8; 4] = address.get(..4)?.try_into().ok()?;
                return Some(SocketAddr::new(address.into(), u16::from_be_bytes([*a, *b])));
            }
            (&KIND, [20, a, b, address @ ..]) => {
                let address: [u8; 16] = address.get(..16)?.try_into().ok()?;
                return Some(SocketAddr::new(address.into(), u16::from_be_bytes([*a, *b])));
            }
            (_, [length, ..]) => rest.get(usize::from(*length).max(2)..)?,
            _ => return None,
        };
    }
    None
}

/// The segments of each connection that came from the pool.
fn connections(segments: Vec<Segment>, pool: &Pool) -> BTreeMap<SocketAddr, Vec<Segment>> {
    let mut connections: BTreeMap<SocketAddr, Vec<Segment>> = BTreeMap::new();
    for segment in segments.into_iter().filter(|segment| pool.has(segment.source.ip())) {
        connections.entry(segment.source).or_default().push(segment);
    }
    connections
}

#[test]
fn a_backend_reads_its_clients_from_the_wire() -> Result<()> {
    let topology = Topology::two_nics(1)?;
    let content = Content::generate(3, SIZE);
    let _nginx = nginx_everywhere(&topology, &[80], Some(&content))?;
    let pool = Pool::add(&topology)?;
    let bpffs = Bpffs::mount()?;
    let vips = [("four", IpAddr::from(VIP4)), ("six", VIP6.into())];
    let with = |mode: &'static str| {
        // No probes: the kernel may take an address of the pool for their source.
        let services = vips.map(|(name, vip)| Service::tcp(name, vip, 80, &topology).options(&["probe: none", mode]));
        let (topology, pool) = (&topology, &pool);
        move |paths: &Paths| pool.put_into(&configuration(paths, topology, &services))
    };
    let mut daemon = Daemon::start(topology.balancer(), &bpffs, with("mode: full-nat"))?;
    let backend = topology.backends()[0].namespace();
    let run = |vip: IpAddr| -> Result<_> {
        let capture = Capture::start(backend, 80)?;
        let clients = connect(topology.client(), SocketAddr::new(vip, 80))?;
        Ok((clients, connections(capture.finish()?, &pool)))
    };
    for (name, vip) in vips {
        wait_for_takers(&daemon, name, &["b1"])?;
        let (clients, seen) = run(vip)?;
        assert_eq!((clients.len(), seen.len()), (CONNECTIONS, CONNECTIONS), "off: {seen:?}");
        assert!(seen.values().flatten().all(|segment| told(&segment.options).is_none()), "told unasked");
    }
    daemon.configure(with("mode: {type: full-nat, toa: 254}"))?;
    daemon.hangup()?;
    for (name, vip) in vips {
        wait_until(&format!("{name} tells"), PATIENCE, || {
            let status = daemon.cli(&["--json", "service", "show", name]);
            status.is_ok_and(|status| status["backends"][0]["toa"] == 254)
        })?;
        let (clients, seen) = run(vip)?;
        let mut believed = BTreeSet::new();
        for (source, segments) in &seen {
            let (syns, others): (Vec<_>, Vec<_>) = segments.iter().partition(|segment| segment.syn);
            ensure!(!syns.is_empty() && syns.iter().all(|syn| told(&syn.options).is_none()), "{source}: {segments:?}");
            let third = others.first().with_context(|| format!("{source}: {segments:?}"))?;
            believed.insert(told(&third.options).with_context(|| format!("{source}: {segments:?}"))?);
            // By then the backend has answered.
            let fin = others.iter().find(|segment| segment.fin).with_context(|| format!("{source}: {segments:?}"))?;
            assert_eq!(told(&fin.options), None, "{source}: {segments:?}");
        }
        assert_eq!(believed, clients, "what the backend read and what the clients say of themselves");
        let download = Download::start(topology.client(), SocketAddr::new(vip, 80), &content, None).finish()?;
        assert_eq!((download.received, &download.outcome), (SIZE as u64, &Ok(())), "{download:?}");
        println!("{vip}: {CONNECTIONS} of {CONNECTIONS} clients read from the third packet, 16 MB byte for byte");
    }
    let status = daemon.cli(&["--json", "status"])?;
    assert_eq!(status["node"]["counters"]["toa_omitted"], 0, "every packet had room");
    Ok(())
}
