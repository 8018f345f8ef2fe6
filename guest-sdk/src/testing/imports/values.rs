//! The host functions that answer from values: the store, the configuration and the log.
//!
//! The store is written in place and restored when the event faults. Log lines stay, also those of an event that faults.

/// The store; its time stands still, so no value ends by itself.
pub mod store {
    use super::super::{failure, sized};
    use crate::{
        host::types::Failure,
        testing::world::{Value, World},
    };

    /// Counters stay within plus or minus this.
    const COUNTER_LIMIT: i64 = 1 << 53;

    pub fn get(key: &str) -> Result<Option<Vec<u8>>, Failure> {
        sized(key)?;
        Ok(World::with(|world| world.store.get(key).cloned()).map(|value| match value {
            Value::Bytes(bytes) => bytes,
            Value::Counter(number) => number.to_string().into_bytes(),
        }))
    }

    pub fn set(key: &str, value: &[u8], _ttl_ms: Option<u32>) -> Result<(), Failure> {
        sized(key)?;
        World::with(|world| world.store.insert(key.to_owned(), Value::Bytes(value.to_vec())));
        Ok(())
    }

    pub fn remove(key: &str) -> Result<(), Failure> {
        sized(key)?;
        World::with(|world| world.store.remove(key));
        Ok(())
    }

    pub fn increment(key: &str, by: i64, _ttl_ms: Option<u32>) -> Result<i64, Failure> {
        sized(key)?;
        World::with(|world| {
            let Value::Counter(number) = world.store.entry(key.to_owned()).or_insert(Value::Counter(0)) else {
                return failure("invalid", "the value is no counter");
            };
            match number.checked_add(by).filter(|sum| sum.abs() <= COUNTER_LIMIT) {
                Some(sum) => {
                    *number = sum;
                    Ok(sum)
                }
                None => failure("invalid", "a counter stays within plus or minus 2^53"),
            }
        })
    }
}

/// The configuration, as the test gave it.
pub mod config {
    use crate::{bindings::imports::wasi::config::store::Error, testing::world::World};

    pub fn get(key: &str) -> Result<Option<String>, Error> {
        Ok(World::with(|world| world.config.get(key).cloned()))
    }

    pub fn get_all() -> Result<Vec<(String, String)>, Error> {
        Ok(World::with(|world| world.config.clone().into_iter().collect()))
    }
}

/// The log, kept for the test to read.
pub mod log {
    use crate::testing::world::World;

    pub fn write(level: &str, line: &str, fields: &[(String, String)]) {
        let fields: String = fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        World::with(|world| world.log.push((level.to_owned(), format!("{line}{fields}"))));
    }

    pub fn enabled(_level: &str) -> bool {
        true
    }
}
