//! The folder that a server under attack serves from: components beside `switchboard.toml`, and a file for each tenant.
//!
//! The component of those that behave is `bench/plugin`, which echoes; the others are the guests of the tests, built as the
//! tests build them. `breaker-faults = 0` keeps the server from taking an attacker's plugin out of service, which would end
//! most attacks after a hundred faults.
//! Invariant: a file of a tenant appears whole, by a rename, since the folder is watched.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::corpus::{Attack, Callback, Component, Means, TENANT};
use super::hostile_bytes;
use crate::peer::Program;
use crate::prepare;

/// The tenant that is measured.
pub const MODEST: &str = "modest";
const BUILT: &str = "target/guests/wasm32-wasip2/guest";
/// Of the guests of the tests; a server of an attack finds all of them.
const GUESTS: [&str; 3] = ["hostile", "metronome", "puppet"];
const DEBUGGED: &str = "target/guests-debug/wasm32-wasip2/guest/examples/hostile.wasm";

#[derive(Clone)]
pub struct Site {
    folder: PathBuf,
}

/// Builds all components. Called once, since cargo looks at all that they are made of.
pub fn build_guests() -> Result<()> {
    let mut arguments = vec!["build", "--quiet", "--target", "wasm32-wasip2", "--profile", "guest"];
    arguments.extend(["--package", "switchboard-test-guests", "--example", "hostile"]);
    let debugged = ["--target-dir", "target/guests-debug"];
    let variables = [("CARGO_PROFILE_GUEST_DEBUG", "full"), ("CARGO_PROFILE_GUEST_STRIP", "none")];
    prepare::cargo(&[&arguments[..], &debugged].concat(), &variables)?;
    arguments.extend(GUESTS.iter().flat_map(|name| ["--example", name]));
    arguments.extend(["--lib", "--package", "switchboard-bench-plugin", "--target-dir", "target/guests"]);
    prepare::cargo(&arguments, &[])
}

impl Site {
    /// A server with this many workers and these limits, and no tenant yet.
    pub fn new(workers: usize, limits: &str) -> Result<Self> {
        let folder = prepare::empty_folder("attacks")?;
        let site = Self { folder };
        let built = prepare::workspace_root()?.join(BUILT);
        site.copy(&built.join("stamped.wasm"), "modest.wasm")?;
        for name in GUESTS {
            site.copy(&built.join(format!("examples/{name}.wasm")), &format!("{name}.wasm"))?;
        }
        fs::create_dir(site.folder.join("tenants"))?;
        let limits = limits.replace(", ", "\n");
        site.write(
            "switchboard.toml",
            format!("[server]\nworkers = {workers}\n[server.limits]\n{limits}\n").as_bytes(),
        )?;
        Ok(site)
    }

    pub fn program(&self, server: &Path) -> Result<Program> {
        prepare::switchboard_on(server, "serve", &self.folder)
    }

    /// A tenant that echoes.
    pub fn add_modest(&self, name: &str) -> Result<()> {
        self.add_tenant(name, "[plugins.echo]\npath = '../modest.wasm'\n[[route]]\npath = '/ws'\nhandler = 'echo'\n")
    }

    pub fn add_tenant(&self, name: &str, toml: &str) -> Result<()> {
        self.write(&format!("tenants/{name}.toml"), toml.as_bytes())
    }

    pub fn remove_tenant(&self, name: &str) -> Result<()> {
        fs::remove_file(self.folder.join(format!("tenants/{name}.toml"))).context("removing a tenant")
    }

    /// Puts a file there, or in the place of the one that is there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        // Beside the folder, as what lies in it is watched.
        let staged = self.folder.with_extension("staged");
        fs::write(&staged, bytes).with_context(|| format!("writing {}", staged.display()))?;
        fs::rename(&staged, self.folder.join(name)).with_context(|| format!("replacing {name}"))
    }

    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        fs::read(self.folder.join(name)).with_context(|| format!("reading {name}"))
    }

    fn copy(&self, from: &Path, name: &str) -> Result<()> {
        fs::copy(from, self.folder.join(name)).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    }

    /// Puts the component there that an attack needs beside those that are there.
    pub fn add_component(&self, attack: &Attack) -> Result<()> {
        let bytes = match attack.means {
            Means::Words(Component::Text(name), _) => hostile_bytes::attack(name),
            Means::Words(Component::Recursion, _) => hostile_bytes::endless_recursion(hostile_bytes::LONGEST_NAME),
            Means::Words(Component::Handles, _) => hostile_bytes::handles(),
            Means::Words(Component::Debugged, _) => fs::read(prepare::workspace_root()?.join(DEBUGGED))?,
            Means::Swaps(_) => hostile_bytes::attack("plain"),
            _ => return Ok(()),
        };
        self.write("own.wasm", &bytes)
    }
}

