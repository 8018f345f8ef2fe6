//! What the operator configured for this plugin: text values by key, from the host's configuration file.
//!
//! They come through the standard interface `wasi:config/store` and stay the same while an instance lives, so a plugin's
//! `Default` is a good place to read them. A configuration that cannot be read, or does not say what it must, faults the
//! plugin with its reason: a plugin that guards something must not run as if nothing were configured.

use std::{fmt, str::FromStr};

use crate::host;

/// The value of a key, or none. Panics where the host cannot read its configuration.
pub fn get(key: &str) -> Option<String> {
    match host::config::get(key) {
        Ok(value) => value,
        Err(error) => panic!("the configuration cannot be read: {error}"),
    }
}

/// The value of a key as a number, a `bool` or whatever `FromStr` can make, or none. Panics for a value that is not one,
/// and says which: `config::parse::<u32>("limit")`.
pub fn parse<T: FromStr<Err: fmt::Display>>(key: &str) -> Option<T> {
    let value = get(key)?;
    match value.trim().parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => panic!("the configuration of \"{key}\" cannot be \"{value}\": {error}"),
    }
}

/// The comma-separated values of a key, without the spaces around them and without empty ones; none where the key is not set.
pub fn list(key: &str) -> Option<Vec<String>> {
    let value = get(key)?;
    Some(value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
}

/// All keys and values. Panics like [`get`].
pub fn all() -> Vec<(String, String)> {
    match host::config::get_all() {
        Ok(pairs) => pairs,
        Err(error) => panic!("the configuration cannot be read: {error}"),
    }
}
