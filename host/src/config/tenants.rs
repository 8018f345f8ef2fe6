//! `tenants/NAME.toml`: one file for each tenant, with plugins, routes and rooms of its own, and what it may use.
//!
//! A part of `config/resolve`, which reads routes and plugins here as it does in the main file. Routes are found by the
//! tenant's hosts, or under its prefix among those of the server.
//! Invariant: what one file says reaches no other tenant: names are apart, and no two lead the same path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::resolve::plugins::is_plugin_name;
use super::resolve::{Found, Outermost, Resolver, Shapes};
use super::{Problem, raw, syntax};
use crate::id::TenantId;
use crate::limits::Limits;

/// `[tenant]`
#[derive(Debug, Clone)]
pub struct TenantConfig {
    /// Its id, and with it its name.
    pub id: TenantId,
    /// Its file.
    pub file: PathBuf,
    /// Hosts whose requests are all its own, in lower case and without a port; none where it has a prefix only.
    pub hosts: Vec<String>,
    /// Whether it takes no connections, and those that it has are closed.
    pub suspended: bool,
    /// What it may use.
    pub limits: Limits,
}

/// Reads all files of the folder, in the order of their names, and adds what is in them.
pub(super) fn resolve(
    folder: Option<&Path>,
    (limits, mut shared): (&Limits, Shapes),
    found: &mut Found,
) -> Vec<TenantConfig> {
    let mut hosts = HashMap::new();
    let mut tenants = Vec::new();
    for file in files(folder) {
        match read(&file) {
            Ok((text, raw)) => {
                let (tenant, problems) = one((raw, &text, &file), (limits, &mut shared, &mut hosts), found);
                found.problems.extend(problems);
                tenants.push(tenant);
            }
            Err(problem) => found.problems.push(problem),
        }
    }
    tenants
}

fn files(folder: Option<&Path>) -> Vec<PathBuf> {
    let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|toml| toml == "toml")).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Result<(String, raw::TenantFile), Problem> {
    let whole = |message| Problem { file: file.to_owned(), line: 0, key: String::new(), message };
    if !is_plugin_name(&name(file)) {
        let message = "the file's name is that of the tenant, and has letters, digits, '-' and '_' only, at most 64";
        return Err(whole(message.to_owned()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| whole(format!("the file cannot be read: {error}")))?;
    let raw = toml::from_str(&text).map_err(|error| syntax((file, &text), &error))?;
    Ok((text, raw))
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// One tenant. Those with hosts have all paths of these to themselves; others share them with the server.
fn one(
    (raw, text, file): (raw::TenantFile, &str, &Path),
    (limits, shared, hosts): (&Limits, &mut Shapes, &mut HashMap<String, String>),
    found: &mut Found,
) -> (TenantConfig, Vec<Problem>) {
    let id = TenantId::named(&name(file));
    let mut resolver = Resolver::new((text, file), id);
    let limits = resolver.tenant_limits(&raw.tenant, limits);
    resolver.idle_ms = limits.idle_ms;
    let own_hosts = resolver.hosts(&raw.tenant, hosts);
    if own_hosts.is_empty() {
        std::mem::swap(&mut resolver.shapes, shared);
    }
    let outermost = Outermost {
        prefix: resolver.tenant_prefix(&raw.tenant, id),
        middleware: &raw.middleware,
        origins: raw.origins.as_deref(),
    };
    resolver.signers(&raw.tenant.keys);
    resolver.plugins(raw.plugins);
    resolver.routes(&outermost, raw.router, raw.route);
    found.rooms.extend(resolver.rooms(&raw.room));
    if own_hosts.is_empty() {
        std::mem::swap(&mut resolver.shapes, shared);
    }
    found.plugins.append(&mut resolver.plugins);
    found.routes.append(&mut resolver.routes);
    let (file, suspended) = (file.to_owned(), raw.tenant.suspended);
    (TenantConfig { id, file, hosts: own_hosts, suspended, limits }, resolver.problems)
}

impl Resolver<'_> {
    fn hosts(&mut self, tenant: &raw::Tenant, taken: &mut HashMap<String, String>) -> Vec<String> {
        let mut hosts = Vec::new();
        for host in &tenant.hosts {
            let name = host.as_ref().to_ascii_lowercase();
            if name.is_empty() || name.contains(['/', '*', ' ', '@', ':']) {
                self.problem(
                    host,
                    "hosts",
                    format!("`{}` is no host; write it like `acme.example`, without a port", host.as_ref()),
                );
            }
            if let Some(other) = taken.insert(name.clone(), self.tenant.name().to_owned()) {
                self.problem(host, "hosts", format!("the host belongs to the tenant {other} already"));
            }
            hosts.push(name);
        }
        hosts
    }

    /// A tenant without hosts and prefix lives under its name.
    fn tenant_prefix(&mut self, tenant: &raw::Tenant, id: TenantId) -> String {
        match &tenant.prefix {
            Some(prefix) => {
                let path = prefix.as_ref().trim_end_matches('/').to_owned();
                if !path.starts_with('/') {
                    self.problem(
                        prefix,
                        "prefix",
                        format!("`{}` must begin with '/' and name a part of a path", prefix.as_ref()),
                    );
                }
                path
            }
            None if tenant.hosts.is_empty() => format!("/{}", id.name()),
            None => String::new(),
        }
    }

    /// What tenants may use by default, with what this one's file says in its place.
    fn tenant_limits(&mut self, tenant: &raw::Tenant, server: &Limits) -> Limits {
        let mut limits = server.for_tenants();
        for (key, value) in &tenant.limits {
            match limits.with(key, value.as_ref(), server) {
                Ok(changed) => limits = changed,
                Err(message) => self.problem(value, key, message),
            }
        }
        limits
    }
}

impl Limits {
    /// These limits with another value for one key; refused with the reason.
    fn with(&self, key: &str, value: &toml::Value, server: &Self) -> Result<Self, String> {
        if Self::of_server(key) {
            return Err("belongs to the server as a whole; it stands in [server.limits]".to_owned());
        }
        let mut table = toml::Table::try_from(self).expect("limits are numbers with names");
        table.insert(key.to_owned(), value.clone());
        let changed =
            Self::deserialize(table).map_err(|error| error.message().replace("unknown field", "unknown key"))?;
        match changed.problem() {
            Some((wrong, reason)) if wrong == key => Err(reason.to_owned()),
            _ if changed.guest_memory_bytes > server.guest_memory_bytes => Err(format!(
                "is more than the server's {}, which its memory is laid out for",
                server.guest_memory_bytes
            )),
            _ => Ok(changed),
        }
    }
}
