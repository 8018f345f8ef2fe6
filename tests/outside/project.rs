//! A project of somebody who writes a plugin: a folder with `switchboard.toml`, and a crate that is no part of this workspace.
//!
//! It lies in the target folder under the name of its test, so that a second run finds most of it compiled. All crates
//! share the target folder of the repository's own guests; each has its own name there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::switchboard::{example, repository, target};

/// A folder that belongs to one test.
pub struct Project {
    name: String,
    folder: PathBuf,
}

impl Project {
    /// An empty folder. The name is unique among the tests.
    pub fn new(name: &str) -> Self {
        let folder = target().join("outside/projects").join(name);
        // What an earlier run left; there is nothing to remove in the first.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the target folder can be written");
        Self { name: name.to_owned(), folder }
    }

    /// With a crate that holds this source, and a configuration that builds and watches it as the handler of `/ws`.
    pub fn with_plugin(name: &str, source: &str) -> Self {
        // What all plugins depend on is compiled now, and what a test waits for later is one small crate.
        example("echo");
        let project = Self::new(name);
        let lock = fs::read(repository().join("Cargo.lock")).expect("the repository has it");
        project.write("Cargo.lock", lock);
        project.write("Cargo.toml", manifest(name));
        project.write("src/lib.rs", source);
        project.write("switchboard.toml", project.configuration());
        project
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of the project.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Writes a file in place, as most tools do.
    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("the folder can be written");
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Puts something in the place of what a file holds, as somebody who edits it.
    pub fn replace(&self, file: &str, old: &str, new: &str) {
        let before = fs::read_to_string(self.path(file)).expect("it was written before");
        assert!(before.contains(old), "{file} holds no `{old}`:\n{before}");
        self.write(file, before.replace(old, new));
    }

    /// Where the built component lies.
    pub fn component(&self) -> PathBuf {
        guests().join(format!("wasm32-wasip2/guest/{}.wasm", self.name))
    }

    fn configuration(&self) -> String {
        let (name, component, guests) = (&self.name, self.component(), guests());
        format!(
            "[plugins.{name}]
path = '{}'
build = 'cargo build --offline --target wasm32-wasip2 --profile guest --target-dir {}'
watch = ['src']

[[route]]
path = '/ws'
handler = '{name}'
",
            component.display(),
            guests.display()
        )
    }
}

/// The repository's own target folder of guests, as the examples name it.
pub fn guests() -> PathBuf {
    repository().join("target/guests")
}

/// The profile is the repository's, which is what lets the crates share what was compiled.
fn manifest(name: &str) -> String {
    let sdk = repository().join("guest-sdk");
    format!(
        "[package]
name = '{name}'
version = '0.1.0'
edition = '2024'

[lib]
crate-type = ['cdylib']

[dependencies]
serde = {{ version = '1', features = ['derive'] }}
switchboard-sdk = {{ path = '{}' }}

[profile.guest]
inherits = 'release'
debug = false
lto = 'thin'
strip = 'debuginfo'

[workspace]
",
        sdk.display()
    )
}
