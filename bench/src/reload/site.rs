//! A folder that a server serves plugins from, and how another build takes a plugin's place there.
//!
//! Builds differ by their stamp alone, which is written over the one in the component that `bench/plugin` makes. New files
//! are written next to the folder first, since what is watched is the folder, and then renamed into it.
//! Invariant: no two builds of one run are the same, unless one is asked for again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::peer::Program;
use crate::prepare;

/// What the plugin is asked for its stamp.
pub const QUESTION: &str = "?";
/// The stamp that the component has from its source.
const STAMP: &str = "stamp 00000000";
const COMPONENT: &str = "target/guests/wasm32-wasip2/guest/stamped.wasm";

pub struct Site {
    folder: PathBuf,
    component: Vec<u8>,
    made: u32,
}

/// A build that lies next to the folder.
pub struct Staged {
    file: PathBuf,
    plugin: &'static str,
    /// What it answers.
    pub stamp: String,
}

impl Site {
    /// A folder with these plugins, each as the handler of a path. All of them are the stamped one.
    pub fn new(server: &Path, name: &str, plugins: &[(&'static str, &str)]) -> Result<Self> {
        prepare::build(server, Path::new("bench/plugin"))?;
        let component = prepare::workspace_root()?.join(COMPONENT);
        let component = fs::read(&component).with_context(|| format!("reading {}", component.display()))?;
        let folder = prepare::empty_folder(name)?;
        let mut site = Self { folder, component, made: 0 };
        let mut configuration = String::new();
        for (plugin, path) in plugins {
            let first = site.stage(plugin, |component| component)?;
            site.put(&first)?;
            configuration += &format!(
                "[plugins.{plugin}]\npath = '{plugin}.wasm'\n[[route]]\npath = '{path}'\nhandler = '{plugin}'\n"
            );
        }
        fs::write(site.folder.join("switchboard.toml"), configuration)?;
        Ok(site)
    }

    pub fn program(&self, server: &Path) -> Result<Program> {
        prepare::switchboard_on(server, "serve", &self.folder)
    }

    /// Makes another build of a plugin, after `change`.
    pub fn stage(&mut self, plugin: &'static str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<Staged> {
        self.made += 1;
        let stamp = format!("stamp {:08}", self.made);
        let component = change(stamped(&self.component, &stamp)?);
        let file = self.folder.with_extension(format!("{:08}.wasm", self.made));
        fs::write(&file, component).with_context(|| format!("writing {}", file.display()))?;
        Ok(Staged { file, plugin, stamp })
    }

    /// Puts a build in the place of what is there.
    pub fn put(&self, Staged { file, plugin, .. }: &Staged) -> Result<()> {
        fs::rename(file, self.folder.join(format!("{plugin}.wasm"))).context("replacing a component")
    }
}

impl Staged {
    /// The same content once more, for a server that has had it.
    pub fn again(&self, site: &Site) -> Result<Self> {
        let file = self.file.with_extension("again");
        fs::copy(site.folder.join(format!("{}.wasm", self.plugin)), &file)?;
        Ok(Self { file, plugin: self.plugin, stamp: self.stamp.clone() })
    }
}

fn stamped(component: &[u8], stamp: &str) -> Result<Vec<u8>> {
    let places: Vec<_> =
        component.windows(STAMP.len()).enumerate().filter(|(_, found)| *found == STAMP.as_bytes()).collect();
    ensure!(places.len() == 1, "the component of bench/plugin has its stamp {} times", places.len());
    let mut component = component.to_vec();
    component[places[0].0..][..stamp.len()].copy_from_slice(stamp.as_bytes());
    Ok(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_takes_the_place_of_the_one_that_is_there() {
        let made = stamped(b"before stamp 00000000 after", "stamp 00000007").unwrap();
        assert_eq!(made, b"before stamp 00000007 after");
        assert!(stamped(b"none", "stamp 00000007").is_err());
        assert!(stamped(&STAMP.repeat(2).into_bytes(), "stamp 00000007").is_err());
    }
}
