//! TLS for requests to `https`: the only door to rustls.
//!
//! What servers have to prove goes by the certificates that the machine trusts, which its operator keeps up to date and adds
//! own ones to; they are read at the first such request, and again by the next start of the server. `SSL_CERT_FILE` and
//! `SSL_CERT_DIR` name others. Invariant: no byte of a request goes to a server that has not proved its name.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use wasmtime_wasi_http::Error;

/// Made at the first request that needs it.
static CONNECTOR: OnceCell<TlsConnector> = OnceCell::const_new();

/// Has the server at the other end prove that it is this host, and encrypts what follows.
pub async fn wrap(stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, Error> {
    let connector = CONNECTOR.get_or_init(trusting_the_machine).await;
    wrap_by(connector, stream, host).await
}

async fn wrap_by(connector: &TlsConnector, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, Error> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    connector.connect(name, stream).await.map_err(|error| explain(&error))
}

/// Reads what the machine trusts: some hundred files, so not on a worker's thread.
async fn trusting_the_machine() -> TlsConnector {
    let roots = tokio::task::spawn_blocking(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            let why = found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
            tracing::error!(
                why,
                "no certificate that this machine trusts was found, so requests of plugins to https fail; install the \
                 system's certificates, or name a file of them in SSL_CERT_FILE"
            );
        }
        roots
    });
    connector(roots.await.unwrap_or_else(|_| RootCertStore::empty()))
}

fn connector(roots: RootCertStore) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has what TLS 1.2 and 1.3 need")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// The word of `wasi:http` for what was wrong.
fn explain(error: &std::io::Error) -> Error {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}
