//! A handler that tells a client who it is, to show what a gate such as `auth-jwt` leaves for the plugins further in.
//!
//! On connect it sends `{"type":"welcome","user":"ann"}`, with the named state `user`, and each text comes back as
//! `{"type":"said","user":"ann","content":"..."}`. Who comes past no gate is refused with 1008 "Authentication required":
//! a route whose gate was forgotten must not look as if it had one.

use serde::Serialize;
use switchboard_sdk::{Accept, Close, Connection, Failure, Handler, Message, Refusal, Request, export};

#[derive(Default)]
struct Whoami;

/// What a client is told.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    Welcome { user: &'a str },
    Said { user: &'a str, content: &'a str },
}

impl Handler for Whoami {
    type State = ();

    fn connect(&self, connection: &Connection, _: &Request, _: &mut ()) -> Result<Accept, Refusal> {
        let user = user(connection)?.ok_or_else(|| Close::policy("Authentication required"))?;
        connection.send_json(&Told::Welcome { user: &user })?;
        Ok(Accept::new())
    }

    fn message(&self, connection: &Connection, message: Message, _: &mut ()) -> Result<(), Close> {
        let user = user(connection)?.unwrap_or_default();
        Ok(connection.send_json(&Told::Said { user: &user, content: message.text()? })?)
    }
}

/// Whom the gate let in.
fn user(connection: &Connection) -> Result<Option<String>, Failure> {
    connection.state("user")
}

export!(Whoami);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use switchboard_sdk::testing::FakeHost;

    use super::*;

    #[test]
    fn who_was_let_in_is_greeted_and_quoted_by_name() {
        let client = FakeHost::new().connection("/ws?user=eve");
        client.set_state("user", &"ann");
        client.connect::<Whoami>().unwrap();
        client.message::<Whoami>("hello");
        let told: Vec<Value> = client.take_received().iter().map(|message| message.json().unwrap()).collect();
        let said = json!({"type": "said", "user": "ann", "content": "hello"});
        assert_eq!(told, [json!({"type": "welcome", "user": "ann"}), said]);
    }

    #[test]
    fn who_came_past_no_gate_is_refused() {
        let refusal = FakeHost::new().connection("/ws?user=eve").connect::<Whoami>().unwrap_err();
        assert_eq!(refusal, Close::policy("Authentication required").into());
    }
}
