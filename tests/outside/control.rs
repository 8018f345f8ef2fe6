//! Commands to a running server: what the plugins are doing, and going forth and back between generations.
//!
//! The real binary on both ends. What a roll-back does to connections is in `it/rollout`; here it is what people type, what
//! they are told, and who may.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::guests::rebuilt;
use crate::program::Finished;
use crate::project::Project;
use crate::switchboard::{Server, bare, example_component, run, switchboard};

/// Something asked of the server of this project.
fn ask(words: &[&str], project: &Path) -> Finished {
    run(bare().args(words).arg(project))
}

/// The one line that comes of a command that works.
fn done(words: &[&str], project: &Path) -> String {
    let Finished { code, stdout, stderr } = ask(words, project);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}");
    stdout.trim_end().to_owned()
}

/// Why a command does not work.
fn refused(words: &[&str], project: &Path) -> String {
    let Finished { code, stdout, stderr } = ask(words, project);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{words:?}");
    stderr.trim_end().trim_start_matches("error: ").to_owned()
}

/// The echo in another build that does the same.
fn echo(number: usize) -> Vec<u8> {
    rebuilt(&fs::read(example_component("echo")).expect("the example was built"), number)
}

#[test]
fn generations_go_forth_and_back_by_command() {
    let project = Project::new("control");
    // Not watched by accident: the file is read when the command says so.
    project.write("echo.wasm", echo(1));
    project
        .write("switchboard.toml", "[plugins.echo]\npath = 'echo.wasm'\n[[route]]\npath = '/ws'\nhandler = 'echo'\n");
    let folder = project.folder();
    let nobody = refused(&["plugins"], folder);
    assert!(nobody.starts_with("no server answers at ") && nobody.contains("control.sock"), "{nobody}");

    let server = Server::serve(folder);
    assert!(done(&["plugins"], folder).starts_with("echo  generation 1  "));
    let mode = fs::metadata(project.path(".switchboard/control.sock")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may use it");
    assert_eq!(refused(&["promote", "echo"], folder), "plugin echo: there is no roll-out at present");
    assert_eq!(refused(&["rollback", "echo"], folder), "plugin echo: there is no generation to go back to");
    assert_eq!(refused(&["reload", "ecko"], folder), "there is no plugin `ecko`; there are: echo");

    project.write("echo.wasm", echo(2));
    // The watcher may have been faster; then there is a canary all the same.
    let answer = done(&["reload", "echo", "--canary", "30"], folder);
    assert!(answer.contains("generation 2 ") && answer.contains(" takes 30 % of the connections"), "{answer}");
    let shown = done(&["plugins"], folder);
    assert!(shown.contains("rolled out to 30 % of the connections, in place of generation 1"), "{shown}");
    let again = done(&["reload", "echo", "--canary", "50"], folder);
    assert_eq!(again, "plugin echo: generation 2 was rolled out already and takes 50 % of the connections now");
    assert_eq!(done(&["promote", "echo"], folder), "plugin echo: generation 2 takes all connections");
    assert_eq!(done(&["rollback", "echo"], folder), "plugin echo: generation 1 serves again in place of 2");

    let rejected = refused(&["reload", "echo"], folder);
    assert!(rejected.contains("because it was rolled back by command") && rejected.contains("--force"), "{rejected}");
    assert!(done(&["reload", "echo", "--force"], folder).starts_with("plugin echo: generation 3 serves, after "));
    assert_eq!(done(&["rollback", "echo"], folder), "plugin echo: generation 1 serves again in place of 3");

    project.write("echo.wasm", "no component");
    let wrong = refused(&["reload", "echo"], folder);
    assert!(wrong.contains("is not WebAssembly"), "{wrong}");
    let shown = done(&["plugins"], folder);
    assert!(shown.contains("not loaded: plugin echo: ") && shown.starts_with("echo  generation 1"), "{shown}");
    server.program.signal("TERM");
    assert_eq!(server.program.finish().code, Some(0));
    assert!(!project.path(".switchboard/control.sock").exists(), "it goes with the server");
}

#[test]
fn a_line_that_is_mistyped_is_told_so() {
    let mistyped = run(bare().args(["reload", "echo", "--canary", "100"]));
    assert_eq!(mistyped.code, Some(2), "{}", mistyped.stderr);
    assert_eq!(run(&mut switchboard("rollback", Path::new("--help"))).code, Some(0));
}
