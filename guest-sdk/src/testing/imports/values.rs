//! The host functions that answer from values: the store, the configuration and the log.
//!
//! The store is written in place and restored when the event faults. Log lines stay, also those of an event that faults.

/// The store; a value ends when the test has moved the time that far.
pub mod store {
    use super::super::{failure, sized};
    use crate::{
        host::types::Failure,
        testing::world::{Stored, Value, World},
    };
    use std::time::Duration;

    /// Counters stay within plus or minus this.
    const COUNTER_LIMIT: i64 = 1 << 53;

    pub fn get(key: &str) -> Result<Option<Vec<u8>>, Failure> {
        sized(key)?;
        Ok(World::with(|world| world.stored(key).cloned()).map(|stored| match stored.value {
            Value::Bytes(bytes) => bytes,
            Value::Counter(number) => number.to_string().into_bytes(),
        }))
    }

    pub fn set(key: &str, value: &[u8], ttl_ms: Option<u32>) -> Result<(), Failure> {
        sized(key)?;
        World::with(|world| {
            let stored = Stored { value: Value::Bytes(value.to_vec()), ends: end(world, ttl_ms) };
            world.store.insert(key.to_owned(), stored);
        });
        Ok(())
    }

    pub fn remove(key: &str) -> Result<(), Failure> {
        sized(key)?;
        World::with(|world| world.store.remove(key));
        Ok(())
    }

    pub fn increment(key: &str, by: i64, ttl_ms: Option<u32>) -> Result<i64, Failure> {
        sized(key)?;
        World::with(|world| {
            if world.stored(key).is_none() {
                let stored = Stored { value: Value::Counter(0), ends: end(world, ttl_ms) };
                world.store.insert(key.to_owned(), stored);
            }
            let Some(Stored { value: Value::Counter(number), .. }) = world.stored(key) else {
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

    /// When a value that is made now ends.
    fn end(world: &World, ttl_ms: Option<u32>) -> Option<Duration> {
        ttl_ms.map(|ttl| world.now + Duration::from_millis(ttl.into()))
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
