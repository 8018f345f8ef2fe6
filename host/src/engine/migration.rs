//! State over versions: a generation gets the values of its plugin as it understands them.
//!
//! Before an event is told, `engine/instance` has the values that another version of the plugin wrote carried over here:
//! gone back to, or migrated by the guest itself, within the event's transaction and budget. What does not fit, here or when
//! the guest reads it, is a fault of the cause `State`, and `chain` knows what follows from that.
//! Invariant: a value is given to the guest only as its own version, or as the one that another plugin wrote.

use wasmtime::Store;

use super::exports::Calls;
use super::fault::{Cause, Fault};
use super::generation::Generation;
use super::guest::Guest;
use crate::state::Unfit;

/// What a guest prints, in a line of its own and before it traps, when a value does not fit its type; the key follows. The
/// contract has no word for it, since most guests never need one.
const MARK: &str = "switchboard: state mismatch: ";

/// Carries over what the plugin wrote under another version, as part of the event that is about to be told.
pub(super) async fn carry_over(
    calls: &Calls,
    store: &mut Store<Guest>,
    generation: &Generation,
) -> wasmtime::Result<()> {
    roll_back(store.data_mut(), generation)?;
    for outdated in transaction(store.data_mut()).outdated_state() {
        store.data_mut().migrating = Some(outdated.key.clone());
        let value = calls.migrate(store, &outdated).await?;
        let limits = store.data().identity.tenant.limits().clone();
        if !transaction(store.data_mut()).migrate_state(&limits, (outdated, value.into())) {
            wasmtime::bail!("a connection's state takes at most {} bytes", limits.state_bytes);
        }
        store.data().abilities.metrics.state_migrated.inc();
        generation.note_migrated();
    }
    store.data_mut().migrating = None;
    Ok(())
}

fn roll_back(guest: &mut Guest, generation: &Generation) -> wasmtime::Result<()> {
    let (abilities, limits) = (guest.abilities.clone(), guest.identity.tenant.limits().clone());
    let rolled_back = transaction(guest).roll_back_state(&limits).map_err(|unfit| {
        guest.migrating = Some(unfit.key);
        wasmtime::format_err!("there is no room any more for what it was before")
    })?;
    if rolled_back > 0 {
        abilities.metrics.state_rolled_back.inc_by(rolled_back);
        generation.note_rolled_back(rolled_back);
        if generation.tells_of_roll_back() {
            let (plugin, number) = (&*generation.identity.plugin, generation.identity.generation);
            tracing::warn!(
                plugin,
                generation = number,
                "connections go back to the state from before the migration; what was stored since is lost, and counted \
                 as state_rolled_back"
            );
        }
    }
    Ok(())
}

fn transaction(guest: &mut Guest) -> &mut crate::transaction::Transaction {
    guest.transaction.as_mut().expect("an event runs")
}

/// Finds out whether a fault came from a value that does not fit.
pub(super) fn blame(guest: &Guest, mut fault: Fault) -> Box<Fault> {
    let unfit = match (&guest.migrating, fault.cause) {
        (_, Cause::Load) => None,
        (Some(key), _) => {
            fault.event = "migrate";
            fault.message = format!("the state {key:?} cannot be migrated: {}", fault.message);
            Some(key.clone())
        }
        (None, Cause::Trap) => marked(&fault.printed).map(|key| {
            fault.message = format!("the state {key:?} does not fit");
            key.into()
        }),
        (None, _) => None,
    };
    if let (Some(key), Some(transaction)) = (unfit, &guest.transaction) {
        fault.cause = Cause::State;
        fault.unfit = Some(Unfit { key, reader: transaction.writer() });
    }
    Box::new(fault)
}

/// The key in the line that says so.
fn marked(printed: &str) -> Option<&str> {
    printed.lines().find_map(|line| line.strip_prefix(MARK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_a_line_of_its_own() {
        let panic = "thread '<unnamed>' panicked at src/lib.rs:1:1:\nit does not fit";
        assert_eq!(marked(&format!("hello\n{MARK}handler\n{panic}\n")), Some("handler"));
        assert_eq!(marked(&format!("he said: {MARK}handler\n")), None);
    }
}
