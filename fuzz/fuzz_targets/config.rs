//! `switchboard.toml`: what is wrong is told with its place, and what is right can be served.
//!
//! Names of hosts would be looked up and files be read, so inputs that name any are left out.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use switchboard::config::Config;
use switchboard::limits::Limits;
use switchboard::routes::Routes;
use switchboard::tenants::Tenants;

/// Keys that have the resolver look at the system, beyond whether a folder is there.
const OUTSIDE: [&str; 4] = ["listen", "env", "file", "tenants"];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // An escape could spell one of them.
    if OUTSIDE.iter().any(|key| text.contains(key)) || text.contains('\\') {
        return;
    }
    let file = Path::new("/nowhere/switchboard.toml");
    match Config::parse(text, file) {
        Ok(config) => {
            let tenants = Tenants::new(&Limits::default());
            let routes = Routes::new(&config.routes, (&tenants, &config.tenants), None);
            assert!(routes.is_ok(), "a configuration without a problem has one: {:?}", routes.err());
        }
        Err(error) => {
            let lines = text.split('\n').count();
            assert!(!error.0.is_empty(), "something is wrong, and nobody knows what");
            for problem in &error.0 {
                assert!((1..=lines).contains(&problem.line), "{problem:?} in {lines} lines");
                assert!(!problem.message.trim().is_empty() && problem.file == file, "{problem:?}");
                assert!(!problem.message.contains('\n'), "one problem is one line: {problem:?}");
            }
        }
    }
});
