//! The handler against the fake host: who gets a token, what it says, and configurations that cannot be used.
//!
//! The hashes are cheap ones, since these tests are not about their cost.

use std::time::SystemTime;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use switchboard_sdk::testing::{FakeConnection, FakeHost, expect_fault};

use super::*;
use argon2::{Argon2, Params, PasswordHasher};

const SECRET: &str = "a secret of the tests, long enough for HS256";

/// A hash of 16 KiB and one round.
fn hash(password: &str, memory: u32) -> String {
    let argon2 =
        Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(memory, 1, 1, None).unwrap());
    argon2.hash_password_with_salt(password.as_bytes(), b"salt of the tests").unwrap().to_string()
}

fn host() -> FakeHost {
    let host = FakeHost::new().config("secret", SECRET).config("user-ann", &hash("correct horse", 16));
    host.config("user-bob", &hash("battery staple", 16))
}

fn log_in(client: &FakeConnection, user: &str, password: &str) -> Value {
    client.message::<Login>(json!({"type": "login", "user": user, "password": password}).to_string());
    let told = client.take_received();
    assert_eq!(told.len(), 1, "{told:?}");
    told[0].json().unwrap()
}

fn wrong() -> Value {
    json!({"type": "error", "error": "Wrong user or password"})
}

/// The claims of a token, whose signature the gate's own tests and those of the whole server check.
fn claims(told: &Value) -> Value {
    let token = told["token"].as_str().unwrap();
    let part = Base64UrlUnpadded::decode_vec(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&part).unwrap()
}

#[test]
fn the_right_password_gets_a_token_of_a_short_life() {
    let host = host().config("issuer", "login").config("audience", "chat").config("token-seconds", "30");
    let told = log_in(&host.connection("/login"), "ann", "correct horse");
    assert_eq!(told["type"], "token");
    let claims = claims(&told);
    assert_eq!((&claims["sub"], &claims["iss"], &claims["aud"]), (&json!("ann"), &json!("login"), &json!("chat")));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (from, until) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(from <= now, "{claims}");
    assert_eq!(until - from, 30);
}

#[test]
fn wrong_users_and_passwords_are_told_the_same_and_may_try_again() {
    let host = host();
    let client = host.connection("/login");
    let long = "x".repeat(2000);
    let tries = [
        ("ann", "wrong"),
        ("ann", ""),
        ("ann", "battery staple"),
        ("ann", "correct horse "),
        ("ann", long.as_str()),
        ("Ann", "correct horse"),
        ("", ""),
        ("eve", "correct horse"),
        ("eve", "battery staple"),
    ];
    for (user, password) in tries {
        assert_eq!(log_in(&client, user, password), wrong(), "{user} {password}");
    }
    assert_eq!(log_in(&client, "bob", "battery staple")["type"], "token");
}

#[test]
fn the_log_names_who_mistyped_and_no_unknown_name() {
    let host = host();
    let client = host.connection("/login");
    log_in(&client, "ann", "wrong");
    log_in(&client, "correct horse", "ann");
    assert_eq!(host.take_log(), ["info: a wrong password user=ann", "info: an unknown user"]);
}

#[test]
fn what_is_no_login_is_passed_over_or_closes() {
    let host = host();
    let client = host.connection("/login");
    client.message::<Login>("{\"type\":\"hello\"}");
    assert_eq!((client.take_received().len(), client.closed()), (0, None));
    client.message::<Login>("{\"type\":\"login\",\"user\":\"ann\"}");
    assert_eq!(client.closed().map(|close| close.code()), Some(1007));
    let other = host.connection("/login");
    other.message::<Login>(vec![1, 2]);
    assert_eq!(other.closed().map(|close| close.code()), Some(1003));
}

#[test]
fn what_cannot_be_used_faults() {
    let bcrypt = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let other = hash("x", 16).replace("argon2id", "argon2d");
    let wrong = [
        ("secret", "short", "\"secret\" has 5 bytes, and 32 are the least"),
        ("token-seconds", "0", "\"token-seconds\" is 1 to 86400, not 0"),
        ("user-eve", "plain text", "\"user-eve\" is no hash like"),
        ("user-eve", bcrypt, "\"user-eve\" is no hash like"),
        ("user-eve", &other, "\"user-eve\" is no hash like"),
        ("user-eve", "$argon2id$v=19$m=16,t=1,p=1", "\"user-eve\" is no hash like"),
        ("user-eve", &hash("x", 17), "\"user-eve\" has another m, t or p than the others"),
        ("user-eve", &hash("x", 32769), "\"user-eve\" takes 32769 KiB of memory"),
    ];
    for (key, value, sentence) in wrong {
        let client = host().config(key, value).connection("/login");
        let text = expect_fault(|| client.message::<Login>("{}"));
        assert!(text.contains(sentence), "{text}");
    }
    let client = FakeHost::new().config("secret", SECRET).connection("/login");
    assert!(expect_fault(|| client.message::<Login>("{}")).contains("nobody can log in"));
}
