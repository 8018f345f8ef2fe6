//! The deadlines of one connection: keepalive, idle limit, and patience with a peer that does not read.
//!
//! Pure arithmetic: given the time and the last signs of life it says what is due, and when to look again. Pings and closes
//! are the connection's to carry out; the guests' timers are kept with its state.
//! Invariant: a peer that was heard since the last ping is never given up for it.

use std::time::Duration;

use crate::clock::Moment;
use crate::limits::Limits;

/// How long a connection keeps the memory that a large message left: another one may follow.
pub const GROWN_TIME: Duration = Duration::from_secs(1);

/// The last signs of life of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Signs {
    /// When anything came from it.
    pub heard: Moment,
    /// When a message went in either direction.
    pub active: Moment,
    /// Since when it takes no byte of what is to be written.
    pub stuck: Option<Moment>,
    /// Since when a message of its is on its way.
    pub partial: Option<Moment>,
    /// Since when its connection has the memory that a large message left.
    pub grown: Option<Moment>,
}

/// How long what a peer does on the wire may last.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    write: Duration,
    message: Duration,
}

/// What has to be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// The peer was silent for long: it is to be pinged.
    Ping,
    /// Nothing came for a ping: the connection is lost.
    NoPong,
    /// No message for longer than the route allows.
    Idle,
    /// The peer took nothing for too long.
    Stalled,
    /// A message of the peer took too long.
    SlowMessage,
    /// A close is queued, and the peer does not read what waits before it.
    GiveUp,
}

/// What a connection is watched for.
#[derive(Debug)]
pub struct Deadlines {
    ping: Option<Duration>,
    pong: Duration,
    idle: Option<Duration>,
    times: Times,
    /// When the ping went out that was not answered yet.
    pinged: Option<Moment>,
    give_up: Option<Moment>,
}

impl Times {
    /// Those of the limits.
    pub fn new(limits: &Limits) -> Self {
        let ms = Duration::from_millis;
        Self { write: ms(limits.write_ms), message: ms(limits.message_ms) }
    }

    /// When to look again.
    pub fn next(self, signs: Signs) -> Option<Moment> {
        let stuck = signs.stuck.map(|since| since + self.write);
        let partial = signs.partial.map(|since| since + self.message);
        stuck.into_iter().chain(partial).chain(signs.grown.map(|since| since + GROWN_TIME)).min()
    }

    fn due(self, now: Moment, signs: Signs) -> Option<Due> {
        if signs.stuck.is_some_and(|since| since + self.write <= now) {
            return Some(Due::Stalled);
        }
        signs.partial.is_some_and(|since| since + self.message <= now).then_some(Due::SlowMessage)
    }
}

impl Deadlines {
    /// Those of the limits, with the route's own for idle connections.
    pub fn new(limits: &Limits, idle: Option<Duration>) -> Self {
        Self { ping: limits.ping(), pong: limits.pong(), idle, times: Times::new(limits), pinged: None, give_up: None }
    }

    /// From here on the connection has only until this moment.
    pub fn give_up_at(&mut self, moment: Moment) {
        self.give_up = Some(moment);
    }

    /// What is due now, if anything; a ping counts as sent.
    pub fn due(&mut self, now: Moment, signs: Signs) -> Option<Due> {
        if let Some(give_up) = self.give_up {
            return (give_up <= now).then_some(Due::GiveUp);
        }
        if let Some(due) = self.times.due(now, signs) {
            return Some(due);
        }
        self.pinged = self.pinged.filter(|pinged| signs.heard < *pinged);
        if self.idle.is_some_and(|idle| signs.active + idle <= now) {
            return Some(Due::Idle);
        }
        match (self.pinged, self.ping) {
            (Some(pinged), _) => (pinged + self.pong <= now).then_some(Due::NoPong),
            (None, Some(ping)) if signs.heard + ping <= now => {
                self.pinged = Some(now);
                Some(Due::Ping)
            }
            _ => None,
        }
    }

