//! What holds for all kinds: where a probe comes from, and that equal ones are one.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::{LONG, Outcome, ProbeKind, Target, check, http, read_head, serve, target};
use crate::{
    config::model::{Http, Initial, Probe},
    health::Status,
    probe::Prober,
};

#[tokio::test]
async fn a_probe_comes_from_its_source() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let source: IpAddr = "127.0.0.9".parse().unwrap();
    let from = Target { source: Some(source), ..target(listener.local_addr().unwrap(), ProbeKind::Tcp) };
    let network = check::Network::default();
    let (outcome, accepted) = tokio::join!(check::outcome(&network, &from, LONG), listener.accept());
    assert!(matches!(outcome, Outcome::Success(_)), "{outcome:?}");
    assert_eq!(accepted.unwrap().1.ip(), source);
    // One that this node does not have says nothing about the target.
    let foreign = Target { source: Some("192.0.2.77".parse().unwrap()), ..from };
    let expected = Outcome::Inconclusive("cannot probe: cannot assign requested address".into());
    assert_eq!(check::outcome(&check::Network::default(), &foreign, LONG).await, expected);
}

#[tokio::test]
async fn equal_options_are_one_target_and_others_another() {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&paths);
    let address = serve(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let head = read_head(&mut stream).await;
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let status = if path == "/bad" { "503 Full" } else { "200 OK" };
            seen.lock().unwrap().push(path);
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await;
        }
    })
    .await;
    // Each has options of its own, as if from services of their own.
    let of = |path: &str| target(address, ProbeKind::Http(Arc::new(Http { path: path.into(), ..http::options() })));
    let probe = |target: &Target| Probe {
        kind: target.kind.clone(),
        interval: Duration::from_secs(3600),
        fast_interval: Duration::from_secs(3600),
        timeout: LONG,
        rise: 1,
        fall: 1,
        port: None,
        source: None,
        initial: Initial::Down,
        damping: None,
        via: Default::default(),
    };
    let targets: BTreeMap<_, _> =
        ["/good", "/good", "/bad"].map(of).map(|target| (target.clone(), probe(&target))).into();
    assert_eq!(targets.len(), 2);
    let prober = Prober::start();
    let mut view = prober.subscribe();
    prober.set_targets(targets);
    let status = |view: &crate::probe::HealthView, path| view.get(&of(path)).map(|health| health.status);
    let wanted = |view: &crate::probe::HealthView| {
        status(view, "/good") == Some(Status::Up) && status(view, "/bad") == Some(Status::Down)
    };
    tokio::time::timeout(LONG, view.wait_for(|view| wanted(view))).await.unwrap().unwrap();
    let mut paths = paths.lock().unwrap().clone();
    paths.sort();
    assert_eq!(paths, ["/bad", "/good"]);
}
