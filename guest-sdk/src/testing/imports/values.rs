//! The host functions that answer from values: the store, the configuration and the log.
//!
//! The store is written in place and restored when the event faults. Log lines stay, also those of an event that faults.

/// The store, with the host's default limits. Its time moves when the test says so.
pub mod store {
    use std::time::Duration;

    use super::super::{EFFECT_BYTES, EFFECTS, failure, running, sized};
    use crate::{
        host::types::Failure,
        testing::world::{Stored, Value, World},
    };

    /// Counters stay within plus or minus this.
    const COUNTER_LIMIT: i64 = 1 << 53;
    /// The most bytes of a value; the most keys, and the most bytes of keys and values with a fixed cost for each.
    const VALUE_BYTES: usize = 64 << 10;
    const KEYS: usize = 100_000;
    const BYTES: usize = 64 << 20;
    const ENTRY_COST: usize = 64;

    pub fn get(key: &str) -> Result<Option<Vec<u8>>, Failure> {
        sized(key)?;
        Ok(World::with(|world| world.stored(key).cloned()).map(|stored| match stored.value {
            Value::Bytes(bytes) => bytes,
            Value::Counter(number) => number.to_string().into_bytes(),
        }))
    }

    pub fn set(key: &str, value: &[u8], ttl_ms: Option<u32>) -> Result<(), Failure> {
        sized(key)?;
        if value.len() > VALUE_BYTES {
            return failure("too-large", "a value of the store has at most 64 KiB");
        }
        World::with(|world| {
            let stored = Stored { value: Value::Bytes(value.to_vec()), ends: world.ends(ttl_ms) };
            fits(world, key, &stored)?;
            write(world, key, cost(key, &stored))?;
            world.store.insert(key.to_owned(), stored);
            Ok(())
        })
    }

    pub fn remove(key: &str) -> Result<(), Failure> {
        sized(key)?;
        World::with(|world| {
            write(world, key, key.len())?;
            world.store.remove(key);
            Ok(())
        })
    }

    pub fn increment(key: &str, by: i64, ttl_ms: Option<u32>) -> Result<i64, Failure> {
        sized(key)?;
        World::with(|world| {
            let (number, ends) = match world.stored(key) {
                None => (0, world.ends(ttl_ms)),
                Some(Stored { value: Value::Counter(number), ends }) => (*number, *ends),
                Some(_) => return failure("invalid", "the value is no counter"),
            };
            let sum = number.checked_add(by).filter(|sum| (-COUNTER_LIMIT..=COUNTER_LIMIT).contains(sum));
            let Some(sum) = sum else {
                return failure("invalid", "a counter stays within plus or minus 2^53");
            };
            let stored = Stored { value: Value::Counter(sum), ends };
            fits(world, key, &stored)?;
            write(world, key, 0)?;
            world.store.insert(key.to_owned(), stored);
            Ok(sum)
        })
    }

    fn cost(key: &str, stored: &Stored) -> usize {
        let value = match &stored.value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Counter(_) => 8,
        };
        key.len() + value + ENTRY_COST
    }

    /// The limits of a tenant; what is over makes room.
    fn fits(world: &mut World, key: &str, stored: &Stored) -> Result<(), Failure> {
        let now = world.now;
        world.store.retain(|_, stored| stored.ends.is_none_or(|ends: Duration| ends > now));
        let before = world.store.get(key).map_or(0, |present| cost(key, present));
        let others = world.store.iter().map(|(key, stored)| cost(key, stored)).sum::<usize>() - before;
        let bytes = cost(key, stored);
        if before == 0 && world.store.len() >= KEYS || bytes > before && others + bytes > BYTES {
            return failure("quota", "a tenant has at most 100000 keys with 64 MiB together in the store");
        }
        Ok(())
    }

    /// The limits of an event.
    fn write(world: &mut World, key: &str, bytes: usize) -> Result<(), Failure> {
        let written = &mut running(world).written;
        let others = written.iter().filter(|(other, _)| *other != key).map(|(_, bytes)| bytes).sum::<usize>();
        if !written.contains_key(key) && written.len() >= EFFECTS || others + bytes > EFFECT_BYTES {
            return failure("quota", "one event may write at most 1000 keys with 4 MiB together");
        }
        written.insert(key.to_owned(), bytes);
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::store::{get, increment, remove, set};
    use crate::host::types::Failure;
    use crate::testing::host::run;
    use crate::testing::{FakeHost, expect_fault};

    fn kind<T: std::fmt::Debug>(answer: Result<T, Failure>) -> String {
        answer.expect_err("it is refused").kind
    }

    #[test]
    fn values_and_counters_end_once_the_time_is_moved_on() {
        let host = FakeHost::new();
        run(None, || set("code", b"1234", Some(1000))).unwrap();
        assert_eq!(run(None, || increment("tries", 1, Some(1000))), Ok(1));
        host.advance(Duration::from_millis(999));
        assert_eq!(run(None, || increment("tries", 1, Some(1000))), Ok(2));
        assert_eq!(host.stored("code").as_deref(), Some(&b"1234"[..]));
        host.advance(Duration::from_millis(1));
        assert_eq!((host.stored("code"), host.stored("tries")), (None, None));
        assert_eq!(run(None, || increment("tries", 5, None)), Ok(5));
    }

    #[test]
    fn a_value_an_event_and_a_counter_have_the_bounds_of_the_host() {
        let _host = FakeHost::new();
        assert!(run(None, || set("key", &[0; 65_536], None)).is_ok());
        assert_eq!(run(None, || kind(set("key", &[0; 65_537], None))), "too-large");
        let keys = |count: usize| {
            run(None, || (0..count).try_for_each(|key| increment(&format!("k{key}"), 1, None).map(drop)))
        };
        assert!(keys(1000).is_ok());
        assert_eq!(kind(keys(1001)), "quota");
        run(None, || {
            assert_eq!(increment("most", 1 << 53, None), Ok(1 << 53));
            assert_eq!(kind(increment("most", 1, None)), "invalid");
            assert_eq!(kind(increment("key", 1, None)), "invalid");
            assert_eq!(kind(remove("")), "invalid");
        });
    }

    #[test]
    fn an_event_that_faults_leaves_nothing_in_the_store() {
        let host = FakeHost::new();
        run(None, || set("key", b"old", None)).unwrap();
        let fault = || {
            run(None, || {
                set("key", b"new", None).unwrap();
                increment("n", 1, None).unwrap();
                assert_eq!(get("key"), Ok(Some(b"new".to_vec())));
                panic!("on purpose");
            })
        };
        assert_eq!(expect_fault(fault), "on purpose");
        assert_eq!((host.stored("key"), host.stored("n")), (Some(b"old".to_vec()), None));
    }
}

/// Other hosts, as the test has them answer.
#[cfg(feature = "http")]
pub mod http {
    use super::super::running;
    use crate::{
        http::{Error, Request, Response},
        testing::world::World,
    };

    pub fn send(request: Request) -> Result<Response, Error> {
        World::with(|world| {
            running(world);
            let answer = world.answers.get(&request.url).cloned();
            world.requests.push(request);
            let (status, body) = answer.ok_or_else(|| Error("HttpRequestDenied".to_owned()))?;
            Ok(Response { status, headers: Vec::new(), body })
        })
    }
}
