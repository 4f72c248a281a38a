//! The TLS probe: a handshake. Other kinds open their connections with it, too.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{check::Dial, socket, tls_client, trouble::Trouble};
use crate::{config::model::Tls, health::Advice};

/// Makes a handshake.
///
/// With TLS 1.3 a server looks at the client's certificate after the client's side of the handshake is done. So if one is
/// shown, the connection is closed in good order, and a server that refused it says so instead of doing the same.
pub(super) async fn check(target: &Dial<'_>, tls: &Tls) -> Result<Advice, Trouble> {
    let mut stream = connect(target, tls, None, &[]).await?;
    if tls.client.is_some() {
        stream.shutdown().await.map_err(|error| Trouble::with("TLS", &error))?;
        match stream.read(&mut [0; 1]).await {
            Ok(_) => {}
            // Many servers close without a goodbye of their own.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(Trouble::with("TLS", &error)),
        }
    }
    Ok(Advice::default())
}

/// Opens a TLS connection; the name is `tls`'s, else that of `host`, else the target's address.
pub(super) async fn connect(
    target: &Dial<'_>,
    tls: &Tls,
    host: Option<&str>,
    protocols: &'static [&'static [u8]],
) -> Result<TlsStream<TcpStream>, Trouble> {
    let name = tls_client::name(target, tls, host)?;
    let config = tls_client::config(tls, protocols).await?;
    let stream = socket::tcp(target).await?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Trouble::target("TLS: the connection was closed during the handshake"),
        _ => Trouble::with("TLS", &error),
    })
}
