//! TLS for clients: the certificate that the server proves itself with, and the handshake.
//!
//! Versions 1.2 and 1.3 (RFC 5246, RFC 8446); ALPN (RFC 7301) offers HTTP/2 and HTTP/1.1. The files are read at the start, and again
//! when they change: what is open goes on with what it has.
//! Invariant: a certificate is used only together with its key; files that do not fit change nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, ServerConfig};

use crate::config::TlsConfig;

/// A client's connection after its handshake.
pub type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// What the server proves itself with.
pub struct Tls {
    files: TlsConfig,
    present: ArcSwap<ServerConfig>,
}

/// Why a certificate and a key cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0}: the file cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// A file holds something else.
    #[error(
        "{0}: there is no certificate in it; write PEM, beginning with `-----BEGIN CERTIFICATE-----`, the server's own first"
    )]
    NoCertificate(PathBuf),
    /// A file holds something else.
    #[error(
        "{0}: there is no private key in it that can be read; write PEM, as in `-----BEGIN PRIVATE KEY-----`, without a passphrase"
    )]
    NoKey(PathBuf),
    /// Each is good, and they do not belong together.
    #[error(
        "{key}: this is not the key of the first certificate in {certificate}; name the two that were made together"
    )]
    NotFitting {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The library refuses them.
    #[error("{0}: this certificate cannot be used with its key: {1}")]
    Refused(PathBuf, Error),
}

impl Tls {
    /// Reads the files.
    pub fn load(files: &TlsConfig) -> Result<Self, TlsError> {
        let present = ArcSwap::from_pointee(read(files)?);
        Ok(Self { files: files.clone(), present })
    }

    /// Reads the files again, for the handshakes from now on.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.present.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// Whether it is one of the files.
    pub fn is_of(&self, file: &Path) -> bool {
        [&self.files.certificate, &self.files.key].into_iter().any(|own| own == file)
    }

    /// A client's handshake. The caller has a limit for its time.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream> {
        TlsAcceptor::from(self.present.load_full()).accept(stream).await
    }
}

fn read(files: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let TlsConfig { certificate, key } = files;
    let pem = |file: &PathBuf| fs::read(file).map_err(|error| TlsError::Unreadable(file.clone(), error));
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem(certificate)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| TlsError::NoCertificate(certificate.clone()))?;
    let private = PrivateKeyDer::from_pem_slice(&pem(key)?).map_err(|_| TlsError::NoKey(key.clone()))?;
    let refused = |error| match error {
        Error::InconsistentKeys(_) => TlsError::NotFitting { certificate: certificate.clone(), key: key.clone() },
        error => TlsError::Refused(certificate.clone(), error),
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(refused)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, private).map_err(refused)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a temporary folder") }
        }

        fn load(&self, certificate: &str, key: &str) -> Result<Tls, TlsError> {
            let files =
                TlsConfig { certificate: self.folder.path().join("cert.pem"), key: self.folder.path().join("key.pem") };
            fs::write(&files.certificate, certificate).expect("it can be written");
            fs::write(&files.key, key).expect("it can be written");
            Tls::load(&files)
        }
    }

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it can be made");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_is_taken_with_its_own_key_only() {
        let (files, (certificate, key), (_, other)) = (Files::new(), made(), made());
        let tls = files.load(&certificate, &key).expect("they fit");
        assert!(tls.reload().is_ok());
        for (certificate, key, words) in [
            (certificate.as_str(), other.as_str(), "is not the key of the first certificate in"),
            ("", &key, "there is no certificate in it"),
            (&key, &key, "there is no certificate in it"),
            (&certificate, "", "there is no private key in it"),
            (&certificate, &certificate, "there is no private key in it"),
        ] {
            let error = files.load(certificate, key).err().expect(words).to_string();
            assert!(error.contains(words), "{error}");
            assert!(tls.reload().is_err(), "the files are no good now");
        }
        fs::remove_file(files.folder.path().join("key.pem")).expect("it is there");
        let error = tls.reload().expect_err("it is gone").to_string();
        assert!(error.contains("key.pem: the file cannot be read"), "{error}");
    }
}
