//! Compiling never disturbs: what a component costs or breaks while it is compiled stays in a process of its own.
//!
//! Heavy components take the place of a plugin's file under a server that goes on; whatever becomes of them, the
//! connections that are open stay open and get the answers of the code that was there.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::heavy;
use crate::program::{PATIENCE, Program};
use crate::project::Project;
use crate::switchboard::{Server, bare, example_component};

/// For what compiles as slowly as it may, on a busy machine.
const PATIENCE_WITH_COMPILERS: Duration = Duration::from_secs(600);
/// Between two echoes of a neighbour. Without it they would take all of the processor, and what has the lowest priority none.
const BREATH: Duration = Duration::from_millis(5);
/// A large component: about that of a JavaScript engine.
const LARGE: usize = 10 * 1024 * 1024;
/// What is compiled in no time is above this.
const HEAVY: usize = 4 * 1024 * 1024;
/// So many take about a gigabyte to compile, as small as they are.
const FUNCTIONS: usize = 700_000;
/// Connections that talk while a neighbour is compiled, and what each must have said and heard meanwhile.
const NEIGHBOURS: usize = 8;
const ECHOES: u64 = 100;
/// The line of the log that says who compiles.
const COMPILING: &str = "compiling a large component";

/// Two plugins, `echo` on `/ws` and `other` on `/other`, which both are the echo, and these limits.
fn project(name: &str, limits: &str) -> Project {
    let project = Project::new(name);
    let echo = echo_component();
    let mut configuration = format!("[server.limits]\n{limits}\n");
    for (plugin, path) in [("echo", "/ws"), ("other", "/other")] {
        project.write(&format!("{plugin}.wasm"), &echo);
        configuration +=
            &format!("[plugins.{plugin}]\npath = '{plugin}.wasm'\n[[route]]\npath = '{path}'\nhandler = '{plugin}'\n");
    }
    project.write("switchboard.toml", configuration);
    project
}

fn echo_component() -> Vec<u8> {
    fs::read(example_component("echo")).expect("the example was built")
}

/// The echo with so many bytes of code that nobody runs.
fn echo_with_code(bytes: usize) -> Vec<u8> {
    heavy::with_code(echo_component(), bytes)
}

/// Puts a component in the place of `other`, in one step.
fn replace(project: &Project, component: &[u8]) {
    project.write("new", component);
    fs::rename(project.path("new"), project.path("other.wasm")).expect("a file can be renamed");
}

/// That a heavy component is refused with these words, while the old code answers; and that a light one is taken after it.
fn refuses(project: &Project, heavy: &[u8], words: &str) {
    let mut server = Server::serve(project.folder());
    let mut ann = Client::connect(server.address, "/other");
    replace(project, heavy);
    let line = server.program.expect_within("not reloaded, the old code goes on", PATIENCE_WITH_COMPILERS);
    assert!(line.contains("plugin other: ") && line.contains(words), "{line}");
    takes_another(project, &mut server, &mut ann);
}

/// The process that compiles, by its line in the log.
fn compiling(server: &mut Server) -> String {
    let line = server.program.expect(COMPILING);
    let pid = line.split("pid=").nth(1).and_then(|rest| rest.split(' ').next());
    pid.unwrap_or_else(|| panic!("`{line}` names no process")).to_owned()
}

/// That the connection lives, and that a light component takes over in it.
fn takes_another(project: &Project, server: &mut Server, ann: &mut Client) {
    assert_eq!(ann.ask("still here"), "still here");
    replace(project, &echo_with_code(1));
    server.program.expect("reloaded");
    assert_eq!(ann.ask("and now"), "and now");
}

/// Says numbers and hears them, in order, until it is told to stop.
fn echo(address: SocketAddr, target: &str, (heard, stop): (&AtomicU64, &AtomicBool)) {
    let mut client = Client::connect(address, target);
    while !stop.load(Ordering::Relaxed) {
        let number = heard.load(Ordering::Relaxed).to_string();
        assert_eq!(client.ask(&number), number);
        heard.fetch_add(1, Ordering::Relaxed);
        thread::sleep(BREATH);
    }
}

