//! QUIC with connection ids that name the server: a connection stays where it is while its client moves.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use evenkeel_tests::{
    bpffs::Bpffs,
    daemon::Daemon,
    namespace::Namespace,
    scenario::{Service, start, wait_for_takers},
    topology::{Topology, VIP4, VIP6},
};
use lb_common::quic::{
    Parameters,
    encode::{Encoder, LowBits},
};
use quinn::{
    ClientConfig, Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig,
    TokioRuntime, TransportConfig,
    rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer},
};

const PORT: u16 = 4433;
const HOST: &str = "quic.example";
const KEY: u128 = 0x8f95_f092_4576_5f80_2569_34e5_0c66_207f;

/// The connection ids of a server: as the configuration has them, with a counter for a nonce.
struct Ids {
    encoder: Encoder,
    parameters: Parameters,
    server_id: Vec<u8>,
    nonce: u64,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.nonce += 1;
        let length = usize::from(self.parameters.nonce_length);
        let mut nonce = vec![0; length];
        let number = self.nonce.to_be_bytes();
        let used = length.min(number.len());
        nonce[length - used..].copy_from_slice(&number[number.len() - used..]);
        let id = self.encoder.connection_id(&self.server_id, &nonce, LowBits::Length).expect("right lengths");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        1 + usize::from(self.parameters.server_id_length) + usize::from(self.parameters.nonce_length)
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Whom clients trust, and what servers show.
struct Certificate {
    roots: Arc<RootCertStore>,
    server: ServerConfig,
}

impl Certificate {
    fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        Ok(Self { roots: Arc::new(roots), server: ServerConfig::with_single_cert(vec![certificate], key.into())? })
    }

    /// A client's configuration; a connection without a word from the other side for as long is over.
    fn client(&self, idle: Duration) -> Result<ClientConfig> {
        let mut config = ClientConfig::with_root_certificates(Arc::clone(&self.roots))?;
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(Some(idle.try_into()?));
        config.transport_config(Arc::new(transport));
        Ok(config)
    }
}

fn socket(namespace: &Namespace, address: SocketAddr) -> Result<UdpSocket> {
    namespace.enter(|| UdpSocket::bind(address))?.with_context(|| format!("cannot bind {address}"))
}

