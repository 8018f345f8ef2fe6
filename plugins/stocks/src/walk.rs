//! Data that looks like some: prices that walk at random, weather that changes slowly, and a headline now and then.
//!
//! Where it is lies in the store, and not here. What is there and does not fit begins anew.

use std::collections::BTreeMap;
use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use switchboard_sdk::store;

const KEY: &str = "stocks/walk";
/// Symbols of companies that there are not, and the cents that a share costs at the beginning.
const SHARES: [(&str, u32); 4] = [("ACME", 18_250), ("GLBX", 9_640), ("INTK", 4_115), ("WNKA", 13_370)];
/// What happens there; the number of a headline is its place.
const HEADLINES: [&str; 8] = [
    "Acme recalls its rocket skates once more",
    "Globex moves its headquarters under water",
    "Initech to print fewer cover sheets",
    "Wonka denies that the river is chocolate",
    "Analysts agree that prices will change",
    "Regulator lost in the card index, search goes on",
    "Weather to continue, say meteorologists",
    "Nobody was disconnected today",
];

/// Everything that walks, in the shape that clients get.
#[derive(Serialize, Deserialize)]
struct Walk {
    stocks: BTreeMap<String, f64>,
    weather: Weather,
    news: News,
}

#[derive(Serialize, Deserialize)]
struct Weather {
    place: String,
    celsius: f64,
    /// In meters per second.
    wind: f64,
}

#[derive(Serialize, Deserialize)]
struct News {
    number: usize,
    headline: String,
}

impl Default for Walk {
    fn default() -> Self {
        let price = |(symbol, cents): (&str, u32)| (symbol.to_owned(), f64::from(cents) / 100.0);
        Self {
            stocks: SHARES.into_iter().map(price).collect(),
            weather: Weather { place: "Reykjavik".into(), celsius: 9.0, wind: 6.0 },
            news: News { number: 0, headline: HEADLINES[0].into() },
        }
    }
}

/// One step on from where the last one left, and the data of all kinds there.
pub fn step() -> Result<Map<String, Value>, Box<dyn Error>> {
    let stored = store::get(KEY)?.and_then(|bytes| serde_json::from_slice::<Walk>(&bytes).ok());
    let mut walk = stored.unwrap_or_default();
    walk.step(&RandomState::new());
    let bytes = serde_json::to_vec(&walk)?;
    store::set(KEY, &bytes, None)?;
    Ok(serde_json::from_slice(&bytes)?)
}

impl Walk {
    fn step(&mut self, seed: &RandomState) {
        for (symbol, price) in &mut self.stocks {
            // As much up as down, as a part of the price: it never becomes nothing.
            *price = walked(*price, chance(seed, symbol) * *price * 0.008, (1.0, 10_000.0));
        }
        self.weather.celsius = walked(self.weather.celsius, chance(seed, "celsius") * 0.2, (-12.0, 24.0));
        self.weather.wind = walked(self.weather.wind, chance(seed, "wind") * 0.5, (0.0, 30.0));
        if chance(seed, "news") > 0.8 {
            self.news.number = (self.news.number + 1) % HEADLINES.len();
            self.news.headline = HEADLINES[self.news.number].into();
        }
    }
}

fn walked(from: f64, by: f64, (least, most): (f64, f64)) -> f64 {
    ((from + by).clamp(least, most) * 100.0).round() / 100.0
}

/// A number from -1 to 1 for each name. The seed is the host's randomness: the standard library asks for it to seed its maps.
fn chance(seed: &RandomState, name: &str) -> f64 {
    let mut hasher = seed.build_hasher();
    hasher.write(name.as_bytes());
    let thousandths = hasher.finish() % 2001;
    thousandths as f64 / 1000.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_goes_on_and_stays_within_its_bounds() {
        let mut walk = Walk::default();
        let mut headlines = 0;
        for _ in 0..2000 {
            let before = walk.news.number;
            walk.step(&RandomState::new());
            headlines += usize::from(before != walk.news.number);
            assert!(walk.stocks.values().all(|price| (1.0..=10_000.0).contains(price)));
            assert!((-12.0..=24.0).contains(&walk.weather.celsius) && (0.0..=30.0).contains(&walk.weather.wind));
        }
        assert!((50..500).contains(&headlines), "{headlines}");
        assert_ne!(walk.stocks, Walk::default().stocks);
    }
}
