//! A build of the metronome that cannot start.

use switchboard_sdk::{Service, export, log};

#[derive(Default)]
struct Metronome;

impl Service for Metronome {
    fn start(&self) -> Result<(), String> {
        log::info("start");
        Err("this build is broken".to_owned())
    }

    fn tick(&self) -> std::time::Duration {
        log::info("tick");
        std::time::Duration::from_secs(1)
    }
}

export!(Metronome: service);
