//! The store's disk: a file that holds what was committed, for the next start.
//!
//! The only door to redb. A thread of its own takes batches of changes in the order in which memory changed, writes all
//! that wait as one group, and says how far it came once that is synced. It never reads after the start. Its first failed
//! write is its last: it says so and ends, and `store` refuses from then on.
//! Invariant: what is called written survives the end of the process and of the machine.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use prometheus_client::metrics::counter::Counter;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, watch};

use super::values::{Record, Value};
use super::{Lost, WallTime};
use crate::id::TenantId;
use crate::limits::Limits;
use crate::metrics::Metrics;

/// Tenant's name and key; end, number of a counter, and bytes of anything else.
const VALUES: TableDefinition<(&str, &str), Row> = TableDefinition::new("values");

type Row = (Option<WallTime>, Option<i64>, &'static [u8]);

/// What redb may keep in memory: little, since values are read from it only at the start.
const CACHE: usize = 4 * 1024 * 1024;

/// One change of what is committed; a record of none removes the key.
#[derive(Debug)]
pub struct Change {
    /// Whose it is.
    pub tenant: TenantId,
    /// The key.
    pub key: Arc<str>,
    /// What it holds from now on.
    pub record: Option<Record>,
}

/// Changes that belong together: those of one event.
pub struct Batch {
    /// Counted from 1.
    pub number: u64,
    /// In their order.
    pub changes: Vec<Change>,
    /// Their place in the queue, given back once they are written.
    pub _room: Option<OwnedSemaphorePermit>,
}

/// How far the writer came.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// The number of the last batch that is on the disk.
    written: u64,
    failed: bool,
}

/// The handle of the writer.
pub struct Disk {
    room: Arc<Semaphore>,
    /// What the semaphore had at first.
    size: usize,
    waits: Counter,
    progress: watch::Receiver<Progress>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Why a file cannot be the store's.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0}: another server uses this store; stop it, or give this one another folder with `state` in [server]")]
    InUse(PathBuf),
    /// It is not a store, or not one of this version.
    #[error("{0}: the store cannot be read: {1}; put a copy in its place, or move it away to begin with an empty one")]
    Unreadable(PathBuf, String),
    /// The system does not let us.
    #[error(
        "{0}: the store cannot be opened: {1}; make its folder writable, or keep the store in memory with `store` in [server]"
    )]
    System(PathBuf, io::Error),
}

/// A disk, the queue of its writer, and what was found on it.
pub type Opened = (Disk, mpsc::UnboundedSender<Batch>, Vec<Change>);

impl Disk {
    /// Opens or makes the file, reads it whole, and starts the writer.
    pub fn open(file: &Path, limits: &Limits, metrics: &Metrics) -> Result<Opened, OpenError> {
        let system = |error| OpenError::System(file.to_owned(), error);
        let backend = create(file).map_err(system)?;
        let database =
            backend.and_then(|backend| Database::builder().set_cache_size(CACHE).create_with_backend(backend));
        let database = database.map_err(|error| unusable(file, error))?;
        Self::start(database, file, limits, metrics)
    }

    fn start(database: Database, file: &Path, limits: &Limits, metrics: &Metrics) -> Result<Opened, OpenError> {
        let found = read(&database).map_err(|error| OpenError::Unreadable(file.to_owned(), error.to_string()))?;
        // Its length bounds nothing: every batch but that of a sweep holds its share of `room`.
        let (queue, batches) = mpsc::unbounded_channel();
        let (sender, progress) = watch::channel(Progress::default());
        let failures = metrics.store_failures.clone();
        let writer = Writer { file: file.to_owned(), database, progress: sender, failures };
        let log = tracing::dispatcher::get_default(Clone::clone);
        let thread = std::thread::Builder::new().name("store".into());
        let thread = thread.spawn(move || tracing::dispatcher::with_default(&log, || writer.run(batches)));
        let thread = thread.map_err(|error| OpenError::System(file.to_owned(), error))?;
        let size = limits.store_writes;
        let (room, waits) = (Arc::new(Semaphore::new(size)), metrics.store_waits.clone());
        Ok((Self { room, size, waits, progress, thread: Mutex::new(Some(thread)) }, queue, found))
    }

    /// A place in the queue for so many changes; waits where there is none. An event with more than the queue takes has it
    /// for itself.
    pub async fn room(&self, changes: usize) -> Result<Option<OwnedSemaphorePermit>, Lost> {
        let wanted = u32::try_from(changes.min(self.size)).unwrap_or(u32::MAX);
        if wanted == 0 {
            return Ok(None);
        }
        let room = match self.room.clone().try_acquire_many_owned(wanted) {
            Err(TryAcquireError::NoPermits) => {
                self.waits.inc();
                self.room.clone().acquire_many_owned(wanted).await
            }
            Ok(room) => Ok(room),
            Err(TryAcquireError::Closed) => return Err(Lost),
        };
        if self.has_failed() {
            return Err(Lost);
        }
        room.map(Some).map_err(|_| Lost)
    }

