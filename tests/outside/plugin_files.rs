//! Plugin files that are not what they should be: each is refused with the plugin's name, the file, and what would be right.
//!
//! What is wrong is made from the echo, byte for byte, or built. No server has run in these folders, so none has a
//! component from before that could stand in.

use std::fs;

use crate::commands::refused;
use crate::project::Project;
use crate::switchboard::{example_component, repository, run, switchboard};

/// The smallest component: the eight bytes that all begin with.
const BARE: &[u8] = b"\0asm\x0d\0\x01\0";
/// The smallest core module.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A plugin that was built against another draft of the contract: its functions have the same names and take nothing.
const OTHER_DRAFT: &str = "wit_bindgen::generate!({ inline: \"
    package switchboard:ws@0.1.0;
    interface handler { on-connect: func(); on-message: func(); on-disconnect: func(); }
    world plugin { export handler; }
\" });

struct Own;

impl exports::switchboard::ws::handler::Guest for Own {
    fn on_connect() {}
    fn on_message() {}
    fn on_disconnect() {}
}
export!(Own);
";

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

/// The echo with one name in it replaced by another of the same length, which leaves a component that is valid.
fn renamed(old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len(), "{old} and {new}");
    let mut bytes = fs::read(example_component("echo")).expect("the example was built");
    let places: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(old.as_bytes())).collect();
    assert!(!places.is_empty(), "the echo holds no {old}");
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
    bytes
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
    let said = complaint(&project("plugin_core", MODULE));
    assert_eq!(said, "is a core module, not a component; build it for the target wasm32-wasip2");
}

#[test]
fn a_file_that_is_not_whole() {
    let whole = fs::read(example_component("echo")).expect("the example was built");
    let said = complaint(&project("plugin_half", &whole[..whole.len() / 2]));
    assert!(said.starts_with("does not compile, it may be damaged or incomplete: "), "{said}");
}

#[test]
fn a_component_of_another_world() {
    let needed = "is used as a route's handler, but exports nothing of switchboard:ws; it must export handler";
    assert_eq!(complaint(&project("plugin_bare", BARE)), needed);
}

#[test]
fn middleware_as_a_handler() {
    let log = fs::read(example_component("log")).expect("the example was built");
    let said = complaint(&project("plugin_log", log));
    assert_eq!(said, "is used as a route's handler, but exports gate, inbound, outbound; it must export handler");
}

#[test]
fn a_handler_as_middleware() {
    let project = project("plugin_role", fs::read(example_component("echo")).expect("the example was built"));
    project.replace("switchboard.toml", "handler = 'own'\n", "handler = 'own'\nmiddleware = ['own']\n");
    assert_eq!(
        complaint(&project),
        "is used as middleware, but exports handler; it must export gate, inbound or outbound"
    );
}

#[test]
fn a_version_of_the_contract_that_this_host_does_not_have() {
    for (name, interface) in [("plugin_import_version", "connections"), ("plugin_export_version", "handler")] {
        let [old, new] = ["0.1.0", "0.2.0"].map(|version| format!("switchboard:ws/{interface}@{version}"));
        let said = complaint(&project(name, renamed(&old, &new)));
        assert_eq!(said, format!("uses {new}, which this host does not have; rebuild it against switchboard:ws@0.1.0"));
    }
}

#[test]
fn an_import_that_nobody_offers_is_named() {
    let said =
        complaint(&project("plugin_import", renamed("switchboard:ws/connections", "someone-else:ws/connection")));
    let offer = "does not fit this host, which offers switchboard:ws@0.1.0, WASI 0.2 and wasi:config: ";
    assert!(said.starts_with(offer) && said.contains("`someone-else:ws/connection@0.1.0`"), "{said}");
}

#[test]
fn exports_of_other_types() {
    let project = Project::with_plugin("plugin_draft", OTHER_DRAFT);
    let sdk = format!("switchboard-sdk = {{ path = '{}' }}", repository().join("guest-sdk").display());
    project.replace(
        "Cargo.toml",
        &sdk,
        "wit-bindgen = { version = '*', default-features = false, features = ['macros', 'realloc'] }",
    );
    let built = run(&mut switchboard("build", project.folder()));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let said = refused(project.folder());
    assert!(said.starts_with("plugin plugin_draft: "), "{said}");
    assert!(said.contains("its exports have other types than those of switchboard:ws@0.1.0: "), "{said}");
}
