//! Plugin files that are not what they should be: each is refused with the plugin's name, the file, and what would be right.
//!
//! The components are written by hand as text; a server that is to start with one has no other that could stand in.

use std::fs;

use crate::commands::refused;
use crate::project::Project;
use crate::switchboard::{example, run, switchboard};

/// A component whose handler has functions of the right names and of other types.
const OTHER_TYPES: &str = r#"(component
  (core module $code (func (export "f")))
  (core instance $code (instantiate $code))
  (func $f (canon lift (core func $code "f")))
  (instance $handler (export "on-connect" (func $f)) (export "on-message" (func $f)) (export "on-disconnect" (func $f)))
  (export "switchboard:ws/handler@0.1.0" (instance $handler)))"#;

/// As `cargo build` makes it of a program instead of a library.
const PROGRAM: &str = r#"(component
  (core module $code (func (export "f")))
  (core instance $code (instantiate $code))
  (func $f (canon lift (core func $code "f")))
  (instance $run (export "run" (func $f)))
  (export "wasi:cli/run@0.2.0" (instance $run)))"#;

/// A project whose handler is a file that holds this.
fn project(name: &str, plugin: impl AsRef<[u8]>) -> Project {
    let project = Project::new(name);
    project.write("plugin.wasm", plugin);
    project
        .write("switchboard.toml", "[plugins.own]\npath = 'plugin.wasm'\n[[route]]\npath = '/ws'\nhandler = 'own'\n");
    project
}

/// What is said about it, without the plugin's name and the file, which are always there.
fn complaint(project: &Project) -> String {
    let said = refused(project.folder());
    let place = format!("plugin own: {} ", project.path("plugin.wasm").display());
    said.strip_prefix(&place).unwrap_or_else(|| panic!("`{said}` does not begin with `{place}`")).to_owned()
}

fn complaint_about(name: &str, component: &str) -> String {
    complaint(&project(name, wat::parse_str(component).expect("the text is right")))
}

#[test]
fn a_missing_file() {
    let project = project("plugin_missing", "");
    fs::remove_file(project.path("plugin.wasm")).expect("it was written");
    assert_eq!(complaint(&project), "does not exist; build it with `switchboard build`, or correct `path`");
}

#[test]
fn a_folder() {
    let project = project("plugin_folder", "");
    fs::remove_file(project.path("plugin.wasm")).expect("it was written");
    fs::create_dir(project.path("plugin.wasm")).expect("the name is free");
    assert_eq!(complaint(&project), "is not a file; `path` must name a WebAssembly component");
}

#[test]
fn no_webassembly() {
    let advice = "is not WebAssembly; `path` must name a component, as `cargo build --target wasm32-wasip2` makes";
    assert_eq!(complaint(&project("plugin_text", "fn main() {}")), advice);
    assert_eq!(complaint(&project("plugin_empty", "")), advice);
}

#[test]
fn a_core_module() {
    let module = wat::parse_str("(module)").expect("the text is right");
    let said = complaint(&project("plugin_core", module));
    assert_eq!(said, "is a core module, not a component; build it for the target wasm32-wasip2");
}

#[test]
fn a_file_that_is_not_whole() {
    let whole = wat::parse_str(PROGRAM).expect("the text is right");
    let said = complaint(&project("plugin_half", &whole[..whole.len() / 2]));
    assert!(said.starts_with("does not compile, it may be damaged or incomplete: "), "{said}");
}

#[test]
fn a_component_of_another_world() {
    let needed = "is used as a route's handler, but exports nothing of switchboard:ws; it must export handler";
    assert_eq!(complaint_about("plugin_bare", "(component)"), needed);
    assert_eq!(complaint_about("plugin_program", PROGRAM), needed);
}

#[test]
fn a_handler_as_middleware() {
    let project = project("plugin_role", fs::read(echo()).expect("the example was built"));
    project.replace("switchboard.toml", "handler = 'own'\n", "handler = 'own'\nmiddleware = ['own']\n");
    assert_eq!(
        complaint(&project),
        "is used as middleware, but exports handler; it must export gate, inbound or outbound"
    );
}

#[test]
fn a_version_of_the_contract_that_this_host_does_not_have() {
    for (name, component, interface) in [
        ("plugin_import_version", r#"(import "switchboard:ws/connections@0.2.0" (instance))"#, "connections"),
        ("plugin_export_version", r#"(instance $i) (export "switchboard:ws/handler@0.2.0" (instance $i))"#, "handler"),
    ] {
        let said = complaint_about(name, &format!("(component {component})"));
        let advice = "which this host does not have; rebuild it against switchboard:ws@0.1.0";
        assert_eq!(said, format!("uses switchboard:ws/{interface}@0.2.0, {advice}"));
    }
}

#[test]
fn an_import_that_nobody_offers_is_named() {
    let import = r#"(component (import "acme:db/query@1.0.0" (instance (export "run" (func)))))"#;
    let said = complaint_about("plugin_import", import);
    let offer = "does not fit this host, which offers switchboard:ws@0.1.0, WASI 0.2 and wasi:config: ";
    assert!(said.starts_with(offer) && said.contains("`acme:db/query@1.0.0`") && said.contains("`run`"), "{said}");
}

#[test]
fn exports_of_other_types() {
    let said = complaint_about("plugin_types", OTHER_TYPES);
    assert!(said.contains("its exports have other types than those of switchboard:ws@0.1.0: "), "{said}");
}

#[test]
fn what_this_host_cannot_do_yet_is_a_warning_of_check() {
    let source = "use std::time::Duration;
use switchboard_sdk::{Close, Connection, Handler, Message, export, store, timer};

#[derive(Default)]
struct Waits;

impl Handler for Waits {
    type State = ();
    fn message(&self, connection: &Connection, _: Message, _: &mut ()) -> Result<(), Close> {
        store::increment(\"seen\", 1, None)?;
        Ok(timer::set(connection, 1, Duration::from_secs(1))?)
    }
}
export!(Waits);
";
    let project = Project::with_plugin("plugin_waits", source);
    let built = run(&mut switchboard("build", project.folder()));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let check = run(&mut switchboard("check", project.folder()));
    let warning =
        |interface| format!("warning: plugin plugin_waits: `{interface}` is not supported by this host yet\n");
    let told = format!("/ws  plugin_waits\n{}{}", warning("store"), warning("timers"));
    assert_eq!((check.code, check.stdout), (Some(0), told));
}

fn echo() -> std::path::PathBuf {
    example("echo").join("../../target/guests/wasm32-wasip2/guest/echo.wasm")
}
