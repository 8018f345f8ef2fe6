//! The stocks page in a real browser: data arrives, the chart is drawn, an unsubscribe ends it, a lost server comes back.
//!
//! It is the example as it is; `node/stocks.mjs` drives the browser by what is said to it line by line.

use crate::browser::Browser;
use crate::switchboard::{Server, example};

/// A folder for pictures of the page, where somebody wants to see it.
const PICTURES: &str = "SWITCHBOARD_PICTURES";

#[test]
fn t2_the_page_draws_what_arrives_until_it_unsubscribes() {
    let project = example("stocks");
    let server = Server::serve(&project);
    let Some(mut browser) = Browser::open("stocks.mjs", server.address) else { return };
    browser.must(&["open"]);
    browser.must(&["isShown", "connected"]);
    browser.must(&["everythingArrives"]);
    browser.must(&["chartGrows", "12"]);
    if let Some(folder) = std::env::var_os(PICTURES) {
        browser.must(&["chartGrows", "100"]);
        browser.must(&["picture", &folder.to_string_lossy()]);
    }

    browser.must(&["press"]);
    browser.must(&["isShown", "unsubscribed"]);
    browser.must(&["isSilent"]);
    browser.must(&["press"]);
    browser.must(&["isShown", "connected"]);
    browser.must(&["chartGrows", "4"]);

    let address = server.address.to_string();
    server.program.kill();
    browser.must(&["isShown", "lost"]);
    let _server = Server::start("serve", &project, &address);
    browser.must(&["isShown", "connected"]);
    browser.must(&["chartGrows", "4"]);
    browser.must(&["hasNoErrors"]);
    browser.close();
}
