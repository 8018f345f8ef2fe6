//! The plugins of the tests: the fixtures of `tests/guests` and the first-party plugins, built once for all tests.
//!
//! A test names a component in its configuration, `path = "puppet.wasm"`, and gets it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use switchboard_harness::{Components, Setup, TestServer};

/// Everything that a configuration of a test may name.
const PACKAGES: [&str; 9] = [
    "switchboard-test-guests",
    "switchboard-plugin-auth-jwt",
    "switchboard-plugin-auth-token",
    "switchboard-plugin-chat",
    "switchboard-plugin-echo",
    "switchboard-plugin-log",
    "switchboard-plugin-login",
    "switchboard-plugin-rate-limit",
    "switchboard-plugin-whoami",
];

/// Build 1 of the plugin that says which build it is.
pub const ANSWERS: &str = r#"
    [plugins.answers]
    path = "answers_1.wasm"

    [[route]]
    path = "/ws"
    handler = "answers"
"#;

/// Starts a server with this configuration.
pub fn start(toml: &str) -> TestServer {
    setup(toml).start()
}

/// Starts a server with one route, `/ws`, and this component as its handler.
pub fn serving(component: &str) -> TestServer {
    serving_within("", component)
}

/// The same with these limits, which are keys of `[server.limits]`.
pub fn serving_within(limits: &str, component: &str) -> TestServer {
    start(&format!(
        r#"
        [server.limits]
        {limits}

        [plugins.{component}]
        path = "{component}.wasm"

        [[route]]
        path = "/ws"
        handler = "{component}"
        "#
    ))
}

/// A server with this configuration, still to be started.
pub fn setup(toml: &str) -> Setup {
    Setup::new(components(), toml)
}

/// All components, built when they are asked for first.
pub fn components() -> &'static Components {
    static BUILT: OnceLock<Components> = OnceLock::new();
    BUILT.get_or_init(|| {
        let (workspace, target) = (Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")), target());
        let packages: String = PACKAGES.iter().map(|name| format!(" --package {name}")).collect();
        let command = format!(
            "cargo build --quiet --lib --examples{packages} --target wasm32-wasip2 --profile guest --target-dir '{}'",
            target.display()
        );
        Components::build(&command, workspace);
        let built = target.join("wasm32-wasip2/guest");
        Components::in_folder(built.join("examples")).and_in_folder(built)
    })
}

/// A target folder of their own, as guests have a profile and a compile target of their own.
fn target() -> PathBuf {
    let outer = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    outer.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")).join("guests")
}
