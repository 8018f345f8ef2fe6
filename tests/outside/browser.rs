//! The chat page in a real browser, through everything that happens to it: talk, an edit, a compile error, a crash.
//!
//! `node/chat.mjs` drives the browser by what is said to it line by line, so that the story is told here, where the server
//! and the plugin's source are at hand.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::program::{PATIENCE, Program};
use crate::project::Project;
use crate::switchboard::{Server, example, repository, target};
use crate::tools;

/// A file that the tabs are pictured in, for the README.
const PICTURE: &str = "SWITCHBOARD_PICTURE";

/// What ann and bob say to each other.
const TALK: [(&str, &str); 7] = [
    ("ann", "Did you see that the new version is out?"),
    ("bob", "No! When was that?"),
    ("ann", "While you typed this."),
    ("ann", "Nobody was disconnected. Same socket as before."),
    ("bob", "And if it had been broken?"),
    ("ann", "Then the old one goes on, and the log says why."),
    ("bob", "Let me break something."),
];

/// A browser that a script of `node/` drives.
pub struct Browser {
    program: Program,
}

impl Browser {
    /// None where something is missing that it needs.
    pub fn open(script: &str, address: SocketAddr) -> Option<Self> {
        Self::open_with(script, &format!("http://{address}"), &[])
    }

    /// The same with the whole URL of the server, and flags of the browser.
    pub fn open_with(script: &str, url: &str, flags: &[&str]) -> Option<Self> {
        let chromium = tools::chromium()?;
        // What a browser that is killed leaves behind goes at the next run of the same script.
        let scratch = target().join("outside/browser").join(script);
        let mut script = tools::node(script, "playwright-core")?;
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).expect("the target folder can be written");
        script.env("TMPDIR", scratch).arg(chromium).arg(url).args(flags);
        Some(Self { program: Program::start(&mut script) })
    }

    /// Has the script do something, and fails if it cannot.
    pub fn must(&mut self, action: &[&str]) {
        self.program.tell(&serde_json::to_string(action).expect("texts have no error"));
        // The script has a deadline of its own for each action, and says more.
        let answer = self.program.expect_within("done: ", 2 * PATIENCE);
        assert_eq!(answer, "done: well", "{action:?}");
    }

    /// Closes it.
    pub fn close(self) {
        assert_eq!(self.program.finish().code, Some(0), "the browser closes");
    }

    /// One says something, and both hear this of it.
    fn talk(&mut self, from: &str, said: &str, heard: &str) {
        self.must(&["say", from, said]);
        for user in ["ann", "bob"] {
            self.must(&["hears", user, from, heard]);
        }
    }
}

#[test]
fn an_open_chat_lives_through_an_edit_a_compile_error_and_a_crash() {
    let project = chat();
    let mut server = Server::dev(project.folder());
    let Some(mut browser) = Browser::open("chat.mjs", server.address) else { return };
    browser.must(&["open", "ann"]);
    browser.must(&["open", "bob"]);
    browser.must(&["notices", "ann", "user_joined", "bob joined"]);
    for (user, text) in TALK {
        browser.talk(user, text, text);
    }
    for user in ["ann", "bob"] {
        browser.must(&["sees", user, "present", "2 are here"]);
    }
    if let Some(picture) = std::env::var_os(PICTURE) {
        browser.must(&["picture", "ann", "bob", &PathBuf::from(picture).to_string_lossy()]);
    }

    project.replace("src/lib.rs", "content: &content, ", "content: &content.to_uppercase(), ");
    server.program.expect("reloaded");
    browser.talk("ann", "louder please", "LOUDER PLEASE");

    project.replace("src/lib.rs", "content.to_uppercase()", "content.to_upercase()");
    server.program.expect("no method named `to_upercase` found");
    server.program.expect("the old code goes on");
    browser.talk("bob", "still here", "STILL HERE");

    project.replace("src/lib.rs", "content.to_upercase()", "content.to_lowercase()");
    server.program.expect("reloaded");
    browser.talk("ann", "Quiet AGAIN", "quiet again");
    for user in ["ann", "bob"] {
        browser.must(&["hasOneSocket", user]);
    }
    browser.must(&["open", "cy"]);
    browser.must(&["hears", "cy", "ann", TALK[0].1]);
    browser.must(&["hears", "cy", "bob", "STILL HERE"]);
    browser.must(&["sees", "cy", "present", "3 are here"]);
    browser.must(&["close", "cy"]);
    browser.must(&["sees", "ann", "present", "2 are here"]);

    let address = server.address.to_string();
    server.program.kill();
    for user in ["ann", "bob"] {
        browser.must(&["notices", user, "lost", "The connection was lost"]);
        browser.must(&["isShown", user, "lost"]);
    }
    let _server = Server::start("dev", project.folder(), &address);
    for user in ["ann", "bob"] {
        browser.must(&["notices", user, "connected", "You are connected again"]);
        browser.must(&["notices", user, "missed", "may be missing"]);
        browser.must(&["isShown", user, "connected"]);
    }
    browser.talk("bob", "Back Again", "back again");
    browser.close();
}

/// A laptop that slept: what its page missed is there when it wakes, once, and nothing is said to be missing.
#[test]
fn a_page_that_lost_its_connection_gets_what_it_missed() {
    let server = Server::serve(&example("chat"));
    let Some(mut browser) = Browser::open("chat.mjs", server.address) else { return };
    browser.must(&["open", "ann"]);
    browser.must(&["open", "bob"]);
    browser.talk("ann", "before", "before");
    browser.must(&["cut", "bob"]);
    browser.must(&["say", "ann", "while you were away"]);
    browser.must(&["hears", "ann", "ann", "while you were away"]);
    browser.must(&["mend", "bob"]);
    browser.must(&["notices", "bob", "connected", "You are connected again"]);
    browser.must(&["hears", "bob", "ann", "while you were away"]);
    browser.talk("ann", "welcome back", "welcome back");
    browser.must(&["hasMessages", "bob", "before", "while you were away", "welcome back"]);
    browser.must(&["hasNoNotice", "bob", "missed"]);
    assert_eq!(browser.program.finish().code, Some(0), "the browser closes");
}

/// The chat example as somebody would begin with it: the plugin copied into a crate of its own.
fn chat() -> Project {
    let source = repository().join("plugins/chat/src/lib.rs");
    let project = Project::with_plugin("browser_chat", &fs::read_to_string(source).expect("it is there"));
    let folder = |path: &str, folder: &str| {
        format!("[[static]]\npath = '{path}'\nfolder = '{}'\n\n", repository().join("examples").join(folder).display())
    };
    let pages = folder("/", "chat/page") + &folder("/shared", "shared");
    let room = "[[room]]\nname = 'chat/*'\nkeep = 1000\n\n";
    project.replace("switchboard.toml", "[[route]]", &format!("{room}{pages}[[route]]"));
    project
}
