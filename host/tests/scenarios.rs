//! The scenarios: each id that is required has a test, and the table of `tests/README.md` names what there is.
//!
//! A test of a scenario is a function of `tests/it` or `tests/outside` whose name begins with the id in lower case and `_`; the
//! ids are in `tests/scenarios.txt`. A failure names the id or the test, and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The line of `scenarios.txt` behind which nothing needs a test.
const NOT_REQUIRED: &str = "# not required yet";

#[test]
fn every_required_id_has_a_test() {
    let (required, _) = ids();
    let tested: BTreeSet<_> = tests().into_iter().map(|test| id(&test)).collect();
    none(required.difference(&tested).map(|id| {
        format!(
            "{id} has no test; write one whose name begins with `{}_`, or move the id in scenarios.txt",
            id.to_lowercase()
        )
    }));
}

#[test]
fn every_test_is_of_an_id_that_there_is() {
    let (required, later) = ids();
    let unknown = tests().into_iter().filter(|test| !required.contains(&id(test)) && !later.contains(&id(test)));
    none(unknown.map(|test| format!("{test}: there is no scenario {}; rename the test, or add the id", id(&test))));
}

#[test]
fn the_table_has_each_id_once() {
    let (required, later) = ids();
    let all: BTreeSet<_> = required.union(&later).cloned().collect();
    let rows = rows();
    let listed: BTreeSet<_> = rows.iter().map(|(id, _)| id.clone()).collect();
    let missing = all.difference(&listed).map(|id| format!("tests/README.md has no row for {id}"));
    let unknown =
        listed.difference(&all).map(|id| format!("tests/README.md has a row for {id}, scenarios.txt does not know it"));
    let twice = (rows.len() != listed.len()).then(|| "tests/README.md has two rows for one id".to_owned());
    none(missing.chain(unknown).chain(twice));
}

#[test]
fn the_table_names_each_test_in_the_row_of_its_id() {
    let rows: BTreeMap<_, _> = rows().into_iter().collect();
    let tests = tests();
    let named = |test: &String| rows.get(&id(test)).is_some_and(|row| row.contains(test));
    let missing = tests.iter().filter(|test| !named(test));
    let missing = missing.map(|test| format!("tests/README.md does not name `{test}` in the row of {}", id(test)));
    let gone = rows.values().flatten().filter(|test| !tests.contains(*test));
    none(missing.chain(gone.map(|test| format!("tests/README.md names `{test}`, which is not there"))));
}

/// Those that must have a test, and those that need none yet.
fn ids() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = read("scenarios.txt");
    let (required, later) = text.split_once(NOT_REQUIRED).expect("scenarios.txt has the line that parts it");
    let lines = |part: &str| part.lines().filter(|line| is_id(line)).map(str::to_owned).collect();
    (lines(required), lines(later))
}

/// Ids of the table, each with the tests that its row names.
fn rows() -> Vec<(String, BTreeSet<String>)> {
    let text = read("README.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    rows.filter(|(id, _)| is_id(id)).map(|(id, rest)| (id.to_owned(), named(rest))).collect()
}

/// What stands in backticks in the last cell.
fn named(rest: &str) -> BTreeSet<String> {
    let cell = rest.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
    cell.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).map(str::to_owned).collect()
}

/// All tests of scenarios, as `it::module::name`.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for suite in ["it", "outside"] {
        for file in files(&folder().join(suite)) {
            let module = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).expect("a source file can be read");
            found.extend(functions(&text).map(|name| format!("{suite}::{module}::{name}")));
        }
    }
    found
}

/// Functions with the attribute of a test and the name of one of a scenario.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().map(str::trim).filter_map(move |line| {
        if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("test(");
        }
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?.split('(').next()?;
        let belongs = std::mem::take(&mut is_test) && is_id(&name.split('_').next()?.to_uppercase());
        belongs.then_some(name)
    })
}

/// `it::errors::e1_a_trap` is a test of E1.
fn id(test: &str) -> String {
    let name = test.rsplit("::").next().unwrap_or_default();
    name.split('_').next().unwrap_or_default().to_uppercase()
}

/// A capital letter and a number.
fn is_id(text: &str) -> bool {
    let number = text.strip_prefix(|c: char| c.is_ascii_uppercase());
    number.is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn read(file: &str) -> String {
    let file = folder().join(file);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

fn none(wrong: impl Iterator<Item = String>) {
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
