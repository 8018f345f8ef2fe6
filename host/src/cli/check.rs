//! `switchboard check`: says whether a server would start, and what it would serve. Made for CI.
//!
//! The configuration was read before; here every plugin is loaded as a server would load it, without the stand-in of the
//! last good one, and the routing table is printed.

use anyhow::Result;

use super::compile;
use crate::app::{Loaded, Options};
use crate::config::Config;

/// Checks all, prints the table.
pub fn run(config: &Config) -> Result<()> {
    // Nothing of a check stays, neither a cache nor a last good component, and two of them do not meet.
    let own = config.state.join(format!("check-{}", std::process::id()));
    let options = Options { watch: false, ..compile::options()? };
    let checked = Loaded::new(&Config { state: own.clone(), ..config.clone() }, &options);
    let _ = std::fs::remove_dir_all(&own);
    // Goes only where it is empty, which is where there has never been a server.
    let _ = std::fs::remove_dir(&config.state);
    let loaded = checked?;
    for line in loaded.table() {
        println!("{line}");
    }
    Ok(())
}
