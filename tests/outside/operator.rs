//! An operator who asks more of a server than a person could type: the control socket itself, without the command line.
//!
//! One line of JSON each way, as `host/src/admin.rs` has it; that the commands speak so too is tried out in `control`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub struct Operator {
    socket: PathBuf,
}

impl Operator {
    /// Of the server of this project.
    pub fn of(project: &Path) -> Self {
        Self { socket: project.join(".switchboard/control.sock") }
    }

    /// Has a plugin's file read again, and returns the sentence that comes back.
    pub fn reload(&self, plugin: &str) -> String {
        self.done(&json!({ "reload": { "plugin": plugin, "canary": null } }))
    }

    /// Goes back to the generation before.
    pub fn roll_back(&self, plugin: &str) -> String {
        self.done(&json!({ "rollback": { "plugin": plugin } }))
    }

    /// What a plugin is doing.
    pub fn report(&self, plugin: &str) -> Value {
        self.try_report(plugin).expect("the server takes commands")
    }

    /// The same, but none where the server is gone.
    pub fn try_report(&self, plugin: &str) -> Option<Value> {
        let answer = self.try_ask(&json!("plugins"))?;
        let reports = answer["plugins"].as_array().unwrap_or_else(|| panic!("no plugins, but {answer}"));
        let report = reports.iter().find(|report| report["plugin"] == plugin);
        Some(report.unwrap_or_else(|| panic!("no plugin {plugin} in {answer}")).clone())
    }

    fn done(&self, request: &Value) -> String {
        let answer = self.ask(request);
        answer["done"].as_str().unwrap_or_else(|| panic!("{request} was answered with {answer}")).to_owned()
    }

    fn ask(&self, request: &Value) -> Value {
        self.try_ask(request).expect("the server takes commands")
    }

    /// None where the server is gone or going.
    fn try_ask(&self, request: &Value) -> Option<Value> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        writeln!(stream, "{request}").ok()?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).ok().filter(|length| *length > 0)?;
        Some(serde_json::from_str(&answer).unwrap_or_else(|error| panic!("`{answer}`: {error}")))
    }
}
