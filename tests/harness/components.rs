//! Compiled components, found by their names.
//!
//! A server of a test gets copies of the files that its configuration names, so that a test may overwrite them.

use std::path::{Path, PathBuf};

use switchboard::cli::build;

/// The files `NAME.wasm` of some folders.
#[derive(Clone, Debug, Default)]
pub struct Components {
    folders: Vec<PathBuf>,
}

impl Components {
    /// The components of this folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folders: vec![folder.into()] }
    }

    /// And those of another folder; where both have a name, the first one counts.
    pub fn and_in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.push(folder.into());
        self
    }

    /// Builds plugins by a shell command that is run in `folder`, the way `switchboard build` does, target included.
    /// Panics where that fails; the compiler has said why.
    pub fn build(command: &str, folder: &Path) {
        if let Err(error) = build::run("of the tests", command, folder) {
            panic!("{error:#}");
        }
    }

    /// The file of a component, if it is in one of the folders.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let files = self.folders.iter().map(|folder| folder.join(format!("{name}.wasm")));
        files.into_iter().find(|file| file.is_file())
    }

    /// The content of a component as another build of the same source has it: it does the same and is another file, by a
    /// custom section at its end. The same number gives the same file. Panics where there is none of this name.
    pub fn rebuilt(&self, name: &str, number: usize) -> Vec<u8> {
        [&self.bytes(name)[..], &[0, 10, 1, b'v'], &(number as u64).to_be_bytes()].concat()
    }

    /// The content of a component. Panics where there is none of this name.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let file = self.find(name).unwrap_or_else(|| panic!("there is no {name}.wasm in {:?}", self.folders));
        std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }
}
