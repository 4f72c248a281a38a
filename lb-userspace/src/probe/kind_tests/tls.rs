//! TLS, and HTTPS on top of it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

use super::{
    Outcome, ProbeKind, TIMED_OUT, closed, failure, hasty, http, probe, read_head, says, serve, silent, success,
};
use crate::config::model::{ClientCertificate, Http, Tls, Trust};

/// An authority and what it signed.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Settings of a probe that trusts this authority alone.
    pub(super) fn trusted(&self, name: Option<&str>) -> Tls {
        Tls { server_name: name.map(str::to_owned), trust: Trust::File(self.file("ca.pem")), client: None }
    }

    /// A server with a certificate for a name, good until a year.
    pub(super) fn server(&self, name: &str, until: i32, protocols: &[&[u8]]) -> ServerConfig {
        self.server_that(name, until, protocols, false)
    }

    fn server_that(&self, name: &str, until: i32, protocols: &[&[u8]], asks: bool) -> ServerConfig {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }

    /// Files of a certificate for clients that this authority signed.
    fn client(&self, name: &str) -> ClientCertificate {
        let (params, key) = (CertificateParams::new([name.to_owned()]).unwrap(), key());
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = ClientCertificate {
            certificate: self.file(&format!("{name}.pem")),
            key: self.file(&format!("{name}.key")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

/// A server that says this in each TLS connection after a request, or nothing to those who ask nothing.
async fn secure(config: ServerConfig, answer: &'static str) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_head(&mut stream).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

fn kind(tls: Tls) -> ProbeKind {
    ProbeKind::Tls(Arc::new(tls))
}

#[tokio::test]
async fn a_certificate_is_good_for_its_name_its_authority_and_its_time() {
    let (ours, other) = (Authority::new(), Authority::new());
    let address = secure(ours.server("www.example", 4000, &[]), "").await;
    success(address, kind(ours.trusted(Some("www.example")))).await;

    let reason = failure(address, kind(ours.trusted(Some("mail.example")))).await;
    assert!(reason.starts_with("TLS: invalid peer certificate: certificate not valid for name"), "{reason}");
    // Without a name it is the address that counts.
    let reason = failure(address, kind(ours.trusted(None))).await;
    assert!(reason.starts_with("TLS: invalid peer certificate: certificate not valid for name"), "{reason}");
    let by_address = secure(ours.server("127.0.0.1", 4000, &[]), "").await;
    success(by_address, kind(ours.trusted(None))).await;

    let reason = failure(address, kind(other.trusted(Some("www.example")))).await;
    assert!(reason.starts_with("TLS: invalid peer certificate: "), "{reason}");
    assert!(reason.contains("UnknownIssuer") || reason.contains("BadSignature"), "{reason}");

    let expired = secure(ours.server("www.example", 2001, &[]), "").await;
    let reason = failure(expired, kind(ours.trusted(Some("www.example")))).await;
    assert!(reason.starts_with("TLS: invalid peer certificate: certificate expired"), "{reason}");

    let whatever = || kind(Tls { trust: Trust::Everybody, ..Tls::default() });
    success(address, whatever()).await;
    success(expired, whatever()).await;
}

#[tokio::test]
async fn the_systems_authorities_did_not_sign_a_test() {
    let ours = Authority::new();
    let address = secure(ours.server("www.example", 4000, &[]), "").await;
    let tls = Tls { server_name: Some("www.example".into()), ..Tls::default() };
    match probe(address, kind(tls)).await {
        Outcome::Failure(reason) => assert!(reason.contains("UnknownIssuer"), "{reason}"),
        // On a machine without any.
        Outcome::Inconclusive(reason) => assert!(reason.contains("install ca-certificates"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_refusal_is_seen() {
    let (ours, other) = (Authority::new(), Authority::new());
    let address = secure(ours.server_that("www.example", 4000, &[], true), "").await;
    let with = |client| kind(Tls { client: Some(client), ..ours.trusted(Some("www.example")) });
    success(address, with(ours.client("good"))).await;
    let reason = failure(address, with(other.client("bad"))).await;
    assert!(reason.starts_with("TLS: "), "{reason}");
}

#[tokio::test]
async fn files_that_are_missing_or_bad_are_no_fault_of_the_target() {
    let ours = Authority::new();
    let address = secure(ours.server("www.example", 4000, &[]), "").await;
    let trust = |name: &str| kind(Tls { trust: Trust::File(ours.file(name)), ..Tls::default() });
    std::fs::write(ours.file("bad.pem"), "no PEM").unwrap();
    for (name, reason) in [("none.pem", "none.pem: "), ("bad.pem", "bad.pem: no certificate is in it")] {
        match probe(address, trust(name)).await {
            Outcome::Inconclusive(found) => assert!(found.contains(reason), "{found}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn servers_that_speak_no_tls() {
    let tls = || kind(Tls { trust: Trust::Everybody, ..Tls::default() });
    let talkative = serve(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        std::future::pending().await
    })
    .await;
    assert!(failure(talkative, tls()).await.starts_with("TLS: received corrupt message"));
    let closing = serve(|mut stream| async move {
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await;
    })
    .await;
    assert_eq!(failure(closing, tls()).await, "TLS: the connection was closed during the handshake");
    assert_eq!(hasty(silent().await, tls()).await, Outcome::Failure(TIMED_OUT.into()));
    let (address, _held) = closed();
    assert_eq!(failure(address, tls()).await, "connection refused");
}

#[tokio::test]
async fn https_asks_by_the_name_of_the_host() {
    let ours = Authority::new();
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let address = secure(ours.server("www.example", 4000, &[b"http/1.1"]), ok).await;
    let with = |host: &str, http: Http| {
        ProbeKind::Http(Arc::new(Http { tls: Some(ours.trusted(None)), host: Some(host.into()), ..http }))
    };
    success(address, with("www.example:8443", http::contains("ok"))).await;
    assert_eq!(failure(address, with("www.example", http::contains("no"))).await, "the body does not hold `no`");
    let reason = failure(address, with("mail.example", http::options())).await;
    assert!(reason.contains("not valid for name"), "{reason}");
    let plain = says("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    // Its head never comes to an end, so neither does its answer.
    assert_eq!(hasty(plain, with("www.example", http::options())).await, Outcome::Failure(TIMED_OUT.into()));
}