/// Waits until each of the neighbours has echoed so often since.
fn all_echo(heard: &[AtomicU64]) {
    let before: Vec<_> = heard.iter().map(|heard| heard.load(Ordering::Relaxed)).collect();
    let deadline = Instant::now() + PATIENCE;
    while heard.iter().zip(&before).any(|(heard, before)| heard.load(Ordering::Relaxed) == *before) {
        assert!(Instant::now() < deadline, "a neighbour hears nothing more");
        thread::yield_now();
    }
}

#[test]
fn l8_a_large_component_is_reloaded_while_all_others_echo_on() {
    let project = project("compiling_large", "");
    let mut server = Server::serve(project.folder());
    let heard: Vec<_> = (0..NEIGHBOURS).map(|_| AtomicU64::new(0)).collect();
    let (stop, address) = (AtomicBool::new(false), server.address);
    thread::scope(|scope| {
        for (number, heard) in heard.iter().enumerate() {
            let target = if number == 0 { "/other" } else { "/ws" };
            let stop = &stop;
            scope.spawn(move || echo(address, target, (heard, stop)));
        }
        let _stop_also_where_this_fails = Stop(&stop);
        all_echo(&heard);
        replace(&project, &echo_with_code(LARGE));
        server.program.expect(COMPILING);
        let before: Vec<_> = heard.iter().map(|heard| heard.load(Ordering::Relaxed)).collect();
        server.program.expect_within("reloaded", PATIENCE_WITH_COMPILERS);
        for (number, (heard, before)) in heard.iter().zip(before).enumerate() {
            let meanwhile = heard.load(Ordering::Relaxed) - before;
            assert!(
                meanwhile >= ECHOES,
                "neighbour {number} heard {meanwhile} echoes while the component was compiled"
            );
        }
        all_echo(&heard);
    });
}

/// Ends the neighbours.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_component_that_takes_too_much_cpu_time_to_compile() {
    let project = project("compiling_cpu", "compile-cpu-ms = 1000");
    let words = "was not compiled: compiling takes more CPU time than the limit `compile-cpu-ms`, 1000";
    refuses(&project, &echo_with_code(HEAVY), words);
}

#[test]
fn a_component_that_takes_too_much_memory_to_compile() {
    let project = project("compiling_memory", "compile-memory-bytes = 134217728");
    let words = "was not compiled: compiling takes more memory than the limit `compile-memory-bytes`, 134217728";
    refuses(&project, &heavy::with_functions(echo_component(), FUNCTIONS), words);
}

/// A process that is stopped uses no CPU time, so it is the wall time that ends it.
#[test]
fn a_component_that_takes_too_long_to_compile() {
    let project = project("compiling_wall", "compile-wall-ms = 10000");
    let mut server = Server::serve(project.folder());
    let mut ann = Client::connect(server.address, "/other");
    replace(&project, &echo_with_code(HEAVY));
    signal("STOP", &compiling(&mut server));
    let line = server.program.expect("not reloaded, the old code goes on");
    assert!(line.contains("compiling takes longer than the limit `compile-wall-ms`, 10000"), "{line}");
    takes_another(&project, &mut server, &mut ann);
}

#[test]
fn a_compiling_process_that_is_killed() {
    let project = project("compiling_killed", "");
    let mut server = Server::serve(project.folder());
    let mut ann = Client::connect(server.address, "/other");
    replace(&project, &echo_with_code(LARGE));
    signal("KILL", &compiling(&mut server));
    let line = server.program.expect("not reloaded, the old code goes on");
    assert!(line.contains("the compiling process ended with signal: 9 (SIGKILL)"), "{line}");
    takes_another(&project, &mut server, &mut ann);
}

