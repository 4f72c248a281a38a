//! The prober against real listeners on loopback.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};

use super::{HealthView, Prober, Target, TargetHealth, check};
use crate::{
    config::model::{Initial, Probe, ProbeKind},
    health::{Outcome, Status},
};

fn target(address: SocketAddr) -> Target {
    Target::tcp(address.ip(), address.port())
}

fn probe() -> Probe {
    Probe {
        kind: ProbeKind::Tcp,
        interval: Duration::from_millis(100),
        fast_interval: Duration::from_millis(100),
        timeout: Duration::from_millis(100),
        rise: 2,
        fall: 2,
        port: None,
        source: None,
        initial: Initial::Down,
        damping: None,
        via: Default::default(),
    }
}

/// Binds without listening: the port is ours, beside others of the kind, and connections are refused.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn until(view: &mut watch::Receiver<HealthView>, target: &Target, status: Status) -> TargetHealth {
    let view = view.wait_for(|view| view.get(target).is_some_and(|health| health.status == status)).await.unwrap();
    TargetHealth::clone(&view[target])
}

#[tokio::test]
async fn follows_a_listener_that_closes_and_comes_back() {
    let listener = bound((Ipv4Addr::LOCALHOST, 0).into()).listen(128).unwrap();
    let address = listener.local_addr().unwrap();
    // Holds the port while nothing listens.
    let silent = bound(address);
    let prober = Prober::start();
    let mut view = prober.subscribe();
    prober.set_targets([(target(address), probe())].into());
    let up = until(&mut view, &target(address), Status::Up).await;
    assert!(up.eligible && up.last.unwrap().latency().is_some());

    drop(listener);
    let down = until(&mut view, &target(address), Status::Down).await;
    assert_eq!(down.reason, "2 failures in a row: connection refused");

    let _listener = silent.listen(128).unwrap();
    until(&mut view, &target(address), Status::Up).await;
}

#[tokio::test]
async fn a_target_is_probed_once_however_often_it_is_set() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let prober = Prober::start();
    // What several services that share a backend come to: the same key, set again and again.
    let slow = Probe { interval: Duration::from_secs(3600), rise: 1, ..probe() };
    let shared: BTreeMap<_, _> = (0..5).map(|_| (target(address), slow.clone())).collect();
    prober.set_targets(shared.clone());
    let mut view = prober.subscribe();
    until(&mut view, &target(address), Status::Up).await;
    for _ in 0..5 {
        prober.set_targets(shared.clone());
        tokio::task::yield_now().await;
    }
    drop(prober);
    while view.changed().await.is_ok() {}

    // Every connection is in the accept queue by now; ours goes behind them.
    let marker = TcpStream::connect(address).unwrap();
    let mut accepted = 0;
    while listener.accept().await.unwrap().1 != marker.local_addr().unwrap() {
        accepted += 1;
    }
    assert_eq!(accepted, 1);
}

/// Real sockets, a thousand of which hang for as long as the test lasts.
#[tokio::test]
async fn a_thousand_that_hang_hold_up_nobody() {
    crate::open_files::raise().unwrap();
    let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    hole.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).unwrap();
    hole.listen(0).unwrap();
    let port = hole.local_addr().unwrap().as_socket().unwrap().port();
    let mut queue = Vec::new();
    while let Ok(connection) =
        TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_millis(100))
    {
        queue.push(connection);
    }
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let quick = listener.local_addr().unwrap().port();
    // They end with the test's process.
    std::thread::spawn(move || listener.incoming().for_each(drop));

    let long = Duration::from_secs(3600);
    let hanging = Probe { interval: long, fast_interval: long, timeout: long, ..probe() };
    let address = |number: u32| -> Ipv4Addr { (u32::from(Ipv4Addr::new(127, 2, 0, 1)) + number).into() };
    let targets = (0..1000).map(|number| (target(SocketAddr::new(IpAddr::V4(address(number)), port)), hanging.clone()));
    let others: Vec<Target> =
        (0..20).map(|number| target(SocketAddr::new(IpAddr::V4(address(number)), quick))).collect();
    let prober = Prober::start();
    let mut view = prober.subscribe();
    prober.set_targets(targets.chain(others.iter().map(|target| (target.clone(), probe()))).collect());
    let passed = |view: &HealthView, target: &Target| view.get(target).map_or(0, |health| health.progress.successes);
    let all = view.wait_for(|view| others.iter().all(|target| passed(view, target) >= 5));
    let view = tokio::time::timeout(Duration::from_secs(60), all).await.expect("nobody waits").unwrap();
    assert_eq!(view.values().filter(|health| health.last.is_some()).count(), others.len(), "the others hang");
}

#[tokio::test]
async fn a_probe_ends_with_a_reset() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let target = target(listener.local_addr().unwrap());
    let outcome = check::outcome(&check::Network::default(), &target, Duration::from_secs(30)).await;
    assert!(matches!(outcome, Outcome::Success(_)), "{outcome:?}");
    let (connection, _) = listener.accept().await.unwrap();
    connection.readable().await.unwrap();
    let error = connection.try_read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
}

#[tokio::test]
async fn a_server_that_no_longer_accepts_times_out() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(connection) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queue.push(connection);
    }
    let outcome = check::outcome(&check::Network::default(), &target(address), Duration::from_millis(100)).await;
    assert_eq!(outcome, Outcome::Failure("timed out after 100 ms".into()));
}
