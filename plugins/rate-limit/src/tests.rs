//! The plugin against the fake host, with a time that the tests move.
//!
//! It begins at the start of a window of every length that is used here. Connections are made and counted one by one, so that
//! each test can say how many of them got in.

use switchboard_sdk::testing::{FakeConnection, FakeHost, FakeRequest, expect_fault};

use super::*;

fn host() -> FakeHost {
    FakeHost::new().config("connections", "4").config("window-seconds", "60")
}

fn pass(seconds: u64) {
    clock::advance(Duration::from_secs(seconds));
}

fn connect(host: &FakeHost, peer: &str) -> Result<Pass, Refusal> {
    host.connection(FakeRequest::new("/ws").peer(peer)).connect_gate::<RateLimit>()
}

/// Passes for the host's store as well.
fn wait(host: &FakeHost, seconds: u64) {
    host.advance(Duration::from_secs(seconds));
    pass(seconds);
}

/// How many of so many connections of one address get in.
fn admitted(host: &FakeHost, tries: usize) -> usize {
    (0..tries).filter(|n| connect(host, &format!("192.0.2.1:{}", 50_000 + n)).is_ok()).count()
}

/// How many messages pass before the connection is closed.
fn passed(connection: &FakeConnection, tries: usize) -> usize {
    (0..tries).take_while(|_| connection.inbound::<RateLimit>("hi") == Verdict::Pass).count()
}

mod connections {
    use super::*;

    #[test]
    fn u6_one_more_than_the_limit_is_refused() {
        let host = host();
        assert_eq!(admitted(&host, 4), 4);
        let refusal = connect(&host, "192.0.2.1:60000").unwrap_err();
        assert_eq!(refusal, Close::policy("Rate limit exceeded").into());
    }

    #[test]
    fn u6_refused_connections_are_not_counted() {
        let host = host();
        assert_eq!(admitted(&host, 100), 4);
        // All are forgotten once the window after theirs is over.
        wait(&host, 120);
        assert_eq!(admitted(&host, 100), 4);
    }

    #[test]
    fn u6_each_address_has_its_own_count_whatever_its_port() {
        let host = host();
        assert_eq!(admitted(&host, 5), 4);
        assert!(connect(&host, "192.0.2.2:50000").is_ok());
        for port in 0..4 {
            assert!(connect(&host, &format!("[2001:db8::1]:{port}")).is_ok());
        }
        assert!(connect(&host, "[2001:db8::1]:9").is_err());
        assert!(connect(&host, "[2001:db8:0:1::1]:9").is_ok(), "another network");
        assert!(connect(&host, "[::ffff:192.0.2.1]:9").is_err(), "an IPv4 address as IPv6 writes it");
    }

    #[test]
    fn addresses_are_written_without_their_ports() {
        let addresses = [
            ("192.0.2.1:50000", "192.0.2.1"),
            ("[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::/64"),
            ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
            ("[::1]:1", "::/64"),
            ("somebody", "somebody"),
            ("", ""),
        ];
        for (peer, expected) in addresses {
            assert_eq!(address::of(peer), expected);
        }
        assert_eq!(address::of(&"é".repeat(1000)).len(), 48);
    }

    #[test]
    fn the_window_slides() {
        let host = host();
        assert_eq!(admitted(&host, 9), 4);
        wait(&host, 60);
        assert_eq!(admitted(&host, 9), 0, "all of the window before still count");
        wait(&host, 15);
        assert_eq!(admitted(&host, 9), 1, "three quarters of them do");
        wait(&host, 15);
        assert_eq!(admitted(&host, 9), 1);
        wait(&host, 29);
        assert_eq!(admitted(&host, 9), 1);
        wait(&host, 1);
        assert_eq!(admitted(&host, 9), 1, "a new window begins, and the three before count whole");
        wait(&host, 120);
        assert_eq!(admitted(&host, 9), 4);
    }

    #[test]
    fn no_span_of_one_window_lets_in_twice_the_limit() {
        // The worst that can come: a whole limit at the end of a window, and as many as get in after it.
        let host = FakeHost::new().config("connections", "10").config("window-seconds", "60");
        wait(&host, 59);
        let first = admitted(&host, 100);
        let later: usize = (0..59)
            .map(|_| {
                wait(&host, 1);
                admitted(&host, 100)
            })
            .sum();
        assert_eq!(first, 10);
        assert!(later < 10, "{later} in the 59 seconds after");
    }

