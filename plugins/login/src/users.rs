//! Who may log in, and the check of a password, which costs the same for everybody.
//!
//! Configuration: `user-NAME`, an Argon2id hash in the form `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH`, at least one. The command
//! `cargo run -p switchboard-plugin-login --example hash` reads a password and prints one, and so does the program `argon2`.
//! All have the same `m`, `t` and `p`, or the time of an answer would tell users apart; `m` is at most 32768 (KiB), half of
//! what an instance may have.
//!
//! With the parameters above, which OWASP gives as the least, a check took 36 ms of CPU in WebAssembly where it was measured:
//! too near the 50 ms of an event for a slower machine, so set `event-cpu-ms = 500` in `[server.limits]`. The guest yields
//! each millisecond, so others go on meanwhile.

use std::collections::BTreeMap;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier};
use switchboard_sdk::config;

/// In KiB.
const MOST_MEMORY: u32 = 32 << 10;
/// Longer ones are wrong, so that nobody has the server hash megabytes.
const PASSWORD_BYTES: usize = 1024;

/// Names with the hashes of their passwords; never empty.
pub struct Users {
    by_name: BTreeMap<String, PasswordHash>,
}

/// How a check ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Right,
    WrongPassword,
    UnknownUser,
}

impl Users {
    /// Reads the configuration; panics where there is nobody, or a hash that cannot be used.
    pub fn configured() -> Self {
        let pairs = config::all();
        let named = pairs.iter().filter_map(|(key, value)| Some((key.strip_prefix("user-")?, value)));
        let by_name: BTreeMap<_, _> = named.map(|(name, hash)| (name.to_owned(), parse(name, hash))).collect();
        let first = by_name.values().next().map(cost);
        assert!(first.is_some(), "nobody can log in: set \"user-NAME\" to the hash of a password");
        let differing = by_name.iter().find(|(_, hash)| Some(cost(hash)) != first);
        if let Some((name, _)) = differing {
            panic!("\"user-{name}\" has another m, t or p than the others, which the time of an answer would tell");
        }
        Self { by_name }
    }

    /// Checks a password, for nobody too: then against somebody else's hash, for the time that takes.
    pub fn check(&self, user: &str, password: &str) -> Outcome {
        let found = self.by_name.get(user);
        let hash = found.or_else(|| self.by_name.values().next()).expect("there is at least one user");
        let fits =
            password.len() <= PASSWORD_BYTES && Argon2::default().verify_password(password.as_bytes(), hash).is_ok();
        match (found, fits) {
            (None, _) => Outcome::UnknownUser,
            (Some(_), false) => Outcome::WrongPassword,
            (Some(_), true) => Outcome::Right,
        }
    }
}

fn parse(name: &str, text: &str) -> PasswordHash {
    let hash = PasswordHash::new(text.trim()).ok().filter(|hash| hash.hash.is_some() && hash.salt.is_some());
    let is_argon2id = |hash: &PasswordHash| hash.algorithm.as_str() == Algorithm::Argon2id.as_str();
    let hash = hash.filter(|hash| is_argon2id(hash) && Params::try_from(hash).is_ok());
    let hash =
        hash.unwrap_or_else(|| panic!("\"user-{name}\" is no hash like \"$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH\""));
    let (memory, ..) = cost(&hash);
    assert!(memory <= MOST_MEMORY, "\"user-{name}\" takes {memory} KiB of memory, and {MOST_MEMORY} are the most");
    hash
}

/// Memory in KiB, rounds, lanes.
fn cost(hash: &PasswordHash) -> (u32, u32, u32) {
    let params = Params::try_from(hash).expect("it was looked at when it was parsed");
    (params.m_cost(), params.t_cost(), params.p_cost())
}