/// A server that answers every stream with its name.
fn serve(
    socket: UdpSocket,
    certificate: &Certificate,
    name: &str,
    parameters: Parameters,
    server_id: Vec<u8>,
) -> Result<Endpoint> {
    let mut config = EndpointConfig::default();
    let encoder = Encoder::new(&parameters)?;
    config.cid_generator(move || {
        let (encoder, server_id) = (encoder.clone(), server_id.clone());
        Box::new(Ids { encoder, parameters, server_id, nonce: 0 })
    });
    let endpoint = Endpoint::new(config, Some(certificate.server.clone()), socket, Arc::new(TokioRuntime))?;
    let (incoming, name) = (endpoint.clone(), name.to_owned());
    tokio::spawn(async move {
        while let Some(connecting) = incoming.accept().await {
            let name = name.clone();
            tokio::spawn(async move {
                let Ok(connection) = connecting.await else { return };
                // Until the client leaves.
                while let Ok((mut answer, mut question)) = connection.accept_bi().await {
                    let answered = async {
                        question.read_to_end(64).await?;
                        answer.write_all(name.as_bytes()).await?;
                        answer.finish()?;
                        anyhow::Ok(())
                    };
                    if answered.await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(endpoint)
}

/// Asks the server of a connection for its name.
async fn ask(connection: &Connection) -> Result<String> {
    let (mut question, mut answer) = connection.open_bi().await?;
    question.write_all(b"who?").await?;
    question.finish()?;
    Ok(String::from_utf8(answer.read_to_end(64).await?)?)
}

/// The server id that the daemon gives a backend.
fn server_id(daemon: &Daemon<'_>, backend: &str) -> Result<Vec<u8>> {
    let servers = daemon.cli(&["--json", "quic-id", "servers", "h3"])?;
    let found = servers.as_array().context("a list")?.iter().find(|server| server["backend"] == backend);
    let hex = found.and_then(|server| server["server_id"].as_str()).context("a server id")?;
    Ok(hex.parse::<evenkeel::quic::Hex>()?.0)
}

fn unrouted(daemon: &Daemon<'_>) -> Result<u64> {
    daemon.cli(&["--json", "status"])?["node"]["counters"]["quic_unrouted"].as_u64().context("quic_unrouted")
}

/// Sets servers up, connects, lets the connection's backend take nothing new, and moves the client: first its port, then its address.
async fn moves(topology: &Topology, vip: IpAddr, parameters: Parameters, with_quic: bool) -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let Parameters { id, server_id_length, nonce_length, .. } = parameters;
    let key = if parameters.key.is_some() { format!(", key: \"{KEY:032x}\"") } else { String::new() };
    let configuration =
        format!("{{id: {id}, server_id_length: {server_id_length}, nonce_length: {nonce_length}{key}}}");
    let mut service = Service::udp("h3", vip, PORT, topology);
    if with_quic {
        service = service.option(&format!("quic: {{configurations: [{configuration}]}}"));
    }
    let daemon = start(topology, &bpffs, &[service])?;
    wait_for_takers(&daemon, "h3", &["b1", "b2"])?;
    let certificate = Certificate::new()?;
    let server = SocketAddr::new(vip, PORT);
    let mut servers = Vec::new();
    for (number, backend) in (1..).zip(topology.backends()) {
        let own = vec![number; usize::from(server_id_length)];
        let server_id = if with_quic { server_id(&daemon, backend.name())? } else { own };
        let socket = socket(backend.namespace(), server)?;
        servers.push(serve(socket, &certificate, backend.name(), parameters, server_id)?);
    }
    let here = topology.client_addresses().like(vip);
    let there: IpAddr = if vip.is_ipv4() { "10.0.0.77".parse()? } else { "2001:db8:1::77".parse()? };
    let prefix = if vip.is_ipv4() { 24 } else { 64 };
    let nodad = if vip.is_ipv4() { "" } else { " nodad" };
    topology.client().ip(&[format!("address add {there}/{prefix} dev eth0{nodad}")])?;
    let bound = |address: IpAddr| socket(topology.client(), SocketAddr::new(address, 0));

    let client = Endpoint::new(EndpointConfig::default(), None, bound(here)?, Arc::new(TokioRuntime))?;
    // Only where it is over for good does anybody wait so long.
    let idle = Duration::from_secs(if with_quic { 60 } else { 2 });
    let connection = client.connect_with(certificate.client(idle)?, server, HOST)?.await?;
    let home = ask(&connection).await?;
    daemon.cli_text(&["backend", "drain", "h3", &home])?;

    let before = client.local_addr()?;
    client.rebind(bound(here)?)?;
    ensure!(client.local_addr()? != before, "the port is another");
    if !with_quic {
        let lost = ask(&connection).await;
        ensure!(lost.is_err(), "the connection to {home} went on at another port, answered by {lost:?}");
        println!("{vip} without quic: a connection to {home} was lost when its client had another port");
        return Ok(());
    }
    assert_eq!(ask(&connection).await?, home, "at another port");
    client.rebind(bound(there)?)?;
    ensure!(client.local_addr()?.ip() == there, "the address is another");
    assert_eq!(ask(&connection).await?, home, "at another address");
    client.rebind(bound(here)?)?;
    assert_eq!(ask(&connection).await?, home, "at home again");
    // Others go elsewhere meanwhile, so it was not the hash.
    let beside = Endpoint::new(EndpointConfig::default(), None, bound(here)?, Arc::new(TokioRuntime))?;
    let new = beside.connect_with(certificate.client(idle)?, server, HOST)?.await?;
    let other = ask(&new).await?;
    assert_ne!(other, home, "a new connection");
    assert_eq!(ask(&connection).await?, home, "beside a new connection");
    assert_eq!(unrouted(&daemon)?, 0, "every connection id named a backend");
    println!(
        "{vip} {}: a connection stayed at {home} at three more ports and another address, while new ones went to {other}",
        parameters.mode_name()
    );
    Ok(())
}

fn run(topology: &Topology, vip: IpAddr, parameters: Parameters, with_quic: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(moves(topology, vip, parameters, with_quic))
}

const PLAIN: Parameters = Parameters { id: 0, server_id_length: 4, nonce_length: 6, key: None };
const SINGLE: Parameters = Parameters { id: 1, server_id_length: 4, nonce_length: 12, key: Some(KEY.to_be_bytes()) };
const FOUR: Parameters = Parameters { id: 6, server_id_length: 4, nonce_length: 8, key: Some(KEY.to_be_bytes()) };

#[test]
fn a_connection_survives_in_plain_text() -> Result<()> {
    run(&Topology::one_nic(2)?, VIP4.into(), PLAIN, true)
}

#[test]
fn a_connection_survives_with_a_single_pass_and_two_nics() -> Result<()> {
    run(&Topology::two_nics(2)?, VIP4.into(), SINGLE, true)
}

#[test]
fn a_connection_survives_with_four_passes_over_ipv6() -> Result<()> {
    run(&Topology::one_nic(2)?, VIP6.into(), FOUR, true)
}

#[test]
fn without_quic_it_does_not() -> Result<()> {
    run(&Topology::one_nic(2)?, VIP4.into(), SINGLE, false)
}
