//! The page of the example `auth` in a real browser: a wrong password, the right one, and a token that somebody changed.
//!
//! The server runs the example's own configuration and the components that its build commands make.

use std::path::PathBuf;

use crate::browser::Browser;
use crate::switchboard::{Server, example};

/// The beginning of the names of files that the page is pictured in, for whoever changes how it looks.
const PICTURE: &str = "SWITCHBOARD_LOGIN_PICTURE";

fn picture(browser: &mut Browser, of: &str) {
    if let Some(picture) = std::env::var_os(PICTURE) {
        browser.must(&["picture", &format!("{}-{of}", PathBuf::from(picture).display())]);
    }
}

#[test]
fn a_page_signs_in_with_the_right_password_only_and_a_forged_token_is_refused() {
    let server = Server::serve(&example("auth"));
    let Some(mut browser) = Browser::open("login.mjs", server.address) else { return };
    browser.must(&["open"]);
    for (user, password) in [("ann", "wrong"), ("eve", "correct horse")] {
        browser.must(&["logIn", user, password]);
        browser.must(&["isRefused", "Wrong user or password"]);
    }
    picture(&mut browser, "refused");

    browser.must(&["logIn", "ann", "correct horse"]);
    browser.must(&["isGreeted", "ann"]);
    browser.must(&["say", "ann", "Is anybody behind this gate?"]);
    browser.must(&["forge", "Invalid token (1008)"]);
    picture(&mut browser, "inside");

    // The one who is signed in is still there.
    browser.must(&["say", "ann", "Still here."]);
    browser.must(&["leave"]);
    browser.must(&["logIn", "bob", "battery staple"]);
    browser.must(&["isGreeted", "bob"]);
    browser.close();
}
