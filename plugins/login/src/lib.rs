//! A login over a WebSocket: a handler that checks a password and signs a token for the gate `auth-jwt`.
//!
//! A client sends `{"type":"login","user":"ann","password":"..."}`, as often as it likes, and gets `{"type":"token","token":"..."}`
//! or `{"type":"error","error":"Wrong user or password"}`, in the same time whether there is such a user or not. With the
//! token it connects to what is behind the gate. Put `rate-limit` before it, since it does not count what is wrong.
//!
//! Configuration: `user-NAME` for each user, see `users.rs`; `secret`, `issuer`, `audience` and `token-seconds`, see
//! `signer.rs`. A check may take more CPU than an event has by default: `users.rs` says how much, and what to do.

mod signer;
mod users;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use switchboard_sdk::{
    Close, Connection, Handler, Message, export,
    log::{self, Level},
};

use crate::signer::Signer;
use crate::users::{Outcome, Users};

struct Login {
    users: Users,
    signer: Signer,
}

/// What a client says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Login {
        user: String,
        password: String,
    },
    #[serde(other)]
    SomethingElse,
}

/// What it is told.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told {
    Token { token: String },
    Error { error: &'static str },
}

impl Default for Login {
    /// Reads the configuration, once for each instance; panics where it is none.
    fn default() -> Self {
        Self { users: Users::configured(), signer: Signer::configured() }
    }
}

impl Handler for Login {
    type State = ();

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        if let Said::Login { user, password } = message.json()? {
            connection.send_json(&self.answer(&user, &password))?;
        }
        Ok(())
    }
}

impl Login {
    fn answer(&self, user: &str, password: &str) -> Told {
        match self.users.check(user, password) {
            Outcome::Right => return Told::Token { token: self.signer.sign(user, now()) },
            Outcome::WrongPassword => log::write(Level::Info, "a wrong password", &[("user", user)]),
            // Not its name, since people type their passwords there.
            Outcome::UnknownUser => log::info("an unknown user"),
        }
        Told::Error { error: "Wrong user or password" }
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

export!(Login);

#[cfg(test)]
mod tests;
