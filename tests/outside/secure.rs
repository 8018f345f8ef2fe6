//! TLS and HTTP/2 as others speak them: curl, and Chromium with a page over https.
//!
//! Both trust an authority that is made for the test and for nothing else.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use base64ct::{Base64, Encoding};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};

use crate::browser::Browser;
use crate::guests::guest;
use crate::project::Project;
use crate::switchboard::{Server, run};
use crate::tools;

const PAGE: &str = "<!doctype html><title>A secure page</title><link rel=icon href='data:,'>";

/// A project whose server speaks TLS, and what a client has to know of its authority: a file, and the hash of its key.
fn project(name: &str) -> (Project, String) {
    let project = Project::new(name);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Another name than that of the certificate, which else would seem to vouch for itself.
    params.distinguished_name.push(DnType::CommonName, "an authority of a test");
    let key = KeyPair::generate().expect("a key");
    let hash = Base64::encode_string(&Sha256::digest(key.subject_public_key_info()));
    let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("it is an address");
    let certificate = params.signed_by(&key, &authority).expect("a certificate").pem() + &authority.pem();
    project.write("authority.pem", authority.pem());
    project.write("certificate.pem", certificate);
    project.write("key.pem", key.serialize_pem());
    project.write("puppet.wasm", guest("puppet"));
    project.write("page/index.html", PAGE);
    let toml = "[server]\nlisten = ['https://127.0.0.1:0', 'http://127.0.0.1:0']\n\
                [server.tls]\ncertificate = 'certificate.pem'\nkey = 'key.pem'\n\
                [plugins.puppet]\npath = 'puppet.wasm'\n[[route]]\npath = '/ws'\nhandler = 'puppet'\n\
                [[static]]\npath = '/'\nfolder = 'page'\n";
    project.write("switchboard.toml", toml);
    (project, hash)
}

/// A server that listens with TLS, and in the clear at another port.
fn serve(project: &Project) -> (Server, SocketAddr) {
    let mut command = crate::switchboard::switchboard("serve", project.folder());
    let mut server = Server::run_at(&mut command, "listening on https://");
    let clear = server.program.expect("listening on http://");
    let clear = clear.rsplit('/').next().and_then(|address| address.parse().ok()).expect("it is an address");
    (server, clear)
}

#[test]
fn curl_gets_files_and_refusals_over_http_2() {
    let (project, _) = project("secure_curl");
    let Some(curl) = tools::curl() else { return };
    let (server, clear) = serve(&project);
    let ask = |options: &[&str], url: String| {
        let mut line = Command::new(&curl);
        line.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"]);
        let done = run(line.arg("--cacert").arg(project.path("authority.pem")).args(options).arg(url));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.stdout.trim().to_owned()
    };
    let secure = |path: &str| format!("https://{}{path}", server.address);
    assert_eq!(ask(&["--http2"], secure("/")), "2 200");
    assert_eq!(ask(&["--http2"], secure("/nowhere")), "2 404");
    assert_eq!(ask(&["--http2"], secure("/ws")), "2 426");
    assert_eq!(ask(&["--http2", "--path-as-is"], secure("/a/../ws")), "2 400");
    assert_eq!(ask(&["--http1.1"], secure("/")), "1.1 200");
    assert_eq!(ask(&["--http2-prior-knowledge"], format!("http://{clear}/ws")), "2 426");
    assert_eq!(ask(&[], format!("http://{clear}/ws")), "1.1 426");
}

#[test]
fn a_page_over_https_has_its_websockets_in_the_same_connection() {
    let (project, hash) = project("secure_page");
    let (server, _) = serve(&project);
    let trust = format!("--ignore-certificate-errors-spki-list={hash}");
    let url = format!("https://{}", server.address);
    let Some(mut browser) = Browser::open_with("secure.mjs", &url, &[&trust]) else { return };
    browser.must(&["open"]);
    for answer in ["one", "two"] {
        browser.must(&["ask", &format!("send {answer}"), answer]);
    }
    browser.must(&["cameOver", "h2"]);
    assert_eq!(open_connections(server.address), 1, "the page and both WebSockets share it");
    browser.close();
}

/// Established TCP connections of this listener, as the system has them.
fn open_connections(address: SocketAddr) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux says it");
    let own = format!(":{:04X}", address.port());
    let is_open = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|local| local.ends_with(&own)) && fields.get(3) == Some(&"01")
    };
    table.lines().filter(is_open).count()
}
