//! A server that is out of file descriptors: who is connected goes on, who comes waits, and the log says it once.
//!
//! Sockets that ask for nothing take what there is; they are let go, and the same happens again.

use std::net::TcpStream;
use std::process::Command;

use crate::client::Client;
use crate::guests::guest;
use crate::program::until;
use crate::project::Project;
use crate::switchboard::{Server, switchboard};

/// All descriptors that the server may have.
const LIMIT: usize = 100;
/// So many may be taken by a call that waits for what it will open, which the kernel does not list: of the control's socket.
const UNSEEN: usize = 1;
/// How often it runs out of them.
const ROUNDS: usize = 3;
/// What the log says of it.
const SAID: &str = "no connection can be accepted for the moment";

#[test]
fn a_server_without_descriptors_keeps_what_is_open_and_takes_others_later() {
    let project = Project::new("descriptors");
    project.write("puppet.wasm", guest("puppet"));
    // Silent sockets are to keep their descriptors.
    let toml = "[server]\nworkers = 2\n[server.limits]\nhead-ms = 600000\n\
                [plugins.puppet]\npath = 'puppet.wasm'\n[[route]]\npath = '/ws'\nhandler = 'puppet'\n";
    project.write("switchboard.toml", toml);
    let serve = switchboard("serve", project.folder());
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {LIMIT} && exec \"$@\""), "sh"]);
    limited.arg(serve.get_program()).args(serve.get_args()).args(["--listen", "127.0.0.1:0"]).env_remove("RUST_LOG");
    let mut server = Server::run(&mut limited);
    let mut ann = Client::connect(server.address, "/ws");
    for round in 0..ROUNDS {
        let silent: Vec<_> = (0..LIMIT).map(|_| TcpStream::connect(server.address)).collect();
        assert!(silent.iter().all(Result::is_ok), "the system takes them for the server");
        if round == 0 {
            server.program.expect(SAID);
        }
        let none_is_left = || server.program.proc("fd").len() >= LIMIT - UNSEEN;
        until("the end of the descriptors", none_is_left);
        for answer in ["one", "two", "three"] {
            assert_eq!(ann.ask(&format!("send {answer}")), answer, "who is connected goes on");
        }
        drop(silent);
        let mut bob = Client::connect(server.address, "/ws");
        assert_eq!(bob.ask("send let in"), "let in");
    }
    drop(ann);
    server.program.signal("TERM");
    let ended = server.program.finish();
    assert_eq!((ended.code, ended.stderr.matches(SAID).count()), (Some(0), 1), "{}", ended.stderr);
}