    /// When to look again, if nothing happens before.
    pub fn next(&self, signs: Signs) -> Option<Moment> {
        if self.give_up.is_some() {
            return self.give_up;
        }
        let keepalive = match (self.pinged, self.ping) {
            (Some(pinged), _) => Some(pinged + self.pong),
            (None, ping) => ping.map(|ping| signs.heard + ping),
        };
        let idle = self.idle.map(|idle| signs.active + idle);
        keepalive.into_iter().chain(idle).chain(self.times.next(signs)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn signs(heard: u64, active: u64) -> Signs {
        Signs { heard: at(heard), active: at(active), ..Signs::default() }
    }

    #[test]
    fn a_silent_peer_is_pinged_after_25_s_and_lost_10_s_later() {
        let mut deadlines = Deadlines::new(&Limits::default(), None);
        assert_eq!(deadlines.next(signs(0, 0)), Some(at(25)));
        assert_eq!(deadlines.due(at(24), signs(0, 0)), None);
        assert_eq!(deadlines.due(at(25), signs(0, 0)), Some(Due::Ping));
        assert_eq!(deadlines.next(signs(0, 0)), Some(at(35)));
        assert_eq!(deadlines.due(at(34), signs(0, 0)), None);
        assert_eq!(deadlines.due(at(35), signs(0, 0)), Some(Due::NoPong));
    }

    #[test]
    fn a_peer_that_answers_is_pinged_again_after_another_25_s() {
        let mut deadlines = Deadlines::new(&Limits::default(), None);
        assert_eq!(deadlines.due(at(25), signs(0, 0)), Some(Due::Ping));
        assert_eq!(deadlines.due(at(35), signs(26, 0)), None);
        assert_eq!(deadlines.next(signs(26, 0)), Some(at(51)));
        assert_eq!(deadlines.due(at(51), signs(26, 0)), Some(Due::Ping));
    }

    #[test]
    fn a_connection_without_messages_is_idle_although_it_answers_pings() {
        let mut deadlines = Deadlines::new(&Limits::default(), Some(at(60)));
        assert_eq!(deadlines.next(signs(50, 0)), Some(at(60)));
        assert_eq!(deadlines.due(at(59), signs(50, 0)), None);
        assert_eq!(deadlines.due(at(60), signs(50, 0)), Some(Due::Idle));
        assert_eq!(deadlines.due(at(60), signs(50, 50)), None);
    }

    #[test]
    fn what_is_on_its_way_may_last_for_so_long() {
        let off = Limits { ping_ms: 0, ..Limits::default() };
        let mut deadlines = Deadlines::new(&off, None);
        let (stuck, partial) =
            (Signs { stuck: Some(at(5)), ..signs(0, 0) }, Signs { partial: Some(at(5)), ..signs(0, 0) });
        for (signs, limit, due) in [(stuck, 65, Due::Stalled), (partial, 35, Due::SlowMessage)] {
            assert_eq!(deadlines.next(signs), Some(at(limit)));
            assert_eq!(deadlines.due(at(limit - 1), signs), None);
            assert_eq!(deadlines.due(at(limit), signs), Some(due));
        }
    }

    #[test]
    fn keepalive_can_be_switched_off_and_giving_up_comes_before_all_else() {
        let off = Limits { ping_ms: 0, ..Limits::default() };
        let mut deadlines = Deadlines::new(&off, None);
        assert_eq!((deadlines.next(signs(0, 0)), deadlines.due(at(1000), signs(0, 0))), (None, None));
        deadlines.give_up_at(at(5));
        assert_eq!(deadlines.next(signs(0, 0)), Some(at(5)));
        assert_eq!(deadlines.due(at(4), signs(0, 0)), None);
        assert_eq!(deadlines.due(at(5), signs(0, 0)), Some(Due::GiveUp));
    }
}
