//! What a plugin is granted beside its connections.
//!
//! Written as a list of words; a plugin without a list has all. Whoever calls what is not granted gets a failure of the kind
//! "denied" (`engine/imports`), since some toolchains import what they never call.
//! Invariant: nothing that one tenant is granted reaches another's.

use serde::Deserialize;

/// Something that a plugin may be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// Joining, leaving and asking rooms, and publishing to them (WIT `rooms`).
    Rooms,
    /// Values of the tenant (WIT `store`).
    Store,
    /// Timers of connections (WIT `timers`).
    Timers,
    /// A clock of a millisecond; without it time moves in steps of 100.
    Clock,
    /// Random numbers that secrets can be made of (`wasi:random/random`); a call without it ends the event.
    Random,
}

/// What one plugin is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted(u8);

impl Granted {
    /// All that there is.
    pub const ALL: Self = Self(u8::MAX);

    /// These and no others.
    pub fn only(grants: &[Grant]) -> Self {
        Self(grants.iter().fold(0, |granted, grant| granted | grant.bit()))
    }

    /// Whether this is among them.
    pub fn has(self, grant: Grant) -> bool {
        self.0 & grant.bit() != 0
    }
}

impl Grant {
    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Store => "store",
            Self::Timers => "timers",
            Self::Clock => "clock",
            Self::Random => "random",
        }
    }

    /// What an import needs, by the name of its interface; none for what all may call.
    pub fn of_import(name: &str) -> Option<Self> {
        let name = name.split('@').next()?;
        if name == "wasi:random/random" {
            return Some(Self::Random);
        }
        let interface = name.strip_prefix("switchboard:ws/")?;
        [Self::Rooms, Self::Store, Self::Timers].into_iter().find(|grant| grant.word() == interface)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_granted() {
        let some = Granted::only(&[Grant::Store, Grant::Clock]);
        let all = [Grant::Rooms, Grant::Store, Grant::Timers, Grant::Clock, Grant::Random];
        assert_eq!(all.map(|grant| some.has(grant)), [false, true, false, true, false]);
        assert!(all.iter().all(|grant| Granted::ALL.has(*grant) && !Granted::only(&[]).has(*grant)));
    }

    #[test]
    fn an_import_needs_the_grant_of_its_interface() {
        assert_eq!(Grant::of_import("switchboard:ws/rooms@0.1.0"), Some(Grant::Rooms));
        assert_eq!(Grant::of_import("wasi:random/random@0.2.0"), Some(Grant::Random));
        for name in [
            "wasi:random/insecure-seed@0.2.4",
            "switchboard:ws/connections@0.1.0",
            "wasi:clocks/wall-clock@0.2.0",
            "rooms",
        ] {
            assert_eq!(Grant::of_import(name), None, "{name}");
        }
    }
}
