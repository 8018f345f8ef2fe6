//! The command line with good input and bad: what is printed where, and the exit code.
//!
//! Whatever is wrong is one sentence on stderr with the file, the line and the key, or the plugin, and what would be right.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::program::Finished;
use crate::project::Project;
use crate::switchboard::{bare, example, example_component, repository, run, switchboard};

const PLUGIN: &str = "[plugins.echo]\npath = 'echo.wasm'\n";
const ROUTE: &str = "[[route]]\npath = '/ws'\nhandler = 'echo'\n";

/// What `check` and `serve` say alike about a project that is wrong, without the "error: " in front.
pub fn refused(project: &Path) -> String {
    let check = run(&mut switchboard("check", project));
    let serve = run(switchboard("serve", project).args(["--listen", "127.0.0.1:0"]));
    assert_eq!(failure(&check), failure(&serve), "check and serve");
    failure(&check)
}

fn failure(ended: &Finished) -> String {
    let Finished { code, stdout, stderr } = ended;
    assert_eq!((*code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let message = stderr.strip_prefix("error: ").unwrap_or_else(|| panic!("no error, but {stderr}"));
    message.trim_end().to_owned()
}

#[test]
fn a_configuration_that_is_not_there_says_what_to_name() {
    let project = Project::new("no_configuration");
    let advice = "the file does not exist; name a folder with a switchboard.toml, or the file itself";
    for (named, shown) in [("", "switchboard.toml"), ("nowhere", "nowhere"), ("other.toml", "other.toml")] {
        let shown = project.path(shown);
        assert_eq!(refused(&project.path(named)), format!("{}: {advice}", shown.display()));
    }
}

/// At the least memory that can be configured a plugin does compile.
#[test]
fn memory_for_compiling_that_no_plugin_can_do_with_is_refused() {
    let project = Project::new("compile_memory");
    project.write("echo.wasm", fs::read(example_component("echo")).expect("the example was built"));
    let limited = |bytes: u64| {
        project.write("switchboard.toml", format!("[server.limits]\ncompile-memory-bytes = {bytes}\n{PLUGIN}{ROUTE}"));
    };
    limited(32 * 1024 * 1024 - 1);
    let said = refused(project.folder());
    assert!(said.contains(":compile-memory-bytes: must be at least 33554432 (32 MiB)"), "{said}");
    limited(32 * 1024 * 1024);
    let checked = run(&mut switchboard("check", project.folder()));
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
}

#[test]
fn what_is_wrong_in_the_configuration_is_said_with_file_line_and_key() {
    let project = Project::new("wrong_configuration");
    let file = project.path("switchboard.toml");
    let cases = [
        (
            format!("{PLUGIN}{ROUTE}{ROUTE}"),
            "7:path: the route on line 4 has the same pattern; a path can lead to one route only",
        ),
        (
            format!("{PLUGIN}[[route]]\npath = '/ws'\nhandler = 'ecko'\n"),
            "5:handler: there is no plugin `ecko`; there are: echo",
        ),
        (format!("{PLUGIN}{ROUTE}middleware = ['log']\n"), "6:middleware: there is no plugin `log`; there are: echo"),
        (
            format!("{PLUGIN}{ROUTE}origin = []\n"),
            "6:origin: unknown key `origin`, expected one of `name`, `path`, `handler`, `middleware`, `origins`, `idle-ms`, `max-connections`, `when-full`, `slow`, `compression`, `limits`",
        ),
        (format!("{PLUGIN}[[route]]\npath = '/ws'\n"), "3:route: missing key `handler`"),
        (format!("{PLUGIN}{ROUTE}name = 3\n"), "6:name: invalid type: integer `3`, expected a string"),
        (format!("{PLUGIN}[[route]\n"), "3:route: unclosed array table, expected `]`"),
        (
            format!("[server]\nlisten = 'here'\n{PLUGIN}{ROUTE}"),
            "2:listen: `here` is not an address; write it like `127.0.0.1:8080`, or `unix:/run/switchboard.sock`",
        ),
        (format!("{PLUGIN}{ROUTE}[[static]]\npath = 'files'\nfolder = '.'\n"), "7:path: `files` must begin with '/'"),
    ];
    for (configuration, problem) in cases {
        project.write("switchboard.toml", configuration);
        assert_eq!(refused(project.folder()), format!("{}:{problem}", file.display()));
        assert_eq!(refused(&file), format!("{}:{problem}", file.display()), "named as a file");
    }
}

#[test]
fn a_bad_pattern_says_what_a_good_one_looks_like() {
    let project = Project::new("bad_pattern");
    let file = project.path("switchboard.toml");
    let cases = [
        ("ws", "`ws` must begin with '/'"),
        ("/{id", "`{id`: a capture is a whole segment, like `{name}` or `{id:int}`"),
        ("/a{id}", "`a{id}`: a capture is a whole segment, like `{name}` or `{id:int}`"),
        ("/{id:nmber}", "`nmber` is not a kind of capture; there are str, int, float, uuid, slug, path"),
        ("/{a:path}/x", "a capture of kind `path` takes all the rest, so it must be the last segment"),
    ];
    for (pattern, problem) in cases {
        project.write("switchboard.toml", format!("{PLUGIN}[[route]]\npath = '{pattern}'\nhandler = 'echo'\n"));
        assert_eq!(refused(project.folder()), format!("{}:4:path: {problem}", file.display()));
    }
}

#[test]
fn one_run_shows_all_that_is_wrong() {
    let project = Project::new("all_wrong");
    project.write(
        "switchboard.toml",
        "[server]\nlisten = 'x'\n[[route]]\npath = 'a'\nhandler = 'b'\n[[route]]\npath = '/a'\nhandler = 'c'\n",
    );
    let said = refused(project.folder());
    let places: Vec<_> = said.lines().filter_map(|line| line.split("switchboard.toml:").nth(1)).collect();
    let keys: Vec<_> = places.iter().map(|place| place.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(keys, ["2:listen", "4:path", "8:handler"], "{said}");
}

#[test]
fn a_bad_address_on_the_line_is_named_with_a_good_one() {
    for listen in ["here", "127.0.0.1", "8080", "127.0.0.1:99999"] {
        let ended = run(switchboard("serve", &example("echo")).args(["--listen", listen]));
        let like = "write it like `127.0.0.1:8080`, or `unix:/run/switchboard.sock`";
        let said = format!("--listen: `{listen}` is not an address; {like}");
        assert_eq!(failure(&ended), said);
    }
}

#[test]
fn a_configuration_that_serves_nothing_is_refused() {
    let project = Project::new("serves_nothing");
    project.write("switchboard.toml", "[server]\nworkers = 1\n");
    let file = project.path("switchboard.toml");
    let told = "there is no [[route]] and no [[static]], so nothing would be served";
    assert_eq!(refused(project.folder()), format!("{}: {told}", file.display()));
}

#[test]
fn an_address_in_use_is_said_with_the_ways_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let ended = run(switchboard("serve", &example("echo")).args(["--listen", &address]));
    let ways_out = "stop the other server, or take another address with `--listen` (port 0 takes a free one)";
    assert_eq!(failure(&ended), format!("{address} is in use; {ways_out}"));
}

#[test]
fn check_prints_each_route_with_its_chain() {
    let table = |name| {
        let ended = run(&mut switchboard("check", &example(name)));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
        ended.stdout
    };
    assert_eq!(table("echo"), "/ws  echo\n");
    assert_eq!(table("chat"), "/ws  chat\n");
    assert_eq!(table("middleware"), "/api/ws  echo  behind global-1 > global-2 > router-1 > route-1\n");
}

#[test]
fn check_leaves_nothing_behind() {
    let project = Project::new("check_leaves");
    project.write("echo.wasm", fs::read(example_component("echo")).expect("the example was built"));
    project.write("switchboard.toml", format!("{PLUGIN}{ROUTE}"));
    assert_eq!(run(&mut switchboard("check", project.folder())).code, Some(0));
    let left: Vec<_> = fs::read_dir(project.folder()).expect("it is there").flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_build_that_fails_or_makes_something_else_is_named_with_its_plugin() {
    let project = Project::new("failing_build");
    let build = |command: &str| {
        project.write("switchboard.toml", format!("{PLUGIN}build = '{command}'\n{ROUTE}"));
        failure(&run(&mut switchboard("build", project.folder())))
    };
    assert_eq!(build("exit 3"), "plugin echo: `exit 3` failed (exit status: 3)");
    let path = project.path("echo.wasm");
    let said = format!(
        "plugin echo: `true` succeeded, but there is no {}; correct `path`, or what `build` makes",
        path.display()
    );
    assert_eq!(build("true"), said);
}

#[test]
fn a_build_without_anything_to_build_says_so() {
    let project = Project::new("nothing_to_build");
    project.write("switchboard.toml", format!("{PLUGIN}{ROUTE}"));
    let ended = run(&mut switchboard("build", project.folder()));
    let file = project.path("switchboard.toml");
    let said = format!("nothing to build: no plugin of {} has `build`\n", file.display());
    assert_eq!((ended.code, ended.stderr), (Some(0), said));
}

#[test]
fn a_mistyped_line_ends_with_2_and_the_usage() {
    let lines: [&[&str]; 5] =
        [&[], &["srve"], &["serve", "--port", "1"], &["check", "a", "b"], &["check", "--listen", "x"]];
    for line in lines {
        let ended = run(bare().args(line));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{line:?}");
        assert!(ended.stderr.contains("Usage: switchboard"), "{line:?}: {}", ended.stderr);
    }
}

#[test]
fn every_command_has_a_help() {
    let help = |line: &[&str]| {
        let ended = run(bare().args(line).arg("--help"));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line:?}");
        ended.stdout
    };
    let all = help(&[]);
    for command in ["serve", "dev", "build", "check"] {
        assert!(all.contains(&format!("\n  {command} ")), "{all}");
        let own = help(&[command]);
        assert!(own.contains("A folder with switchboard.toml, or the file"), "{own}");
        assert_eq!(own.contains("--listen <ADDRESS:PORT>"), ["serve", "dev"].contains(&command), "{own}");
    }
    let version = run(bare().arg("--version"));
    assert_eq!((version.code, version.stdout), (Some(0), format!("switchboard {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn without_a_project_the_current_folder_is_meant() {
    example("echo");
    let ended = run(bare().arg("check").current_dir(repository().join("examples/echo")));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "/ws  echo\n"));
}
