//! `[plugins.NAME]`: where components come from, and what they are given.
//!
//! A part of `config/resolve`, which has the problems and the folder that paths are relative to.
//! Invariant: a plugin's name can be part of a file's name.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;

use super::Resolver;
use crate::config::raw::{self, Text};
use crate::config::{Granted, Keys, PluginConfig, Target, Targets};

impl Resolver<'_> {
    pub(in crate::config) fn plugins(&mut self, plugins: BTreeMap<String, raw::Plugin>) {
        for (name, plugin) in plugins {
            if !is_plugin_name(&name) {
                self.problem(&plugin.path, &name, "a plugin's name has letters, digits, '-' and '_' only, at most 64");
            }
            let path = self.folder.join(plugin.path.as_ref());
            let watch = plugin.watch.iter().map(|entry| self.folder.join(entry.as_ref())).collect();
            let config = plugin.config.iter().map(|(key, value)| (key.clone(), self.scalar(key, value))).collect();
            let files = plugin.files.map(|files| self.folder(&files, "files"));
            let http = self.targets(&plugin.http);
            let (canary, canary_time) = self.canary(plugin.canary.as_ref(), plugin.canary_ms.as_ref());
            let plugin = PluginConfig {
                tenant: self.tenant,
                path,
                folder: self.folder.clone(),
                build: plugin.build,
                watch,
                files,
                keys: self.keys.clone(),
                grants: plugin.grants.as_deref().map_or(Granted::ALL, Granted::only),
                http,
                reuse: plugin.reuse,
                on_state_mismatch: plugin.on_state_mismatch,
                config,
                canary,
                canary_time,
            };
            self.plugins.insert(self.full_name(&name), plugin);
        }
    }

    fn targets(&mut self, entries: &[Text]) -> Targets {
        let mut targets = Vec::new();
        for entry in entries {
            match Target::parse(entry.as_ref()) {
                Ok(target) => targets.push(target),
                Err(message) => self.problem(entry, "http", message),
            }
        }
        Targets::new(targets)
    }

    /// Notes the keys that the files of all plugins to come have to be signed with.
    pub(in crate::config) fn signers(&mut self, keys: &[Text]) {
        let mut known = Vec::new();
        for key in keys {
            match Keys::parse(key.as_ref()) {
                Some(key) => known.push(key),
                None => self.problem(key, "keys", "a key is the 32 bytes of an Ed25519 public key in base64"),
            }
        }
        self.keys = Keys::new(known);
    }

    fn canary(&mut self, share: Option<&Spanned<u8>>, time: Option<&Spanned<u64>>) -> (Option<u8>, Option<Duration>) {
        if let Some(share) = share.filter(|share| !(1..=99).contains(share.as_ref())) {
            self.problem(
                share,
                "canary",
                "a share of the connections is 1 to 99 percent; leave it out for all at once",
            );
        }
        if let (None, Some(time)) = (share, time) {
            self.problem(time, "canary-ms", "there is no `canary` that could be promoted after this time");
        }
        (share.map(|share| *share.as_ref()), time.map(|time| Duration::from_millis(*time.as_ref())))
    }

    /// Guests read texts, so other plain values are written as one. A secret is named by where it is to be read from.
    fn scalar(&mut self, key: &str, value: &Spanned<toml::Value>) -> String {
        let read = match value.as_ref() {
            toml::Value::String(text) => Ok(text.clone()),
            toml::Value::Table(table) => self.secret(table),
            toml::Value::Array(_) => {
                Err("a plugin's configuration has plain values; write a list as one text".to_owned())
            }
            plain => Ok(plain.to_string()),
        };
        read.unwrap_or_else(|message| {
            self.problem(value, key, message);
            String::new()
        })
    }

    /// `{ env = "NAME" }` or `{ file = "PATH" }`. What is wrong is told without anything of the value.
    fn secret(&self, table: &toml::Table) -> Result<String, String> {
        let named: Vec<_> = table.iter().map(|(from, name)| (from.as_str(), name.as_str())).collect();
        match named[..] {
            [("env", Some(name))] => {
                std::env::var(name).map_err(|error| format!("the environment variable {name}: {error}"))
            }
            [("file", Some(name))] => {
                let file = self.folder.join(name);
                let read = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                Ok(read.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => Err("a value that is not plain is a secret: `{ env = \"NAME\" }` or `{ file = \"PATH\" }`".to_owned()),
        }
    }
}

/// Such a name can be part of a file's name.
pub(in crate::config) fn is_plugin_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn config(folder: &std::path::Path, value: &str) -> Result<String, String> {
        let text = format!("[plugins.echo]\npath = 'echo.wasm'\nconfig = {{ key = {value} }}");
        let config = Config::parse(&text, &folder.join("switchboard.toml")).map_err(|error| error.to_string())?;
        Ok(config.plugins["echo"].config["key"].clone())
    }

    #[test]
    fn a_secret_is_read_from_where_the_file_says() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("secret"), "hush\n").expect("it can be written");
        let config = |value: &str| config(folder.path(), value);
        assert_eq!(config("{ file = 'secret' }").as_deref(), Ok("hush"));
        assert_eq!(config("{ env = 'CARGO_PKG_NAME' }").as_deref(), Ok("switchboard"));
        assert_eq!((config("'plain'").as_deref(), config("5").as_deref()), (Ok("plain"), Ok("5")));
    }

    #[test]
    fn a_host_that_is_none_is_a_problem_with_its_place() {
        let text = "[plugins.echo]\npath = 'echo.wasm'\nhttp = [\n'api.example.com',\n'https://a.b/c',\n]";
        let error = Config::parse(text, std::path::Path::new("switchboard.toml")).expect_err("it is wrong").to_string();
        assert!(error.contains("switchboard.toml:5:http: `https://a.b/c` is a URL"), "{error}");
    }

    #[test]
    fn a_secret_that_is_not_there_is_a_problem_and_none_is_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (value, told) in [
            ("{ file = 'nothing' }", "nothing: No such file"),
            ("{ env = 'SWITCHBOARD_NOTHING' }", "variable SWITCHBOARD_NOTHING: environment variable not found"),
            ("{ value = 'hush' }", "`{ env ="),
            ("{ env = 'A', file = 'b' }", "`{ env ="),
            ("['hush']", "plain values"),
        ] {
            let error = config(folder.path(), value).expect_err("it is wrong");
            assert!(error.contains(":3:key:") && error.contains(told) && !error.contains("hush"), "{error}");
        }
    }
}
