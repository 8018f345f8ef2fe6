//! What the kernel says about a process: CPU time, resident memory, and how many files this one may open.
//!
//! CPU time is user and system time of all threads of the process, in ticks of 10 ms; a round of seconds is long
//! enough for that. Resident memory comes from `smaps_rollup`, because the figure in `statm` is counted per CPU and
//! may be off by more than what small differences are made of.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More is never needed here, and a very high limit makes some programs slow to start.
const MOST_FILES: u64 = 20_000;

/// User and system seconds that all threads of a process have used so far.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("no CPU times in {path}"))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Seconds that the threads of a process whose names begin so were ready to run so far, while something else had the core.
pub fn waited_seconds(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/task");
    let mut nanoseconds = 0;
    for task in fs::read_dir(&path).with_context(|| format!("reading {path}"))? {
        let read = |file: &str| task.as_ref().ok().and_then(|task| fs::read_to_string(task.path().join(file)).ok());
        // A thread may end in between.
        let (Some(own), Some(schedule)) = (read("comm"), read("schedstat")) else { continue };
        if own.starts_with(name) {
            nanoseconds += run_delay(&schedule).with_context(|| format!("no times in schedstat of {path}"))?;
        }
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Bytes of a process that are in memory.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    resident(&rollup).with_context(|| format!("no Rss in {path}"))
}

/// Raises the soft limit of open files as far as is allowed and useful, and says what it now is. Servers inherit it.
pub fn raise_open_files() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MOST_FILES).min(MOST_FILES);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return Ok(current);
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })?;
    Ok(wanted)
}

/// How many processes wanted to run at a time in the last minute.
pub fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("reading /proc/loadavg")?;
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    first.context("no load average in /proc/loadavg")
}

/// Fields 14 and 15. The name, field 2, is in parentheses and may hold spaces and parentheses itself, so what
/// counts begins after the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut times = after_name.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

/// The second of three numbers: on the core, ready for it, and how often.
fn run_delay(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().nth(1)?.parse().ok()
}

fn resident(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_are_found_behind_any_name() {
        let fields = "S 1 42 42 0 -1 4194560 900 0 0 0 123 45 6 7 20 0 3 0 100 1000000 250";
        for name in ["bun", "Web Content", "a) R 1 2 (b", ""] {
            assert_eq!(cpu_ticks(&format!("42 ({name}) {fields}")), Some(168));
        }
        assert_eq!(cpu_ticks("42 (bun) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn what_a_thread_waits_is_between_what_it_runs_and_how_often() {
        assert_eq!(run_delay("900 123 7\n"), Some(123));
        assert_eq!(run_delay(""), None);
        assert!(waited_seconds(std::process::id(), "").unwrap() >= 0.0);
    }

    #[test]
    fn resident_memory_is_found_in_a_rollup() {
        let rollup = "55d0-7ffc ---p 00000000 00:00 0    [rollup]\nRss:               1234 kB\nPss:  12 kB\n";
        assert_eq!(resident(rollup), Some(1234 * 1024));
        assert_eq!(resident("Pss: 12 kB\n"), None);
    }

    #[test]
    fn this_process_has_both() {
        let own = std::process::id();
        assert!(cpu_seconds(own).unwrap() >= 0.0);
        assert!(resident_bytes(own).unwrap() > 0);
    }
}
