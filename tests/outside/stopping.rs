//! How a server begins and ends: what it prints first, and what its clients and whoever started it are told at the end.
//!
//! These are what a service manager and a script around the server rely on: the address on stdout, the signal, the exit
//! code.

use std::net::TcpStream;

use tungstenite::protocol::frame::coding::CloseCode;

use crate::client::Client;
use crate::switchboard::{Server, example};

#[test]
fn port_0_takes_a_free_port_and_prints_it() {
    let servers = [Server::serve(&example("echo")), Server::serve(&example("echo"))];
    let ports = servers.each_ref().map(|server| server.address.port());
    assert!(ports[0] != ports[1] && !ports.contains(&0), "{ports:?}");
    for server in servers {
        assert_eq!(Client::connect(server.address, "/ws").ask("hi"), "hi");
    }
}

#[test]
fn the_routes_are_printed_after_the_address() {
    let mut server = Server::serve(&example("middleware"));
    assert_eq!(server.program.expect("/api/ws"), "  /api/ws  echo  behind global-1 > global-2 > router-1 > route-1");
}

#[test]
fn a_signal_to_stop_closes_connections_with_1012_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let server = Server::serve(&example("echo"));
        let mut clients: Vec<_> = (0..10).map(|_| Client::connect(server.address, "/ws")).collect();
        for client in &mut clients {
            assert_eq!(client.ask("hi"), "hi");
        }
        server.program.signal(signal);
        for client in clients {
            assert_eq!(client.closed(), CloseCode::Restart);
        }
        let ended = server.program.finish();
        assert_eq!(ended.code, Some(0), "{signal}: {}", ended.stderr);
        assert!(TcpStream::connect(server.address).is_err(), "{signal}: nobody listens any more");
    }
}
