//! `switchboard.toml` as it is written: serde's view of the file, with the place of each value.
//!
//! Nothing is checked here beyond types and unknown keys; `config/resolve` turns it into what the server uses.
//! Invariant: every key of the file is a field here, and unknown ones are refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::{ForwardedHeader, Grant, MismatchPolicy, RemovedRoutes, ReusePolicy, SlowPolicy};
use crate::limits::{Limits, RouteLimits};

/// A text with its place in the file.
pub type Text = Spanned<String>;

/// The whole file.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    pub middleware: Vec<Text>,
    pub origins: Option<Vec<Text>>,
    pub server: Server,
    pub plugins: BTreeMap<String, Plugin>,
    pub router: Vec<Router>,
    pub route: Vec<Route>,
    pub room: Vec<Room>,
    #[serde(rename = "static")]
    pub statics: Vec<Static>,
}

/// `tenants/NAME.toml`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct TenantFile {
    pub tenant: Tenant,
    pub middleware: Vec<Text>,
    pub origins: Option<Vec<Text>>,
    pub plugins: BTreeMap<String, Plugin>,
    pub router: Vec<Router>,
    pub route: Vec<Route>,
    pub room: Vec<Room>,
}

/// `[tenant]`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Tenant {
    pub hosts: Vec<Text>,
    pub prefix: Option<Text>,
    pub suspended: bool,
    pub keys: Vec<Text>,
    pub limits: BTreeMap<String, Spanned<toml::Value>>,
}

/// `[server]`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Server {
    pub listen: Option<Spanned<toml::Value>>,
    pub tls: Option<Tls>,
    pub workers: Option<Spanned<usize>>,
    pub state: Option<String>,
    pub control: Option<String>,
    pub store: Option<Text>,
    pub tenants: Option<Text>,
    pub keys: Vec<Text>,
    pub watch: Option<Text>,
    pub poll_ms: Option<Spanned<u64>>,
    pub trusted_proxies: Vec<Text>,
    pub forwarded: Option<Spanned<ForwardedHeader>>,
    pub proxy_protocol: Option<Spanned<bool>>,
    pub removed_routes: RemovedRoutes,
    pub limits: Option<Spanned<Limits>>,
}

/// `[server.tls]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// `[plugins.NAME]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plugin {
    pub path: Text,
    pub build: Option<String>,
    #[serde(default)]
    pub watch: Vec<Text>,
    pub files: Option<Text>,
    pub grants: Option<Vec<Grant>>,
    #[serde(default)]
    pub http: Vec<Text>,
    #[serde(default)]
    pub reuse: ReusePolicy,
    pub canary: Option<Spanned<u8>>,
    #[serde(rename = "canary-ms")]
    pub canary_ms: Option<Spanned<u64>>,
    #[serde(default)]
    pub on_state_mismatch: MismatchPolicy,
    #[serde(default)]
    pub config: BTreeMap<String, Spanned<toml::Value>>,
}

/// `[[router]]`, nested ones included.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    pub name: Text,
    #[serde(default)]
    pub prefix: Option<Text>,
    #[serde(default)]
    pub mount: Option<Text>,
    #[serde(default)]
    pub middleware: Vec<Text>,
    #[serde(default)]
    pub origins: Option<Vec<Text>>,
    #[serde(default)]
    pub router: Vec<Router>,
    #[serde(default)]
    pub route: Vec<Route>,
}

/// `[[route]]`, inside a router or outside of any.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Route {
    pub name: Option<Text>,
    pub path: Text,
    pub handler: Text,
    #[serde(default)]
    pub middleware: Vec<Text>,
    #[serde(default)]
    pub origins: Option<Vec<Text>>,
    pub idle_ms: Option<u64>,
    pub max_connections: Option<Spanned<usize>>,
    pub when_full: Option<Spanned<toml::Value>>,
    #[serde(default)]
    pub slow: SlowPolicy,
    pub compression: Option<Spanned<toml::Value>>,
    pub limits: Option<Spanned<RouteLimits>>,
}

/// `[[static]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Static {
    pub path: Text,
    pub folder: Text,
}

/// `[[room]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Room {
    pub name: Text,
    pub keep: Spanned<usize>,
    pub keep_bytes: Option<Spanned<usize>>,
    pub keep_ms: Option<Spanned<u64>>,
}
