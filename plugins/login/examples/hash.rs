//! Reads a password, the first line of the input, and prints its hash for the configuration of `login`.

use std::io::{Error, stdin};

use argon2::{Argon2, PasswordHasher};

fn main() -> Result<(), Error> {
    eprintln!("The password:");
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(Error::other)?;
    let password = line.trim_end_matches(['\r', '\n']);
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).map_err(Error::other)?;
    println!("{hash}");
    Ok(())
}
