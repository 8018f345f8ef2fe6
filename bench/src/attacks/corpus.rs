//! The attacks: what each is called, what its tenant has, and what its clients do again and again.
//!
//! The guests are those of the tests; what becomes of each attack is in the table of `SECURITY.md`. Words are what the
//! scripted guest `hostile` takes. Limits are a tenant's defaults, except where they would end an attack before it is one.
//! Invariant: no two attacks have the same name, and none of them is `crowd`.

/// The tenant that attacks; its paths begin with its name.
pub const TENANT: &str = "hostile";
/// Room for strings of 128 MiB in the guest, so that it is the host that refuses.
const ROOMY: &str = "guest-memory-bytes = 268435456, event-cpu-ms = 1000";
/// Attacking connections of most attacks: as many as keep one of them always at it.
const SEVERAL: usize = 8;
/// Connections that hear what is published.
const AUDIENCE: usize = 100;

pub struct Attack {
    pub name: &'static str,
    pub weight: Weight,
    pub means: Means,
    /// Limits of the tenant that differ from the defaults.
    pub limits: &'static str,
    /// Connections that attack, and connections that only hear.
    pub attackers: usize,
    pub listeners: usize,
}

/// What an attack may add to the round trips of others at p99.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Ordinary,
    /// Single operations over much memory, which nothing interrupts.
    Bulk,
}

