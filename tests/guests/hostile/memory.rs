//! Memory: as much as there is, and more of it with each event.
//!
//! Nothing of it is needed.

use std::cell::RefCell;
use std::hint::black_box;

use crate::Tried;

thread_local!(static KEPT: RefCell<Vec<Vec<u8>>> = RefCell::default());

const MIB: usize = 1024 * 1024;

pub fn run(what: &str) -> Tried {
    match what {
        // Until the host refuses, which ends the guest.
        "all" => loop {
            KEPT.with_borrow_mut(|kept| kept.push(black_box(vec![1; MIB])));
        },
        // What an event must not do: keep something for the next one.
        "more" => KEPT.with_borrow_mut(|kept| kept.push(black_box(vec![1; MIB]))),
        _ => panic!("there is no such memory: {what}"),
    }
    Ok(())
}
