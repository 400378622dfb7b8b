//! Connections to the servers of a distributed store.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{RemoteProblem, RemoteSettings, Server};
use crate::store::StoreError;

/// Seconds without data after which the kernel checks whether the server still exists, and between two checks.
const PROBE_AFTER: u32 = 5;
/// Failed checks after which the connection is closed.
const PROBES: u32 = 3;

/// A connection that can send one request at a time.
pub type Sender = SendRequest<Full<Bytes>>;

/// The TLS settings; `None` without a certificate authority.
pub fn tls(settings: &RemoteSettings) -> Result<Option<TlsConnector>, StoreError> {
    let Some(ca) = &settings.ca else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(ca, error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(ca, error))?
        .with_root_certificates(roots);
    let config = match (&settings.cert, &settings.key) {
        (Some(cert), Some(key)) => {
            let text = read(key)?;
            let private = PrivateKeyDer::from_pem_slice(&text);
            let private = private.map_err(|error| unusable(key, error))?;
            builder
                .with_client_auth_cert(certificates(cert)?, private)
                .map_err(|error| unusable(cert, error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// The text of a file with a token, without the line end.
pub fn token(path: &Path) -> Result<String, StoreError> {
    let text = String::from_utf8(read(path)?).map_err(|_| unusable(path, "it is not text"))?;
    let token = text.trim();
    if token.is_empty() || token.chars().any(|c| c.is_control()) {
        return Err(unusable(path, "it does not contain one line with a token"));
    }
    Ok(token.to_owned())
}

/// Opens a connection.
pub async fn connect(server: &Server, tls: Option<&TlsConnector>) -> Result<Sender, RemoteProblem> {
    let stream = TcpStream::connect((server.host.as_str(), server.port))
        .await
        .map_err(|error| RemoteProblem::Unreachable(error.to_string()))?;
    watch_peer(&stream).map_err(|error| RemoteProblem::Unreachable(error.to_string()))?;
    match tls {
        None => handshake(stream).await,
        Some(connector) => {
            let name = ServerName::try_from(server.host.clone())
                .map_err(|error| RemoteProblem::Certificate(error.to_string()))?;
            let stream = connector.connect(name, stream).await;
            handshake(stream.map_err(|error| tls_problem(&error))?).await
        }
    }
}

async fn handshake<S>(stream: S) -> Result<Sender, RemoteProblem>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| RemoteProblem::Unreachable(error.to_string()))?;
    tokio::spawn(async move {
        // The request that uses the connection reports the error.
        let _ = connection.await;
    });
    Ok(sender)
}

/// What is wrong if a connection fails, during its TLS handshake or after it.
pub fn tls_problem(error: &io::Error) -> RemoteProblem {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => RemoteProblem::Certificate(error.to_string()),
        None => RemoteProblem::Unreachable(error.to_string()),
    }
}

/// Makes the kernel close the connection if the server does not acknowledge data, or has disappeared.
fn watch_peer(stream: &TcpStream) -> nix::Result<()> {
    stream.set_nodelay(true).map_err(|_| nix::Error::last())?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &PROBE_AFTER)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &PROBE_AFTER)?;
    setsockopt(stream, sockopt::TcpKeepCount, &PROBES)?;
    setsockopt(
        stream,
        sockopt::TcpUserTimeout,
        &(PROBE_AFTER * PROBES * 1000),
    )
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, "it has no certificate in PEM format"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|source| StoreError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn unusable(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::Credentials {
        path: PathBuf::from(path),
        reason: reason.to_string(),
    }
}
