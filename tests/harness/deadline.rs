//! The one deadline of all waits: long enough for a busy machine, and an end for a test that waits for nothing.
//!
//! No test may depend on how long something takes, so there is only one, and it is generous.

use std::time::Duration;

/// How long anything is waited for.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for something, and panics with what it was when it does not come.
pub async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, wait).await {
        Ok(ended) => ended,
        Err(_) => panic!("waited {DEADLINE:?} for {what}"),
    }
}