/// The process is stopped, so that only whoever has something newer ends it.
#[test]
fn a_newer_file_ends_the_compiling_of_the_one_before() {
    let project = project("compiling_newer", "");
    let mut server = Server::serve(project.folder());
    let mut ann = Client::connect(server.address, "/other");
    replace(&project, &echo_with_code(LARGE));
    let compiler = compiling(&mut server);
    signal("STOP", &compiler);
    // It need not wait for the server to answer.
    let shown = Program::start(bare().arg("plugins").arg(project.folder())).finish();
    assert!(shown.stdout.contains("other  generation 1  "), "{}", shown.stdout);
    takes_another(&project, &mut server, &mut ann);
    assert!(!is_compiling(&compiler));
    let shown = Program::start(bare().arg("plugins").arg(project.folder())).finish();
    assert!(!shown.stdout.contains("not loaded"), "{}", shown.stdout);
}

#[test]
fn files_that_come_faster_than_they_compile_are_taken_all_the_same() {
    let project = project("compiling_flood", "");
    let mut server = Server::serve(project.folder());
    let mut ann = Client::connect(server.address, "/other");
    let mut compilers = Vec::new();
    for number in 0..4 {
        replace(&project, &echo_with_code(HEAVY + number * 100_000));
        let compiler = compiling(&mut server);
        signal("STOP", &compiler);
        compilers.push(compiler);
    }
    replace(&project, &echo_with_code(2));
    server.program.expect("a newer file waits until the one before is compiled, since 3 were given up");
    let last = compilers.pop().expect("there were four");
    assert!(is_compiling(&last) && !compilers.iter().any(|compiler| is_compiling(compiler)));
    signal("CONT", &last);
    server.program.expect_within("reloaded", PATIENCE_WITH_COMPILERS);
    server.program.expect("reloaded");
    assert_eq!(ann.ask("still here"), "still here");
}

/// What compiles for a server that is killed would only be in the way of the next one.
#[test]
fn a_compiling_process_ends_with_its_server() {
    let project = project("compiling_orphan", "");
    let mut server = Server::serve(project.folder());
    replace(&project, &echo_with_code(LARGE));
    let compiler = compiling(&mut server);
    server.program.kill();
    while is_compiling(&compiler) {
        thread::yield_now();
    }
    let mut server = Server::serve(project.folder());
    assert_eq!(Client::connect(server.address, "/other").ask("hi"), "hi");
    replace(&project, &echo_with_code(1));
    server.program.expect("reloaded");
}

/// As an upgrade does it: the new binary takes the old one's name, and the server that runs is still the old one.
#[test]
fn a_server_whose_binary_was_removed_still_compiles() {
    let project = project("compiling_removed", "");
    let (binary, own) = (bare().get_program().to_owned(), project.path("switchboard"));
    fs::hard_link(binary, &own).expect("both lie in the target folder");
    let mut line = Command::new(&own);
    let mut server = Server::run(line.arg("serve").arg(project.folder()).args(["--listen", "127.0.0.1:0"]));
    fs::remove_file(&own).expect("it was made above");
    let mut ann = Client::connect(server.address, "/other");
    takes_another(&project, &mut server, &mut ann);
}

#[test]
fn the_subcommand_is_hidden_and_takes_no_other_engine() {
    let help = Program::start(bare().arg("--help")).finish();
    assert!(!help.stdout.contains("compile-component"), "{}", help.stdout);
    let mut line = bare();
    line.arg("compile-component").args([
        "--engine",
        "1",
        "--cpu-ms",
        "1000",
        "--memory-bytes",
        "100000000",
        "--nice",
        "0",
    ]);
    let other = Program::start(&mut line).finish();
    assert_eq!((other.code, other.stdout.as_str()), (Some(11), ""));
    assert_eq!(other.stderr, "it is of another version than the server; restart the server\n");
}

fn signal(name: &str, process: &str) {
    let line = format!("kill -{name} {process}");
    let sent = Command::new("sh").args(["-c", &line]).status().expect("there is a shell");
    assert!(sent.success(), "{line}: {sent}");
}

/// A process that nobody has waited for yet has ended all the same, and has no command line any more.
fn is_compiling(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/cmdline")).is_ok_and(|line| line.contains("compile-component"))
}
