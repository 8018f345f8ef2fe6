//! The door: how many connections there may be at once, together and of one client address.
//!
//! Asked once for each handshake, after its own checks and before any guest; the answer is a place, held by the connection to
//! its end. Addresses are those that `peer` found, so behind trusted proxies the client's own.
//! Invariant: never are more places taken than the limits of that moment allow, and each comes back.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::Limits;
use crate::metrics::Failure;

/// The bits of an IPv6 address that one client has to itself, and so could use up: the lower half (RFC 4291, section 2.5.1).
const OWN: u128 = u64::MAX as u128;

/// All places.
#[derive(Default)]
pub struct Door {
    taken: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    all: usize,
    /// Only those with connections.
    of_address: HashMap<IpAddr, usize>,
}

/// One connection's place, given back when it is dropped.
pub struct Place {
    door: Arc<Door>,
    address: IpAddr,
}

impl Door {
    /// Takes a place; the error says which limit is reached.
    pub fn enter(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Result<Place, Failure> {
        let address = network(address);
        let mut taken = self.taken();
        if taken.all >= limits.connections {
            return Err(Failure::ServerFull);
        }
        let own = taken.of_address.get(&address).copied().unwrap_or_default();
        if limits.address_connections > 0 && own >= limits.address_connections {
            return Err(Failure::AddressFull);
        }
        taken.all += 1;
        taken.of_address.insert(address, own + 1);
        Ok(Place { door: self.clone(), address })
    }

    /// For a moment only, and never across an await.
    fn taken(&self) -> MutexGuard<'_, Places> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.door.taken();
        taken.all -= 1;
        if let Some(own) = taken.of_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.of_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !OWN).into(),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(
        door: &Arc<Door>,
        address: &str,
        [connections, address_connections]: [usize; 2],
    ) -> Result<Place, Failure> {
        let limits = Limits { connections, address_connections, ..Limits::default() };
        door.enter(address.parse().expect("an address"), &limits)
    }

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let door = Arc::<Door>::default();
        let ann = enter(&door, "192.0.2.1", [9, 2]).expect("there is room");
        let bob = enter(&door, "192.0.2.1", [9, 2]).expect("there is room");
        assert_eq!(enter(&door, "192.0.2.1", [9, 2]).err(), Some(Failure::AddressFull));
        let cy = enter(&door, "192.0.2.2", [9, 2]).expect("another address");
        assert_eq!(enter(&door, "192.0.2.1", [9, 0]).err().map(|_| ()), None, "0 is for any");
        drop(ann);
        assert!(enter(&door, "192.0.2.1", [9, 2]).is_ok());
        drop((bob, cy));
        assert!(door.taken().of_address.is_empty());
        assert_eq!(door.taken().all, 0);
    }

    #[test]
    fn the_server_has_so_many_places_for_all_addresses() {
        let door = Arc::<Door>::default();
        let _ann = enter(&door, "192.0.2.1", [2, 2]).expect("there is room");
        let bob = enter(&door, "192.0.2.2", [2, 2]).expect("there is room");
        assert_eq!(enter(&door, "192.0.2.3", [2, 2]).err(), Some(Failure::ServerFull));
        drop(bob);
        assert!(enter(&door, "192.0.2.3", [2, 2]).is_ok());
    }

    #[test]
    fn a_network_of_one_client_is_one_address() {
        let door = Arc::<Door>::default();
        let _ann = enter(&door, "2001:db8::1", [9, 1]).expect("there is room");
        assert_eq!(enter(&door, "2001:db8::ffff:1", [9, 1]).err(), Some(Failure::AddressFull));
        assert!(enter(&door, "2001:db8:0:1::1", [9, 1]).is_ok());
    }
}
