//! What the README shows of the example project is what that project runs.

use std::fs;
use std::path::Path;

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(sdk.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let readme = read("README.md");
    for (kind, file) in [("toml Cargo.toml", "Cargo.toml"), ("rs", "tests/whole_server.rs")] {
        let shown = readme.split(&format!("```{kind}\n")).nth(1).and_then(|rest| rest.split("```").next());
        let shown = shown.unwrap_or_else(|| panic!("the README has no block `{kind}`"));
        let run = read(&format!("../examples/plugin/{file}"));
        assert_eq!(shown, run, "copy examples/plugin/{file} into the README of the SDK");
    }
}
