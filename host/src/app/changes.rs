//! Files that changed, and the one thread that does what they lead to.
//!
//! The watcher adds, and goes on watching; what a change leads to may take minutes. What a file is of is looked up here, since
//! a job before it may have changed that, and each job then waits in the line of its tenant: first come, first served in
//! one line, and the lines in turn, so that nobody waits for more than one job of each other tenant.
//! Invariant: no more files wait than are watched, and no more jobs than there are plugins, and one for the configuration.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::id::TenantId;

/// The files that wait; dropped, their thread ends.
pub struct Changes {
    files: Arc<Mutex<VecDeque<PathBuf>>>,
    bell: Sender<()>,
}

/// What a change leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Reading the configuration again.
    Configuration,
    /// Reading the server's certificate and its key again.
    Certificate,
    /// Reading the file of this plugin again.
    Plugin(Arc<str>),
}

/// What waits to be done: a line for each tenant with work.
#[derive(Default)]
struct Lines {
    lines: BTreeMap<TenantId, VecDeque<Job>>,
    /// Whose turn it was last.
    last: Option<TenantId>,
}

impl Changes {
    /// Calls, on a thread of its own, `sort` for each file that is added, and `work` for each job that it said that leads to.
    pub fn work_off(
        sort: impl Fn(&Path) -> Vec<(TenantId, Job)> + Send + 'static,
        work: impl Fn(&Job) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (bell, rings) = channel();
        let files = Arc::<Mutex<VecDeque<PathBuf>>>::default();
        let there = files.clone();
        let work_off = move || {
            let mut lines = Lines::default();
            while rings.recv().is_ok() {
                loop {
                    // Taken before they are read, so that a change from here on adds them once more.
                    let changed = std::mem::take(&mut *there.lock().unwrap_or_else(PoisonError::into_inner));
                    changed.iter().flat_map(|file| sort(file)).for_each(|(tenant, job)| lines.add(tenant, job));
                    let Some(job) = lines.next() else { break };
                    work(&job);
                }
            }
        };
        thread::Builder::new().name("reloads".into()).spawn(work_off)?;
        Ok(Self { files, bell })
    }

    /// Adds a file, unless it waits already.
    pub fn add(&self, file: &Path) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if !files.iter().any(|known| known == file) {
            files.push_back(file.to_owned());
            // Fails where the thread was lost, and nothing is read any more.
            let _ = self.bell.send(());
        }
    }
}

impl Lines {
    /// Queues a job up, unless it waits already.
    fn add(&mut self, tenant: TenantId, job: Job) {
        let line = self.lines.entry(tenant).or_default();
        if !line.contains(&job) {
            line.push_back(job);
        }
    }

    /// The first of the next line.
    fn next(&mut self) -> Option<Job> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.lines.range((after, Bound::Unbounded)).next().or_else(|| self.lines.iter().next());
        let tenant = *next?.0;
        self.last = Some(tenant);
        let line = self.lines.get_mut(&tenant)?;
        let job = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&tenant);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender};

    use super::*;

    /// A file `acme/chat` is that of the plugin of this name, whose tenant is `acme`.
    fn sort(file: &Path) -> Vec<(TenantId, Job)> {
        let name = file.to_str().expect("a name");
        let tenant = name.split_once('/').map_or("", |(tenant, _)| tenant);
        vec![(TenantId::named(tenant), Job::Plugin(name.into()))]
    }

    /// Each job is told as it begins, and ends when it may go on.
    fn changes() -> (Changes, Receiver<String>, Sender<()>) {
        let (sender, begun) = channel();
        let (go, may_go) = channel();
        let work = move |job: &Job| {
            let Job::Plugin(name) = job else { panic!("no file leads to it") };
            sender.send(name.to_string()).expect("somebody listens");
            // Ends with the test.
            let _ = may_go.recv();
        };
        (Changes::work_off(sort, work).expect("there are threads"), begun, go)
    }

    fn add(changes: &Changes, files: &[&str]) {
        files.iter().for_each(|file| changes.add(Path::new(file)));
    }

    #[test]
    fn each_file_waits_once_and_keeps_its_place() {
        let (changes, begun, go) = changes();
        add(&changes, &["first"]);
        assert_eq!(begun.recv().expect("it is read"), "first");
        add(&changes, &["a", "b", "a", "first", "b"]);
        for file in ["a", "b", "first"] {
            go.send(()).expect("it waits");
            assert_eq!(begun.recv().expect("it is read"), file);
        }
        assert!(changes.files.lock().expect("no panic").is_empty());
    }

    #[test]
    fn a_tenant_with_many_files_keeps_another_waiting_for_one_of_them() {
        let (changes, begun, go) = changes();
        let many: Vec<_> = (0..100).map(|number| format!("lines-many/{number}")).collect();
        add(&changes, &many.iter().map(String::as_str).collect::<Vec<_>>());
        let mut read = vec![begun.recv().expect("it is read")];
        add(&changes, &["lines-few/only", "plain"]);
        for _ in 0..101 {
            go.send(()).expect("it waits");
            read.push(begun.recv().expect("it is read"));
        }
        assert!(read[1..4].contains(&"lines-few/only".to_owned()), "{:?}", &read[..5]);
        assert!(read[1..4].contains(&"plain".to_owned()), "{:?}", &read[..5]);
        let own: Vec<_> = read.into_iter().filter(|file| file.starts_with("lines-many")).collect();
        assert_eq!(own, many, "in the order in which they came");
    }

    #[test]
    fn a_job_of_each_tenant_in_turn() {
        let mut lines = Lines::default();
        let tenants = ["one", "two", "three"].map(TenantId::named);
        for number in 0..3 {
            for tenant in &tenants {
                lines.add(*tenant, Job::Plugin(format!("{}{number}", tenant.name()).into()));
                lines.add(*tenant, Job::Plugin(format!("{}{number}", tenant.name()).into()));
            }
        }
        let order: Vec<_> = std::iter::from_fn(|| lines.next()).collect();
        for round in order.chunks(3) {
            let mut names: Vec<_> = round.iter().map(|job| format!("{job:?}")).collect();
            names.dedup_by_key(|name| name.trim_end_matches(char::is_numeric).to_owned());
            assert_eq!(names.len(), 3, "{order:?}");
        }
        assert_eq!((order.len(), lines.lines.len()), (9, 0));
    }
}