    /// Waits until this batch is on the disk.
    pub async fn written(&self, number: u64) -> Result<(), Lost> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.failed || progress.written >= number).await;
        let failed = reached.map_err(|_| Lost)?.failed;
        (!failed).then_some(()).ok_or(Lost)
    }

    /// Whether a write has failed.
    pub fn has_failed(&self) -> bool {
        self.progress.borrow().failed
    }

    /// Waits for the writer, which ends once its queue is closed and empty.
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// The thread that writes.
struct Writer {
    file: PathBuf,
    database: Database,
    progress: watch::Sender<Progress>,
    failures: Counter,
}

impl Writer {
    fn run(self, mut batches: mpsc::UnboundedReceiver<Batch>) {
        while let Some(first) = batches.blocking_recv() {
            let mut group = vec![first];
            while let Ok(next) = batches.try_recv() {
                group.push(next);
            }
            if let Err(error) = self.write(&group) {
                return self.fail(&error);
            }
            let written = group.last().map_or(0, |batch| batch.number);
            self.progress.send_modify(|progress| progress.written = written);
        }
    }

    /// All or nothing of a group, synced before this returns. In two phases, since the content is not ours: with one, a
    /// crash in between is told from a finished write by a checksum that whoever chooses the content could aim at.
    fn write(&self, group: &[Batch]) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_two_phase_commit(true);
        {
            let mut table = transaction.open_table(VALUES)?;
            for Change { tenant, key, record } in group.iter().flat_map(|batch| &batch.changes) {
                let place = (tenant.name(), &**key);
                match record {
                    Some(Record { value: Value::Bytes(bytes), ends }) => {
                        table.insert(place, (*ends, None, &**bytes))?
                    }
                    Some(Record { value: Value::Counter(sum), ends }) => {
                        table.insert(place, (*ends, Some(*sum), &[][..]))?
                    }
                    None => table.remove(place)?,
                };
            }
        }
        Ok(transaction.commit()?)
    }

    fn fail(&self, error: &redb::Error) {
        self.failures.inc();
        let file = self.file.display();
        tracing::error!(
            %file,
            "the store cannot be written, and is out of use until the server is started again; see to the disk: {error}"
        );
        self.progress.send_modify(|progress| progress.failed = true);
    }
}

/// For the server's user alone, like all of the state folder.
fn create(file: &Path) -> io::Result<Result<FileBackend, DatabaseError>> {
    let folder = file.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file)?;
    // The file's name is to outlive the machine too.
    File::open(folder)?.sync_all()?;
    Ok(FileBackend::new(opened))
}

fn unusable(file: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(file.to_owned()),
        other => OpenError::Unreadable(file.to_owned(), other.to_string()),
    }
}

/// All that is in the file, also of tenants that this server does not have yet.
fn read(database: &Database) -> Result<Vec<Change>, redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(VALUES)?;
    transaction.commit()?;
    let mut found = Vec::new();
    for row in database.begin_read()?.open_table(VALUES)?.iter()? {
        let (place, row) = row?;
        let ((owner, key), (ends, counter, bytes)) = (place.value(), row.value());
        let value = counter.map_or_else(|| Value::Bytes(bytes.to_vec().into()), Value::Counter);
        found.push(Change { tenant: TenantId::named(owner), key: key.into(), record: Some(Record { value, ends }) });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::super::{Refusal, Store};
    use super::*;
    use crate::clock::Clock;
    use crate::tenants::Tenants;

    /// A disk that can be told to fail.
    #[derive(Debug)]
    struct Failing(InMemoryBackend, Arc<AtomicBool>);

    impl Failing {
        fn check(&self) -> io::Result<()> {
            match self.1.load(Ordering::Relaxed) {
                false => Ok(()),
                true => Err(io::ErrorKind::StorageFull.into()),
            }
        }
    }

    impl StorageBackend for Failing {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.check()?;
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.check()?;
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.check()?;
            self.0.write(offset, data)
        }
    }

    #[tokio::test]
    async fn a_disk_that_fails_faults_the_event_and_every_question_after_it() {
        let (limits, metrics, fails) = (Limits::default(), Arc::new(Metrics::default()), Arc::default());
        let backend = Failing(InMemoryBackend::new(), Arc::clone(&fails));
        let database = Database::builder().create_with_backend(backend).expect("it works so far");
        let store = Store::new(&Tenants::new(&limits), &Clock::manual(), &metrics);
        store.keep_on(Disk::start(database, Path::new("test.redb"), &limits, &metrics).expect("it works so far"));
        let mut first = store.draft(TenantId::UNNAMED);
        assert_eq!(first.increment("hits", 1, None), Ok(1));
        assert!(first.commit().await.is_ok());
        let (mut second, mut reader) = (store.draft(TenantId::UNNAMED), store.draft(TenantId::UNNAMED));
        assert_eq!(second.increment("hits", 1, None), Ok(2));
        assert!(reader.get("hits").expect("the disk works so far").is_some());
        fails.store(true, Ordering::Relaxed);
        assert!(second.commit().await.is_err());
        assert!(reader.commit().await.is_err(), "what it read was lost");
        assert_eq!(store.draft(TenantId::UNNAMED).get("hits"), Err(Refusal::Failed));
        assert_eq!(store.draft(TenantId::UNNAMED).increment("hits", 1, None), Err(Refusal::Failed));
        assert_eq!(metrics.store_failures.get(), 1);
    }
}