/// The file of the tenant that attacks like this.
pub fn tenant(attack: &Attack) -> String {
    let mut toml = tenant_within(attack.limits);
    match attack.means {
        Means::Words(Component::Scripted, _) => toml += &scripted(),
        Means::Words(..) | Means::Swaps(_) => toml += &plugin("own.wasm"),
        Means::Panics(callbacks) => toml += &plugins("panic", callbacks),
        Means::Answers(callbacks) => toml += &plugins("result", callbacks),
        Means::Services => toml += SERVICES,
        Means::Wire(_) => toml += ECHO,
    }
    toml
}

/// One with the scripted guest on `/ws`.
pub fn scripted_tenant() -> String {
    tenant_within("") + &scripted()
}

fn tenant_within(limits: &str) -> String {
    let comma = if limits.is_empty() { "" } else { ", " };
    format!("[tenant]\nlimits = {{ breaker-faults = 0{comma}{limits} }}\n[[room]]\nname = 'kept-*'\nkeep = 10\n")
}

fn scripted() -> String {
    plugin("hostile.wasm")
}

/// Who does not read in time misses something and stays, so that an audience is there all the while.
fn plugin(file: &str) -> String {
    format!(
        "[plugins.{TENANT}]\npath = '../{file}'\n[[route]]\npath = '/ws'\nhandler = '{TENANT}'\nslow = 'drop-oldest'\n"
    )
}

/// A plugin for each callback, on a path of the same name, as a handler or around a puppet.
fn plugins(key: &str, callbacks: &[Callback]) -> String {
    let mut toml = "[plugins.puppet]\npath = '../puppet.wasm'\n".to_owned();
    for Callback { word, begin, .. } in callbacks {
        let route = match *begin {
            "around" => format!("handler = 'puppet'\nmiddleware = ['{word}']"),
            _ => format!("handler = '{word}'"),
        };
        // Writing to a string does not fail.
        let _ = write!(
            toml,
            "[plugins.{word}]\npath = '../hostile.wasm'\nconfig = {{ {key} = '{word}', begin = '{begin}' }}\n\
             [[route]]\npath = '/{word}'\n{route}\n"
        );
    }
    toml
}

/// What behaves; its clients do not.
const ECHO: &str = "[plugins.echo]\npath = '../modest.wasm'\n\
    [[route]]\npath = '/ws'\nhandler = 'echo'\ncompression = true\n";

/// Three services, and somebody who hears what one of them publishes.
const SERVICES: &str = "[plugins.puppet]\npath = '../puppet.wasm'\n\
    [[route]]\npath = '/ws'\nhandler = 'puppet'\nslow = 'drop-oldest'\n\
    [plugins.start]\npath = '../metronome.wasm'\nconfig = { start = 'trap at once' }\n\
    [plugins.tick]\npath = '../metronome.wasm'\nconfig = { tick = 'spin', every = '0' }\n\
    [plugins.flood]\npath = '../metronome.wasm'\nconfig = { tick = 'repeat 1000 publish @all x', every = '0' }\n";

#[cfg(test)]
mod tests {
    use super::super::corpus;
    use super::*;

    #[test]
    fn no_attack_is_ended_by_the_breaker() {
        assert!(corpus::all().iter().all(|attack| tenant(attack).contains("limits = { breaker-faults = 0")));
        assert!(tenant_within("timers = 1").contains("limits = { breaker-faults = 0, timers = 1 }"));
    }

    #[test]
    fn a_callback_has_a_plugin_and_a_route() {
        let callbacks = [Callback { word: "in", begin: "around", message: "" }];
        let toml = plugins("panic", &callbacks);
        assert!(toml.contains("config = { panic = 'in', begin = 'around' }"), "{toml}");
        assert!(toml.contains("path = '/in'\nhandler = 'puppet'\nmiddleware = ['in']\n"), "{toml}");
    }
}
