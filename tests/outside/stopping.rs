//! How a server begins and ends: what it prints first, and what its clients and whoever started it are told at the end.
//!
//! These are what a service manager and a script around the server rely on: the address on stdout, the signal, the exit
//! code.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use tungstenite::protocol::frame::coding::CloseCode;

use crate::client::Client;
use crate::guests::guest;
use crate::project::Project;
use crate::switchboard::{Server, example, switchboard};
use crate::tools;

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

#[test]
fn sockets_that_a_service_manager_has_bound_are_served() {
    let Some(mut command) = tools::plain_python("activate.py") else { return };
    let project = Project::new("activated");
    project.write("puppet.wasm", guest("puppet"));
    let toml = "[plugins.puppet]\npath = 'puppet.wasm'\n[[route]]\npath = '/ws'\nhandler = 'puppet'\n";
    project.write("switchboard.toml", toml);
    let file = project.path("given.sock");
    let serve = switchboard("serve", project.folder());
    command.args(["0", "0"]).arg(&file).arg("--").arg(serve.get_program()).args(serve.get_args());
    let mut server = Server::run(command.env_remove("RUST_LOG"));
    let second = server.program.expect("listening on http://");
    let second = second.rsplit('/').next().and_then(|address| address.parse().ok()).expect("it is an address");
    server.program.expect(&format!("listening on unix:{}", file.display()));
    for address in [server.address, second] {
        assert_eq!(Client::connect(address, "/ws").ask("send hi"), "hi");
    }
    assert!(UnixStream::connect(&file).is_ok());
    server.program.signal("TERM");
    assert_eq!(server.program.finish().code, Some(0));
}
