//! What `dev` says on the terminal: one line for each thing that happened.
//!
//! Colors where stderr is a terminal that has them, and never with `NO_COLOR`. What a build prints is shown as its tools
//! printed it, once: the same output of the next build is only mentioned.
//! Invariant: nothing here fails; a terminal that is gone is no reason not to serve.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use super::job::Show;
use crate::engine::generation::States;

/// Lines of tools that differ from run to run and mean nothing.
const PASSING: &str = "Blocking waiting for file lock";

/// Whether stderr shows colors and somebody wants them.
pub fn has_colors() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    !unwanted && !dumb && stderr().is_terminal()
}

/// What was said of each plugin, so that it is not said again.
pub struct Report {
    colors: bool,
    /// Whether builds were seen already as they ran.
    show: Show,
    /// What the last build of a plugin printed, while that one failed.
    broken: BTreeMap<String, String>,
    /// The warnings of the last build that worked.
    warned: BTreeMap<String, String>,
}

/// What a reload took and did.
pub struct Reloaded {
    /// The time of the build command; none where there was none.
    pub build: Option<Duration>,
    /// That of reading, compiling and trying the component.
    pub compile: Duration,
    /// That until events were given to it, waiting for other plugins included.
    pub swap: Duration,
    /// The connections that were open.
    pub connections: i64,
    /// The version of the state before, and now.
    pub states: (u32, u32),
}

#[derive(Clone, Copy)]
enum Color {
    Good = 32,
    Note = 33,
    Bad = 31,
}

impl Report {
    /// With colors if the terminal has them. Until the server runs, builds are shown as they run.
    pub fn new() -> Self {
        Self { colors: has_colors(), show: Show::Live, broken: BTreeMap::new(), warned: BTreeMap::new() }
    }

    /// From here on the server runs, and a build is shown at its end.
    pub fn serving(&mut self) {
        self.show = Show::Later;
    }

    /// How builds are shown now.
    pub fn show(&self) -> Show {
        self.show
    }

    /// A new component took over.
    pub fn reloaded(&self, plugin: &str, files: &BTreeSet<String>, reloaded: &Reloaded) {
        let Reloaded { build, compile, swap, connections, states: (before, now) } = reloaded;
        let built = build.map(|time| format!("build {}, ", milliseconds(time))).unwrap_or_default();
        let (compile, swap) = (milliseconds(*compile), milliseconds(*swap));
        let plural = if *connections == 1 { "" } else { "s" };
        let states = match now.cmp(before) {
            Ordering::Equal => String::new(),
            Ordering::Greater => {
                format!("; state {before} -> {now}: each connection's is migrated at its next event")
            }
            Ordering::Less => format!("; state {before} -> {now}: what was before a migration is gone back to"),
        };
        let took = format!("{built}compile {compile}, swap {swap}, {connections} open connection{plural}{states}");
        self.line(Color::Good, &format!("{plugin} reloaded"), &format!("{}: {took}", named(files)));
    }

    /// What became of the states of connections so far, under another version of them.
    pub fn states(&self, plugin: &str, states: &States) {
        let States { version, migrated, rolled_back, reset } = states;
        let counts = [(migrated, "migrated"), (rolled_back, "gone back to"), (reset, "reset")];
        let told: Vec<_> =
            counts.iter().filter(|(count, _)| **count > 0).map(|(c, what)| format!("{c} {what}")).collect();
        self.line(Color::Note, &format!("{plugin} states"), &format!("version {version}: {} so far", told.join(", ")));
    }

    /// A build did its work and nothing is different.
    pub fn unchanged(&self, plugin: &str, files: &BTreeSet<String>, why: &str) {
        self.line(Color::Note, &format!("{plugin} unchanged"), &format!("{}: {why}", named(files)));
    }

    /// A build failed; `reason` says how, and what goes on.
    pub fn failed(&mut self, plugin: &str, output: &[u8], reason: &str) {
        let text = comparable(output);
        if self.broken.get(plugin) == Some(&text) {
            self.line(Color::Bad, &format!("{plugin} still does not build"), "with the same output as before");
            return;
        }
        self.print(output);
        self.broken.insert(plugin.to_owned(), text);
        self.line(Color::Bad, &format!("{plugin} does not build"), reason);
    }

    /// A build worked; its output is of interest only where it warns.
    pub fn built(&mut self, plugin: &str, output: &[u8]) {
        if self.broken.remove(plugin).is_some() {
            self.line(Color::Good, &format!("{plugin} builds again"), "");
        }
        let text = comparable(output);
        let warns = text.contains("warning");
        if warns && self.warned.get(plugin).is_none_or(|before| warnings(before) != warnings(&text)) {
            self.print(output);
        }
        if warns {
            self.warned.insert(plugin.to_owned(), text);
        } else {
            self.warned.remove(plugin);
        }
    }

    /// A build takes long.
    pub fn still_builds(&self, plugin: &str, command: &str, time: Duration) {
        let seconds = time.as_secs();
        let hint = format!("`{command}` has been running for {seconds} s; the next edit cancels it");
        self.line(Color::Note, &format!("{plugin} still builds"), &hint);
    }

    /// Whether the last build of any plugin failed.
    pub fn is_any_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    fn print(&self, output: &[u8]) {
        if self.show == Show::Live {
            return;
        }
        let _ = stderr().write_all(output);
        if !output.is_empty() && !output.ends_with(b"\n") {
            let _ = stderr().write_all(b"\n");
        }
    }

    fn line(&self, color: Color, what: &str, more: &str) {
        let what = if self.colors { format!("\x1b[{}m{what}\x1b[0m", color as u8) } else { what.to_owned() };
        let line = format!("{what}  {more}");
        let _ = writeln!(stderr(), "{}", line.trim_end());
    }
}

/// One or two files by name, more by their number.
fn named(files: &BTreeSet<String>) -> String {
    let mut names = files.iter();
    match (names.next(), names.next(), names.len()) {
        (None, ..) => "first build".to_owned(),
        (Some(one), None, _) => one.clone(),
        (Some(one), Some(two), 0) => format!("{one}, {two}"),
        (Some(one), Some(_), more) => format!("{one} and {} more", more + 1),
    }
}

/// Below ten with one digit more.
fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

fn comparable(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.lines().filter(|line| !line.contains(PASSING)).map(|line| format!("{line}\n")).collect()
}

/// The output without what says how long the build took.
fn warnings(text: &str) -> String {
    text.lines().filter(|line| !line.contains("Finished")).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_up_to_two() {
        let files = |names: &[&str]| named(&names.iter().map(ToString::to_string).collect());
        assert_eq!(files(&["a.rs"]), "a.rs");
        assert_eq!(files(&["a.rs", "b.rs"]), "a.rs, b.rs");
        assert_eq!(files(&["a.rs", "b.rs", "c.rs", "d.rs"]), "a.rs and 3 more");
    }

    #[test]
    fn short_times_have_a_digit_more() {
        assert_eq!(milliseconds(Duration::from_micros(140)), "0.1 ms");
        assert_eq!(milliseconds(Duration::from_millis(812)), "812 ms");
    }

    #[test]
    fn waiting_for_another_cargo_is_no_other_output() {
        let waited = comparable(b"    Blocking waiting for file lock on build directory\nerror: no\n");
        assert_eq!(waited, comparable(b"error: no\n"));
    }
}
