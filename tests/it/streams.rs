//! WebSockets over other streams than plain TCP: TLS, Unix sockets, HTTP/2.
//!
//! The client's half of each, and certificates for both halves.

use std::fmt::Debug;
use std::fs;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::ext::Protocol;
use hyper::http::{Method, Request, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use switchboard_harness::within;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The name that all certificates are for.
pub const NAME: &str = "chat.example";

/// A certificate with its key on disk, and the authority that vouches for it.
pub struct Papers {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Papers {
    pub fn new() -> Self {
        let papers = Self { folder: tempfile::tempdir().expect("a folder"), authority: authority() };
        papers.issue();
        papers
    }

    /// Other files in the place of these, by another authority.
    pub fn replace(&mut self) {
        self.authority = authority();
        self.issue();
    }

    /// Nobody's key in the place of the certificate's.
    pub fn lose_key(&self) {
        let key = KeyPair::generate().expect("a key");
        fs::write(self.folder.path().join("key.pem"), key.serialize_pem()).expect("it can be written");
    }

    /// `[server.tls]`
    pub fn toml(&self) -> String {
        let path = |name| self.folder.path().join(name).display().to_string();
        format!("[server.tls]\ncertificate = '{}'\nkey = '{}'\n", path("cert.pem"), path("key.pem"))
    }

    fn issue(&self) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![NAME.to_owned()]).expect("it is a name");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        for (name, text) in [("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())] {
            fs::write(self.folder.path().join(name), text).expect("it can be written");
        }
    }

    /// A handshake of a client that trusts this authority only.
    pub async fn handshake(&self, stream: TcpStream, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        self.handshake_with(stream, alpn, tokio_rustls::rustls::DEFAULT_VERSIONS).await
    }

    pub async fn handshake_with(
        &self,
        stream: TcpStream,
        alpn: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("it is a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("the provider has them");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(NAME).expect("it is a name");
        within("the TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A WebSocket over HTTP/1.1 on this stream.
pub async fn open<S: AsyncRead + AsyncWrite + Unpin + Debug>(stream: S, target: &str) -> WebSocketStream<S> {
    let url = format!("ws://{NAME}{target}");
    within("the WebSocket", tokio_tungstenite::client_async(url, stream)).await.expect("it opens").0
}

/// Says something to an echo, and expects it back.
pub async fn expect_echo<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocketStream<S>, text: &str) {
    ws.send(Message::text(text)).await.expect("it is open");
    assert_eq!(hear(ws).await, Message::text(text));
}

/// What comes next.
pub async fn hear<S: AsyncRead + AsyncWrite + Unpin>(ws: &mut WebSocketStream<S>) -> Message {
    within("a message", ws.next()).await.expect("it is open").expect("it is correct")
}

/// The client's end of an HTTP/2 connection.
#[derive(Clone)]
pub struct Http2 {
    requests: SendRequest<Empty<Bytes>>,
}

impl Http2 {
    /// On a stream on which the server knows that it is to be HTTP/2, or is to find out.
    pub async fn begin(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let begun = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (requests, connection) = within("the connection", begun).await.expect("it begins");
        tokio::spawn(connection);
        let mut begun = Self { requests };
        // From here on the client knows that the server takes WebSockets.
        begun.get("/").await;
        begun
    }

    /// Whether the server has ended it.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// A plain request.
    pub async fn get(&mut self, target: &str) -> Response<Incoming> {
        let uri = format!("http://{NAME}{target}");
        self.ask(Request::get(uri).body(Empty::new()).expect("it is a request")).await
    }

    pub async fn ask(&mut self, request: Request<Empty<Bytes>>) -> Response<Incoming> {
        within("an answer", self.requests.send_request(request)).await.expect("it is answered")
    }

    /// A request for a WebSocket (RFC 8441, section 5), with these headers too.
    pub async fn connect(&mut self, target: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
        let request = Request::builder().method(Method::CONNECT).uri(format!("http://{NAME}{target}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut request = request.body(Empty::new()).expect("it is a request");
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        self.ask(request).await
    }

    /// An open WebSocket in this connection.
    pub async fn open(&mut self, target: &str) -> WebSocketStream<TokioIo<Upgraded>> {
        websocket(self.connect(target, &[("sec-websocket-version", "13")]).await).await
    }
}

/// What such an answer has opened.
pub async fn websocket(response: Response<Incoming>) -> WebSocketStream<TokioIo<Upgraded>> {
    assert_eq!(response.status(), 200, "{response:?}");
    let upgraded = within("the stream", hyper::upgrade::on(response)).await.expect("it is one");
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}
