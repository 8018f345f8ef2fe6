//! Where a server listens: at several places, at Unix sockets, at addresses of both kinds.
//!
//! What the command line and a service manager say of it is tried out in `outside::stopping`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use switchboard::config::{Address, ListenConfig};
use switchboard_harness::TestServer;
use tokio::net::{TcpStream, UnixStream};

use crate::fixtures::setup;
use crate::streams::{expect_echo, hear, open};

const ROUTES: &str = "[plugins.echo]\npath = 'echo.wasm'\n[plugins.mirror]\npath = 'mirror.wasm'\n\
                      [[route]]\npath = '/ws'\nhandler = 'echo'\n[[route]]\npath = '/mirror'\nhandler = 'mirror'\n";

fn serving(listen: &str) -> TestServer {
    setup(&format!("[server]\nlisten = {listen}\n{ROUTES}")).start()
}

fn addresses(server: &TestServer) -> Vec<SocketAddr> {
    let address = |place: &ListenConfig| match place.address {
        Address::Tcp(address) => Some(address),
        Address::Unix(_) => None,
    };
    server.app().places().iter().filter_map(address).collect()
}

async fn expect_served(address: SocketAddr) {
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    expect_echo(&mut open(stream, "/ws").await, "hello").await;
}

#[tokio::test]
async fn a_server_listens_at_all_places_that_it_is_told() {
    let mut server = serving("['127.0.0.1:0', '127.0.0.1:0', 'unix:echo.sock']");
    let file = server.folder().join("echo.sock");
    for address in addresses(&server) {
        expect_served(address).await;
    }
    expect_echo(&mut open(UnixStream::connect(&file).await.expect("somebody listens"), "/ws").await, "hello").await;
    assert_eq!(addresses(&server).len(), 2);
    server.stop().await;
    assert!(!file.exists(), "it is removed with the server");
}

#[tokio::test]
async fn who_comes_through_a_unix_socket_is_on_this_machine() {
    let toml =
        "[server]\nlisten = 'unix:mirror.sock'\ntrusted-proxies = ['127.0.0.1']\nforwarded = 'x-forwarded-for'\n";
    let server = setup(&format!("{toml}{ROUTES}")).start();
    let connect = async || UnixStream::connect(server.folder().join("mirror.sock")).await.expect("somebody listens");
    let seen = hear(&mut open(connect().await, "/mirror").await).await;
    let seen: serde_json::Value = serde_json::from_str(seen.to_text().expect("it is text")).expect("JSON");
    assert_eq!(seen["peer"], "127.0.0.1:0");
}

#[tokio::test]
async fn a_socket_that_a_dead_server_left_is_replaced_and_that_of_a_live_one_is_not() {
    let server = serving("'unix:echo.sock'");
    let file = server.folder().join("echo.sock");
    let other = |path: &Path| setup(&format!("[server]\nlisten = 'unix:{}'\n{ROUTES}", path.display())).try_start();
    let refused = other(&file).err().expect("it is in use");
    assert!(refused.contains("echo.sock is in use"), "{refused}");
    drop(server);
    let folder = tempfile::tempdir().expect("a folder");
    let left = folder.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).expect("it can be bound"));
    assert!(std::fs::metadata(&left).expect("it is left").file_type().is_socket());
    let server = other(&left).expect("nobody lives there");
    expect_echo(&mut open(UnixStream::connect(&left).await.expect("somebody listens"), "/ws").await, "hello").await;
    drop(server);
    std::fs::write(&left, "a letter").expect("it can be written");
    assert!(other(&left).is_err());
    assert_eq!(std::fs::read_to_string(&left).expect("it is there"), "a letter", "what is no socket stays");
}

#[tokio::test]
async fn the_unspecified_ipv6_address_takes_clients_of_both_kinds() {
    let server = serving("'[::]:0'");
    let port = server.address().port();
    expect_served((Ipv6Addr::LOCALHOST, port).into()).await;
    expect_served((Ipv4Addr::LOCALHOST, port).into()).await;
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("somebody listens");
    let seen = hear(&mut open(stream, "/mirror").await).await;
    assert!(seen.to_text().expect("it is text").contains("\"peer\":\"127.0.0.1:"), "it is an address of IPv4: {seen}");
}

#[tokio::test]
async fn a_specified_ipv6_address_takes_its_own_clients_only() {
    let server = serving("'[::1]:0'");
    let port = server.address().port();
    expect_served((Ipv6Addr::LOCALHOST, port).into()).await;
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
}
