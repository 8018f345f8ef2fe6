//! `switchboard check`: says whether a server would start, and what it would serve. Made for CI.
//!
//! The configuration was read before; here every plugin is loaded as a server would load it, without the stand-in of the
//! last good one, and the routing table is printed.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::app::{Loaded, Options};
use crate::config::Config;

/// Checks all, prints the table.
pub fn run(config: &Config) -> Result<()> {
    // Nothing of a check stays, neither a cache nor a last good component, and two of them do not meet.
    let own = config.state.join(format!("check-{}", std::process::id()));
    let checked =
        Loaded::new(&Config { state: own.clone(), ..config.clone() }, &Options { watch: false, ..Options::default() });
    let _ = std::fs::remove_dir_all(&own);
    // Goes only where it is empty, which is where there has never been a server.
    let _ = std::fs::remove_dir(&config.state);
    let loaded = checked?;
    for line in loaded.table() {
        println!("{line}");
    }
    let mut unsupported = BTreeSet::new();
    for plugin in loaded.registry().plugins().values() {
        for interface in &plugin.current().unsupported {
            unsupported.insert(format!("plugin {}: `{interface}` is not supported by this host yet", plugin.name()));
        }
    }
    for line in &unsupported {
        eprintln!("warning: {line}");
    }
    Ok(())
}