#[derive(Clone, Copy)]
pub enum Means {
    /// Messages to one component.
    Words(Component, &'static [&'static str]),
    /// One plugin for each of these callbacks, in which it panics.
    Panics(&'static [Callback]),
    /// One plugin for each of these answers, which are too large.
    Answers(&'static [Callback]),
    /// Services that fault and that flood.
    Services,
    /// Components put in the place of the tenant's own one.
    Swaps(Swap),
    /// What clients send to a guest that echoes.
    Wire(Wire),
}

/// What a client of the wire does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// It connects and leaves.
    Storm,
    /// It never ends the head of its request.
    HalfHeads,
    /// It sends frames without a mask.
    BrokenFrames,
    /// It says that a message is huge.
    Claims,
    /// It sends a message in fragments of a byte, without an end.
    Fragments,
    /// It sends pings and reads no answer.
    Pings,
    /// It sends messages and reads no answer.
    Flood,
    /// It sends little that is inflated to much.
    Bombs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// `hostile`, which is told what to do.
    Scripted,
    /// A core module in text.
    Text(&'static str),
    Recursion,
    Handles,
    /// `hostile` with all its debug information, which the host reads for the backtrace of a trap.
    Debugged,
}

/// A word of the configuration of `hostile`.
#[derive(Clone, Copy)]
pub struct Callback {
    pub word: &'static str,
    /// What it does as a connection begins; `around` has it stand around a puppet.
    pub begin: &'static str,
    pub message: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// Good ones that take long to compile.
    Slow,
    Damaged,
}

impl Weight {
    /// The target, in milliseconds.
    pub fn target(self) -> f64 {
        match self {
            Self::Ordinary => 5.0,
            Self::Bulk => 60.0,
        }
    }
}

/// All of them, in the order of the table.
pub fn all() -> Vec<Attack> {
    let words = |name, words| Attack::new(name, Means::Words(Component::Scripted, words));
    let wire = |name, wire| Attack::new(name, Means::Wire(wire));
    let text = |name, module| Attack::new(name, Means::Words(Component::Text(module), &[""]));
    vec![
        words("endless-loop", &["loop alone"]),
        words("host-calls", &["loop calls"]),
        words("refused-calls", &["loop refused"]),
        text("bulk-memory", "bulk").weighing(Weight::Bulk),
        words("memory-bomb", &["memory all"]),
        words("growing-memory", &["memory more"]),
        text("table-bomb", "table"),
        Attack::new("recursion", Means::Words(Component::Recursion, &[""])),
        Attack::new("handles", Means::Words(Component::Handles, &[""])),
        text("bad-pointers", "pointers"),
        words("huge-strings", &HUGE_STRINGS).weighing(Weight::Bulk).within(ROOMY),
        words("huge-lists", &["oversized log-fields", "oversized exclude", "oversized some-fields"])
            .weighing(Weight::Bulk)
            .within(ROOMY),
        Attack::new("huge-answers", Means::Answers(&ANSWERS)).weighing(Weight::Bulk).within(ROOMY),
        words("traps", &["trap at once"]),
        Attack::new("traps-with-debug", Means::Words(Component::Debugged, &["trap at once"])),
        words("panic-flood", &["flood panic"]),
        Attack::new("callback-panics", Means::Panics(&PANICS)),
        words("exit", &["flood exit"]),
        words("effects", &["flood effects"]),
        words("stdout", &["flood stdout", "flood unended", "flood stderr"]),
        words("log", &["flood lines", "flood words"]),
        words("state", &["flood state"]),
        words("rooms", &["flood rooms"]),
        words("kept-rooms", &["flood publishes 0", "flood publishes 1", "flood publishes 2"]),
        words("store", &["flood store 0", "flood values 0", "flood counters 0"]),
        words("timers", &["flood timers"]),
        words("fan-out", &["flood fan-out"]).heard_by(AUDIENCE),
        words("ids-of-others", &["flood ids 1", "flood guesses lobby,key,modest/lobby,@route/ws,@route/modest/ws"]),
        words("clock-and-random", &["flood time", "flood random"]),
        Attack::new("services", Means::Services).attacked_by(0).heard_by(AUDIENCE),
        Attack::new("slow-compiles", Means::Swaps(Swap::Slow)).attacked_by(0),
        Attack::new("damaged-components", Means::Swaps(Swap::Damaged)).attacked_by(0),
        wire("client-storm", Wire::Storm),
        wire("client-half-heads", Wire::HalfHeads).attacked_by(200),
        wire("client-broken-frames", Wire::BrokenFrames),
        wire("client-claims", Wire::Claims),
        wire("client-fragments", Wire::Fragments),
        wire("client-pings", Wire::Pings),
        wire("client-flood", Wire::Flood),
        wire("client-bombs", Wire::Bombs),
    ]
}

/// What the hostile ones of many tenants do, one thing after the other.
pub const MIX: [&str; 10] = [
    "loop alone",
    "flood fan-out",
    "trap at once",
    "memory all",
    "flood effects",
    "loop calls",
    "flood counters 0",
    "flood stdout",
    "flood timers",
    "flood panic",
];

const HUGE_STRINGS: [&str; 10] = [
    "oversized send-text",
    "oversized close",
    "oversized ping",
    "oversized set-state-value",
    "oversized join",
    "oversized publish-text",
    "oversized store-set-value",
    "oversized log-line",
    "oversized some-text",
    "oversized some-key",
];

const PANICS: [Callback; 11] = [
    Callback::of("connect", ""),
    Callback::of("message", ""),
    Callback::of("disconnect", ""),
    Callback::of("timer", "timer"),
    Callback::of("joined", "join"),
    Callback::of("ping", ""),
    Callback::of("gate-connect", "around"),
    Callback::of("gate-disconnect", "around"),
    Callback::of("in", "around"),
    Callback::of("out", "around"),
    Callback { message: "trap at once", ..Callback::of("fault", "around") },
];

const ANSWERS: [Callback; 14] = [
    Callback::of("accept-subprotocol", ""),
    Callback::of("accept-headers", ""),
    Callback::of("accept-many", ""),
    Callback::of("accept-name", ""),
    Callback::of("respond-body", ""),
    Callback::of("respond-headers", ""),
    Callback::of("respond-many", ""),
    Callback::of("close", ""),
    Callback::of("pass-headers", "around"),
    Callback::of("pass-many", "around"),
    Callback::of("gate-close", "around"),
    Callback::of("in-replace", "around"),
    Callback::of("out-replace", "around"),
    Callback::of("out-replace-some", "around"),
];

impl Callback {
    const fn of(word: &'static str, begin: &'static str) -> Self {
        Self { word, begin, message: "send hello" }
    }
}

impl Attack {
    fn new(name: &'static str, means: Means) -> Self {
        Self { name, weight: Weight::Ordinary, means, limits: "", attackers: SEVERAL, listeners: 0 }
    }

    fn weighing(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }

    fn within(self, limits: &'static str) -> Self {
        Self { limits, ..self }
    }

    fn heard_by(self, listeners: usize) -> Self {
        Self { listeners, ..self }
    }

    fn attacked_by(self, attackers: usize) -> Self {
        Self { attackers, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_attack_has_a_name_of_its_own() {
        let attacks = all();
        let names: HashSet<_> = attacks.iter().map(|attack| attack.name).collect();
        assert_eq!(names.len(), attacks.len());
        assert!(!names.contains(super::super::CROWD));
    }

    #[test]
    fn operations_on_much_memory_have_a_wider_target_than_others() {
        let targets: Vec<_> = all().iter().map(|attack| (attack.name, attack.weight.target())).collect();
        assert!(targets.contains(&("bulk-memory", 60.0)) && targets.contains(&("endless-loop", 5.0)));
    }
}
