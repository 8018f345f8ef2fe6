//! `switchboard serve`: serves until it is told to stop.
//!
//! Prints the address and the routes to stdout, everything else to the log. SIGHUP has the configuration read again, as a
//! change of its file does; SIGINT and SIGTERM stop the server.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::compile;
use crate::app::settings::Settings;
use crate::app::{App, listening};
use crate::config::Config;

/// Added to the number of a signal, the exit code of what it killed.
const KILLED: i32 = 128;

/// Serves with what the configuration says.
pub fn run(config: &Config, take_over: bool) -> Result<()> {
    let listeners = if take_over { listening::take_over } else { listening::bind_or_adopt };
    let mut app = App::start_on(config, &compile::options()?, listeners)?;
    reread_at_hangup(app.settings())?;
    announce(&app);
    wait_for_end(app.succeeded())?;
    app.stop();
    Ok(())
}

/// Has the configuration read again at each SIGHUP; those that come while it is read are one.
fn reread_at_hangup(settings: &Arc<Settings>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("no runtime for signals")?;
    let mut hangups = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    let settings = Arc::downgrade(settings);
    let reread = move || {
        while runtime.block_on(hangups.recv()).is_some() {
            let Some(settings) = settings.upgrade() else { return };
            // What is wrong is in the log.
            let _reported = settings.reread();
        }
    };
    std::thread::Builder::new().name("hangup".into()).spawn(reread).context("no thread for signals")?;
    Ok(())
}

/// The addresses and the routes, for whoever started the server.
pub fn announce(app: &App) {
    let mut text: String = app.places().iter().map(|place| format!("listening on {place}\n")).collect();
    for route in app.routes() {
        text.push_str(&format!("  {route}\n"));
    }
    // A closed stdout is no reason not to serve.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Returns at the first SIGINT or SIGTERM, or when another process has taken over. A second one ends the process at once, for a server that does not stop, with the
/// exit code that shells give to what such a signal killed.
pub fn wait_for_end(succeeded: impl Future<Output = ()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("no runtime for signals")?;
    // Made once, so that no signal falls between the first and the second.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    runtime.block_on(async {
        tokio::select! {
            _ = signals.next() => {}
            () = succeeded => {}
        }
    });
    tracing::info!("stopping; open connections are closed with 1012");
    std::thread::spawn(move || {
        let number = runtime.block_on(signals.next());
        std::process::exit(KILLED + number.as_raw_value());
    });
    Ok(())
}

/// The signals that stop a server.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }
}
