//! What TLS connections of probes are made with: authorities, certificates, names.
//!
//! Files are read again once what was made of them is a minute old, so that renewed ones are taken up without a word.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::uri::Authority;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::{Target, trouble::Trouble};
use crate::config::model::{ClientCertificate, Tls, Trust};

/// How long what was made of files is used.
const FRESH: Duration = Duration::from_secs(60);

type Protocols = &'static [&'static [u8]];
type Cache = HashMap<(Trust, Option<ClientCertificate>, Protocols), (Instant, Arc<ClientConfig>)>;

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(crypto::ring::default_provider()));

/// The name that the certificate must have.
pub(super) fn name(target: &Target, tls: &Tls, host: Option<&str>) -> Result<ServerName<'static>, Trouble> {
    let of_host = host.and_then(|host| host.parse::<Authority>().ok());
    let of_host = of_host.as_ref().map(|authority| authority.host().trim_matches(['[', ']']));
    match tls.server_name.as_deref().or(of_host) {
        None => Ok(ServerName::from(target.address)),
        Some(name) => ServerName::try_from(name.to_owned()).map_err(|error| Trouble::Node(format!("{name}: {error}"))),
    }
}

/// The settings of a connection. Reads files if there are none that are fresh.
pub(super) async fn config(tls: &Tls, protocols: Protocols) -> Result<Arc<ClientConfig>, Trouble> {
    let key = (tls.trust.clone(), tls.client.clone(), protocols);
    let known = CACHE.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    if let Some((_, config)) = known.filter(|(made, _)| made.elapsed() < FRESH) {
        return Ok(config);
    }
    let (trust, client) = (tls.trust.clone(), tls.client.clone());
    let made = tokio::task::spawn_blocking(move || make(&trust, client.as_ref(), protocols)).await;
    let config = made.map_err(|error| Trouble::Node(error.to_string()))??;
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.retain(|_, (made, _)| made.elapsed() < FRESH);
    cache.insert(key, (Instant::now(), Arc::clone(&config)));
    Ok(config)
}

fn make(trust: &Trust, client: Option<&ClientCertificate>, protocols: Protocols) -> Result<Arc<ClientConfig>, Trouble> {
    let ours = |error: rustls::Error| Trouble::Node(format!("TLS: {error}"));
    let provider = Arc::clone(&PROVIDER);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Everybody => Arc::new(AcceptAll(provider)),
        Trust::System => webpki(system_roots()?, provider)?,
        Trust::File(path) => webpki(roots_in(path)?, provider)?,
    };
    let builder = builder.map_err(ours)?.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unreadable(&files.key, &error))?;
            builder.with_client_auth_cert(certificates(&files.certificate)?, key).map_err(ours)?
        }
    };
    // Each probe is a whole handshake: a resumed one says nothing of the certificate.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn webpki(roots: RootCertStore, provider: Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Trouble> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| Trouble::Node(format!("TLS: {error}")))
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Trouble {
    Trouble::Node(format!("{}: {error}", path.display()))
}

fn system_roots() -> Result<RootCertStore, Trouble> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let error = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let remedy = "install ca-certificates, or give `ca_file`";
        return Err(Trouble::Node(format!("the system has no certificates of authorities{error}; {remedy}")));
    }
    Ok(roots)
}

fn roots_in(path: &Path) -> Result<RootCertStore, Trouble> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unreadable(path, &error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match all {
        Ok(all) if all.is_empty() => Err(unreadable(path, &"no certificate is in it")),
        Ok(all) => Ok(all),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Takes every certificate; that the server has its key is still checked.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
