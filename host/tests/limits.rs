//! The table of limits in the documents is that of the code: every key, with its default.
//!
//! Read from `docs/configuration.md`, and for what tenants have by default from `docs/tenants.md`.
//! Invariant: a limit that is added, or given another default, fails here until the documents say so.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use switchboard::limits::Limits;

/// Keys and values.
type Table = BTreeMap<String, u64>;

#[test]
fn the_documents_name_every_limit_and_its_default() {
    assert_eq!(documented("docs/configuration.md"), of_code(&Limits::default()));
}

#[test]
fn the_documents_say_what_a_tenant_has_by_default() {
    let (server, tenant) = (of_code(&Limits::default()), of_code(&Limits::default().for_tenants()));
    let less: Table = tenant.into_iter().filter(|(key, value)| server[key] != *value).collect();
    assert_eq!(documented("docs/tenants.md"), less);
}

#[test]
fn the_documents_say_which_limits_no_tenant_has() {
    let text = read("docs/tenants.md");
    let (_, rest) = text.split_once("where they are less;").expect("the paragraph on limits");
    let (said, _) = rest.split_once("belong to the server as a whole").expect("its words on the server");
    for key in of_code(&Limits::default()).keys() {
        assert_eq!(said.contains(&format!("`{key}`")), Limits::of_server(key), "{key}");
    }
}

fn of_code(limits: &Limits) -> Table {
    let value = serde_json::to_value(limits).expect("limits are numbers with names");
    let fields = value.as_object().expect("limits are fields").iter();
    fields.map(|(key, value)| (key.clone(), value.as_u64().expect("a limit is a number"))).collect()
}

/// The rows of the table under "Limits". A row may have several keys, and then as many values.
fn documented(document: &str) -> Table {
    let text = read(document);
    let (_, table) = text.split_once("\n## Limits\n").expect("the document has limits");
    let table = table.split("\n## ").next().expect("it has an end");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")).flat_map(|row| {
        let mut cells = row.split('|');
        let (keys, values) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        let keys = keys.split(',').map(|key| key.trim().trim_matches('`').to_owned());
        keys.zip(values.split(',').map(|value| number(value.trim()))).collect::<Vec<_>>()
    });
    rows.collect()
}

/// `5`, or `5 MiB`.
fn number(text: &str) -> u64 {
    let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
    let unit = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 1,
    };
    digits.parse::<u64>().unwrap_or_else(|_| panic!("`{text}` is no limit")) * unit
}

fn read(document: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace");
    fs::read_to_string(root.join(document)).expect("there is such a document")
}
