//! `[plugins.NAME]`: where components come from, and what they are given.
//!
//! A part of `config/resolve`, which has the problems and the folder that paths are relative to.
//! Invariant: a plugin's name can be part of a file's name.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;

use super::Resolver;
use crate::config::raw;
use crate::config::{Granted, PluginConfig};

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
            let (canary, canary_time) = self.canary(plugin.canary.as_ref(), plugin.canary_ms.as_ref());
            let plugin = PluginConfig {
                tenant: self.tenant,
                path,
                folder: self.folder.clone(),
                build: plugin.build,
                watch,
                files,
                grants: plugin.grants.as_deref().map_or(Granted::ALL, Granted::only),
                on_state_mismatch: plugin.on_state_mismatch,
                config,
                canary,
                canary_time,
            };
            self.plugins.insert(self.full_name(&name), plugin);
        }
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

    /// Guests read texts, so other plain values are written as one.
    fn scalar(&mut self, key: &str, value: &Spanned<toml::Value>) -> String {
        match value.as_ref() {
            toml::Value::String(text) => text.clone(),
            toml::Value::Array(_) | toml::Value::Table(_) => {
                self.problem(value, key, "a plugin's configuration has plain values; write a list as one text");
                String::new()
            }
            plain => plain.to_string(),
        }
    }
}

/// Such a name can be part of a file's name.
pub(in crate::config) fn is_plugin_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&name.len()) && name.chars().all(allowed)
}
