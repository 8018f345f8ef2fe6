//! The example `files` with a large file: what the server's process needs for it, seen from outside.
//!
//! Only a process of its own can be measured; that every byte comes in order is tested in `tests/it/files.rs`.

use std::fs::File;

use crate::client::Client;
use crate::project::Project;
use crate::switchboard::{Server, example_component};

const LENGTH: u64 = 100 << 20;
/// More than the instances, the mailbox and the buffers of one stream, and much less than the file.
const FLAT: u64 = 24 << 20;

#[test]
fn a22_the_memory_of_the_server_stays_flat_while_a_slow_client_reads_100_mb() {
    let project = Project::new("large_file");
    project.write(
        "switchboard.toml",
        format!(
            "[plugins.files]\npath = '{}'\nfiles = '.'\n[[route]]\npath = '/{{name:path}}'\nhandler = 'files'\n",
            example_component("files").display()
        ),
    );
    // With a hole in place of content, it takes no room on the disk.
    for (name, length) in [("large", LENGTH), ("small", LENGTH / 10)] {
        let file = File::create(project.path(name)).expect("the folder can be written");
        file.set_len(length).expect("a file can have a hole");
    }
    let server = Server::serve(project.folder());
    // What the first stream needs is there afterwards.
    assert_eq!(Client::connect(server.address, "/small").drain(|_| {}), LENGTH / 10);
    let before = server.program.memory();
    let mut most = before;
    let received = Client::connect(server.address, "/large").drain(|_| most = most.max(server.program.memory()));
    assert_eq!(received, LENGTH);
    assert!(most - before < FLAT, "{before} bytes before, {most} at most");
}