    #[test]
    fn scopes_count_apart() {
        let host = host();
        assert_eq!(admitted(&host, 9), 4);
        let host = host.config("scope", "api");
        assert_eq!(admitted(&host, 9), 4);
    }

    #[test]
    fn a_counter_ends_with_the_window_after_its_own() {
        let host = host();
        assert_eq!(admitted(&host, 3), 3);
        let key = "rate-limit//192.0.2.1/30000000";
        assert_eq!(host.stored(key).as_deref(), Some(b"3".as_slice()));
        wait(&host, 119);
        assert_eq!(host.stored(key).as_deref(), Some(b"3".as_slice()));
        wait(&host, 1);
        assert_eq!(host.stored(key), None);
    }
}

mod messages {
    use super::*;

    fn host() -> FakeHost {
        FakeHost::new().config("messages", "3").config("per-seconds", "10")
    }

    #[test]
    fn one_more_than_the_limit_closes() {
        let ann = host().connection("/ws");
        assert_eq!(passed(&ann, 9), 3);
        assert_eq!(ann.closed(), Some(Close::policy("Rate limit exceeded")));
    }

    #[test]
    fn connections_count_apart_and_nothing_is_in_the_store() {
        let host = host();
        let (ann, bob) = (host.connection("/ws"), host.connection("/ws"));
        assert_eq!((passed(&ann, 3), passed(&bob, 9)), (3, 3));
        assert_eq!(ann.closed(), None);
    }

    #[test]
    fn who_stays_two_below_the_limit_goes_on_for_ever() {
        let ann = host().config("messages", "5").connection("/ws");
        for _ in 0..100 {
            assert_eq!(passed(&ann, 1), 1);
            clock::advance(Duration::from_millis(3_334));
        }
    }

    #[test]
    fn the_window_slides_and_silence_forgives() {
        let host = host();
        let (ann, bob) = (host.connection("/ws"), host.connection("/ws"));
        assert_eq!((passed(&ann, 3), passed(&bob, 3)), (3, 3));
        pass(15);
        assert_eq!(passed(&ann, 3), 1, "half of the three still count");
        pass(5);
        assert_eq!(passed(&bob, 9), 3);
    }

    #[test]
    fn a_clock_that_is_set_back_forgives_nothing() {
        let later = Rate::new(3, Duration::from_secs(10)).at(Duration::from_secs(100));
        let sent = Sent { window: 12, current: 3, previous: 1 }.moved_to(later);
        assert_eq!((sent.window, sent.current, sent.previous), (12, 3, 1));
    }
}

mod configuration {
    use super::*;

    #[test]
    fn the_defaults_are_20_in_a_minute_and_100_in_ten_seconds() {
        let host = FakeHost::new();
        assert_eq!(admitted(&host, 100), 20);
        assert_eq!(passed(&host.connection("/ws"), 200), 100);
    }

    #[test]
    fn a_limit_that_is_off_is_none() {
        let host = FakeHost::new().config("connections", "off").config("messages", "off");
        assert_eq!(admitted(&host, 100), 100);
        let ann = host.connection("/ws");
        assert_eq!(passed(&ann, 200), 200);
        assert_eq!(ann.state::<Sent>("rate-limit/").map(|sent| sent.current), None);
    }

    #[test]
    fn what_cannot_be_used_faults() {
        let wrong = [
            ("connections", "0", "\"connections\" is 1 to 1000000, or \"off\"; not 0"),
            ("connections", "many", "\"connections\" cannot be \"many\""),
            ("messages", "1000001", "\"messages\" is 1 to 1000000"),
            ("window-seconds", "0", "\"window-seconds\" is 1 to 86400 seconds, not 0"),
            ("per-seconds", "86401", "\"per-seconds\" is 1 to 86400 seconds"),
            ("scope", "a scope of more than thirty-two bytes", "\"scope\" has at most 32 bytes"),
        ];
        for (key, value, sentence) in wrong {
            let host = FakeHost::new().config(key, value);
            let text = expect_fault(|| drop(connect(&host, "192.0.2.1:1")));
            assert!(text.contains(sentence), "{text}");
        }
    }
}
