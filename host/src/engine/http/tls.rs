//! TLS for requests to `https`.
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    /// Somebody who says by a certificate who others are.
    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
    }

    fn trusting(authority: &CertifiedIssuer<'static, KeyPair>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).expect("it is a certificate");
        connector(roots)
    }

    /// Connects to a server that this authority calls `api.example.com`, and asks it by another name, perhaps.
    async fn ask(
        authority: &CertifiedIssuer<'static, KeyPair>,
        connector: &TlsConnector,
        host: &str,
    ) -> Result<(), Error> {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["api.example.com".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("these are names");
        let certificate = params.signed_by(&key, authority).expect("a certificate").der().clone();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has what they need")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .expect("the key fits");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("somebody connects");
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
            let _ = stream.write_all(b"hello").await;
            let _ = stream.shutdown().await;
        });
        let stream = TcpStream::connect(address).await.expect("it listens");
        let mut stream = wrap_by(connector, stream, host).await?;
        let mut told = String::new();
        stream.read_to_string(&mut told).await.expect("it answers");
        server.await.expect("it ends");
        assert_eq!(told, "hello");
        Ok(())
    }

    #[tokio::test]
    async fn a_server_that_proves_its_name_is_talked_to() {
        let authority = authority();
        for host in ["api.example.com", "127.0.0.1"] {
            ask(&authority, &trusting(&authority), host).await.expect("it is who it says");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_another_or_that_nobody_knows_is_not() {
        let (known, other) = (authority(), authority());
        let nobody = connector(RootCertStore::empty());
        for (trusted, host) in [
            (&trusting(&known), "api.example.org"),
            (&trusting(&known), "127.0.0.2"),
            (&trusting(&other), "api.example.com"),
            (&nobody, "api.example.com"),
        ] {
            let refused = ask(&known, trusted, host).await.expect_err("it has not proved that");
            assert!(matches!(refused, Error::TlsCertificateError), "{host}: {refused}");
        }
    }
}
