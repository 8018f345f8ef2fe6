//! What the documents show is true: configurations are parsed, commands exist, links lead somewhere.
//!
//! Every Markdown file of the project is read. A block marked `toml` is a `switchboard.toml` or a part of one: plugins that it
//! names and does not define are added, and the rest must stand as it is. Rust blocks are the business of `cargo test --doc`.
//! Invariant: a block that the server would refuse fails here, with its file and line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use switchboard::config::Config;
use tempfile::TempDir;

/// How a line begins that calls the server.
const CALLS: [&str; 3] = ["switchboard ", "cargo run -- ", "cargo run --release -- "];

struct Document {
    path: PathBuf,
    text: String,
}

/// What stands between two fences.
struct Block {
    /// Where the fence that opens it stands, as `FILE:LINE`.
    place: String,
    /// What is written behind that fence.
    kind: String,
    text: String,
}

#[test]
fn every_configuration_is_one_that_the_server_takes() {
    let blocks = blocks();
    let configurations = blocks.iter().filter(|block| block.kind == "toml");
    let refused = configurations.filter_map(|block| {
        let project = project(&block.text);
        let parsed = Config::parse(&completed(&block.text), &project.path().join("switchboard.toml"));
        Some(format!("{}: {}", block.place, parsed.err()?))
    });
    none(refused.collect());
}

#[test]
fn every_file_of_a_tenant_is_one_that_the_server_takes() {
    let blocks = blocks();
    let tenants = blocks.iter().filter(|block| block.kind == "toml tenant");
    let refused = tenants.filter_map(|block| {
        let project = project(&block.text);
        let tenants = project.path().join("tenants");
        fs::create_dir(&tenants).expect("a folder can be made");
        fs::write(tenants.join("acme.salt"), "salt").expect("a file can be written");
        // The one variable that is there in every test.
        let text = block.text.replace("ACME_KEY", "CARGO_PKG_NAME");
        fs::write(tenants.join("acme.toml"), text).expect("a file can be written");
        let parsed = Config::parse("", &project.path().join("switchboard.toml"));
        Some(format!("{}: {}", block.place, parsed.err()?))
    });
    none(refused.collect());
}

#[test]
fn every_command_is_one_of_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let listed: BTreeSet<&str> = readme.lines().filter_map(|line| verb(line.strip_prefix("| `")?)).collect();
    assert!(listed.contains("serve"), "the README has a table of commands");
    let mut unknown = Vec::new();
    for block in blocks().iter().filter(|block| ["", "sh"].contains(&block.kind.as_str())) {
        let verbs = block.text.lines().filter_map(verb);
        unknown.extend(verbs.filter(|verb| !listed.contains(verb)).map(|verb| format!("{}: {verb}", block.place)));
    }
    none(unknown);
}

#[test]
fn every_link_leads_somewhere() {
    let mut dead = Vec::new();
    for document in documents() {
        let folder = document.path.parent().expect("a file lies in a folder");
        for link in links(&document.text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { document.path.clone() } else { folder.join(file) };
            if !target.exists() || !has_heading(&target, anchor) {
                dead.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    none(dead);
}

/// The block with all plugins that it names.
fn completed(block: &str) -> String {
    let defined = |name: &str| block.contains(&format!("[plugins.{name}]"));
    let missing = plugins(block).into_iter().filter(|name| !defined(name));
    let added: String = missing.map(|name| format!("\n[plugins.{name}]\npath = \"{name}.wasm\"\n")).collect();
    format!("{block}{added}")
}

/// A folder with the folders that the block names, since the server looks whether they are there.
fn project(block: &str) -> TempDir {
    let project = tempfile::tempdir().expect("a folder can be made");
    for name in values(block, &["folder", "files", "tenants"]) {
        fs::create_dir_all(project.path().join(name)).expect("a folder can be made");
    }
    project
}

/// The plugins that routes, routers and the file itself name, and those whose configuration is shown.
fn plugins(block: &str) -> BTreeSet<&str> {
    let configured = block.lines().filter_map(|line| line.strip_prefix("[plugins.")?.strip_suffix(".config]"));
    values(block, &["handler", "middleware"]).chain(configured).collect()
}

/// The texts that these keys have anywhere in the block, those of lists included.
fn values<'a>(block: &'a str, keys: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let pairs = block.lines().filter_map(|line| line.split('#').next()?.split_once('='));
    let wanted = pairs.filter(|(key, _)| keys.contains(&key.trim()));
    wanted.flat_map(|(_, value)| value.split('"').skip(1).step_by(2))
}

/// `serve` in `switchboard serve --listen ...`, if the line is such a call.
fn verb(line: &str) -> Option<&str> {
    let rest = CALLS.iter().find_map(|call| line.trim_start().strip_prefix(call))?;
    Some(rest.split_whitespace().next().unwrap_or_default().trim_end_matches('`'))
}

/// Targets of links to files of the project, code left out.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let prose = outside_of_fences(text).flat_map(|line| line.split('`').step_by(2));
    let targets = prose.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

fn has_heading(file: &Path, anchor: &str) -> bool {
    let Ok(text) = fs::read_to_string(file) else { return anchor.is_empty() };
    let found = outside_of_fences(&text).filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor);
    anchor.is_empty() || found
}

/// The anchor that a heading gets where the files are shown.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn outside_of_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !fence && !inside
    })
}

fn blocks() -> Vec<Block> {
    documents().iter().flat_map(blocks_of).collect()
}

fn blocks_of(document: &Document) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in document.text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(kind), None) => {
                let place = format!("{}:{}", document.path.display(), index + 1);
                open = Some(Block { place, kind: kind.trim().to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block is not closed", document.path.display());
    blocks
}

fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    assert!(!found.is_empty(), "the project has documents");
    found
}

fn collect(folder: &Path, found: &mut Vec<Document>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let skipped = name.starts_with('.') || ["target", "node_modules"].contains(&name.as_str());
        if path.is_dir() && !skipped {
            collect(&path, found);
        } else if name.ends_with(".md") {
            let text = fs::read_to_string(&path).expect("a document can be read");
            found.push(Document { path, text });
        }
    }
}

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host lies in the workspace").to_owned()
}
