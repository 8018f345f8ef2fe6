//! Hostile components: what is refused as it is loaded, and what fresh memory may not hold.
//!
//! They are made of text, or of a good component that is damaged; each is loaded in the place of one that is well.

use crate::fixtures::components;
use crate::hostile::{BOUND, beside, beside_within, fault, file, sharing, with};
use crate::hostile_bytes::{LONGEST_NAME, Numbers, attack, damaged, endless_recursion, slow_to_compile, world};
use crate::neighbour::alone;
use switchboard_harness::{Received, Reuse, TestServer};

/// What compiling may take beside, which happens in this process here, and in one of its own where it matters.
const COMPILING: usize = 256 * 1024 * 1024;

/// A server whose hostile tenant has a component that is well, for now.
fn harmless() -> TestServer {
    let file = file(&format!("plain-{}", std::process::id()), &attack("plain"));
    sharing(&with("", &file.display().to_string(), "")).start()
}

/// Has a component take the place of the one that is there; gives why it was refused, in one sentence.
async fn load(server: &TestServer, bytes: &[u8]) -> Result<(), String> {
    server.replace_with("hostile/hostile", bytes);
    let told = match server.reload("hostile/hostile").await {
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    assert!(told.starts_with("plugin hostile/hostile: ") && told.len() < 6000, "{told}");
    Err(told)
}

/// A component, the parts that it has and instances of the last of them, many times.
fn with_instances(core: &str, count: u8) -> Vec<u8> {
    let mut bytes = attack("plain");
    let module = wat::parse_str(core).expect("the text is right");
    // A core module, and a vector of instances of it without arguments: it is the second one, after the handler's.
    section(&mut bytes, 1, &module);
    let instances = [&[count][..], &[0, 1, 0].repeat(count.into())].concat();
    section(&mut bytes, 2, &instances);
    bytes
}

/// Adds a section, whose length is written in base 128.
fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    let mut length = content.len();
    while length >= 128 {
        bytes.push((length % 128) as u8 | 128);
        length /= 128;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(content);
}

#[test]
fn many_memories_tables_and_instances() {
    alone("hostile_components::many_memories_tables_and_instances", async {
        let server = harmless();
        beside(&server, async {
            for (core, count, told) in [
                ("(module (memory 1))", 100, "memory count too high"),
                ("(module (memory 200))", 2, "memory"),
                ("(module (table 1 funcref))", 100, "table count too high"),
                ("(module (table 90000 funcref))", 10, "table"),
                ("(module)", 127, "instance count too high"),
            ] {
                let refused = load(&server, &with_instances(core, count)).await.expect_err("it is too much");
                assert!(refused.contains(told), "{refused}");
            }
            load(&server, &with_instances("(module)", 50)).await.expect("it is bearable");
        })
        .await;
        assert_eq!(server.metrics().failed_loads.get(), 5);
    });
}

#[test]
fn a_name_that_is_longer_than_any_compiler_makes() {
    alone("hostile_components::a_name_that_is_longer_than_any_compiler_makes", async {
        let server = harmless();
        beside(&server, async {
            load(&server, &endless_recursion(LONGEST_NAME)).await.expect("so long a name may be");
            let refused = load(&server, &endless_recursion(LONGEST_NAME + 1)).await.expect_err("and no longer");
            assert!(refused.contains("has 65537 bytes; there may be 65536"), "{refused}");
        })
        .await;
        assert_eq!(server.metrics().failed_loads.get(), 1);
    });
}

#[test]
fn one_that_never_gets_ready() {
    alone("hostile_components::one_that_never_gets_ready", async {
        let server = harmless();
        let refused = beside(&server, load(&server, &attack("start"))).await.expect_err("it is endless");
        assert!(refused.contains("faults as it starts"), "{refused}");
    });
}

#[test]
fn imports_that_do_not_exist() {
    alone("hostile_components::imports_that_do_not_exist", async {
        let server = harmless();
        let long = "x".repeat(100_000);
        beside(&server, async {
            for name in ["open-everything", &long] {
                let import = format!("(import \"$root\" \"{name}\" (func)) |");
                let refused = load(&server, &world(&format!("import {name}: func();"), &import)).await;
                let refused = refused.expect_err("there is no such import");
                assert!(refused.contains("does not fit this host"), "{refused}");
            }
        })
        .await;
        assert_eq!(server.metrics().failed_loads.get(), 2);
    });
}

#[test]
fn ten_thousand_exports() {
    alone("hostile_components::ten_thousand_exports", async {
        let server = harmless();
        let names = || (0..10_000).map(|n| format!("fn-{n}"));
        let exports: String = names().map(|name| format!("export {name}: func(); ")).collect();
        let functions: String = names().map(|name| format!("(func (export \"{name}\"))")).collect();
        let many = world(&exports, &functions);
        let loaded = beside_within(BOUND + COMPILING, &server, load(&server, &many)).await;
        let refused = load(&server, &[&many[..], b"x"].concat()).await.expect_err("there is something behind its end");
        assert!(refused.contains("does not compile"), "{refused}");
        if loaded.is_ok() {
            server.connect("/hostile/ws").await.expect_nothing_more().await;
        }
    });
}

#[test]
fn a_component_that_compiles_slowly() {
    alone("hostile_components::a_component_that_compiles_slowly", async {
        let server = harmless();
        // The limits of the compiling process are tested with that process, in `tests/outside/compiling.rs`.
        beside(&server, load(&server, &slow_to_compile())).await.expect("it compiles in the end");
    });
}

#[test]
fn truncated_flipped_and_random_bytes() {
    alone("hostile_components::truncated_flipped_and_random_bytes", async {
        let server = harmless();
        // The same damage in each run, and another one where it is asked for.
        let seed = std::env::var("SWITCHBOARD_STRESS_SEED").map_or(7, |seed| seed.parse().expect("a number"));
        // Printed where the test fails.
        println!("the seed is {seed}");
        let mut numbers = Numbers(seed);
        let (small, real) = (attack("plain"), components().bytes("polite_echo"));
        beside(&server, async {
            for round in 0..60 {
                let whole = if round % 4 == 0 { &real } else { &small };
                if load(&server, &damaged(whole, &mut numbers)).await.is_ok() {
                    // What became of its code is its own affair, as long as it ends.
                    if let Ok(mut client) = server.request("/hostile/ws").open().await {
                        client.send("hello").await;
                        client.close(1000, "").await;
                        while client.receive().await != Received::End {}
                    }
                }
            }
        })
        .await;
        assert!(server.metrics().failed_loads.get() > 0);
    });
}

#[test]
fn memory_that_another_instance_wrote_to() {
    // More than the slots that are kept warm for their own component, so that those of others are taken.
    const WRITERS: usize = 70;
    alone("hostile_components::memory_that_another_instance_wrote_to", async {
        let (secret, seeker) = (file("secret", &attack("secret")), file("seeker", &attack("seeker")));
        let mut writers = "[tenant]\nlimits = { event-cpu-ms = 10000, tenant-instances = 100 }\n".to_owned();
        for n in 0..WRITERS {
            writers.push_str(&format!("[plugins.p{n}]\npath = '{}'\n", secret.display()));
            writers.push_str(&format!("[[route]]\npath = '/{n}'\nhandler = 'p{n}'\n"));
        }
        let seeking = with("event-cpu-ms = 10000", &seeker.display().to_string(), "");
        let server = sharing(&writers).tenant("seeker", &seeking).reuse(Reuse::Never).start();
        beside(&server, async {
            for n in 0..WRITERS {
                let mut client = server.connect(&format!("/hostile/{n}")).await;
                client.send("").await;
                client.expect_nothing_more().await;
            }
            let mut client = server.connect("/seeker/ws").await;
            for _ in 0..3 {
                client.send("").await;
                client.expect_nothing_more().await;
            }
        })
        .await;
        assert_eq!(server.metrics().faults.get(), 0, "something was there");
    });
}

#[test]
fn traps_as_a_service_starts_and_ticks() {
    alone("hostile_components::traps_as_a_service_starts_and_ticks", async {
        let service = |name: &str, config: &str| {
            format!("[plugins.{name}]\npath = '../metronome.wasm'\nconfig = {{ {config} }}\n")
        };
        let services = [
            service("start", "start = 'trap at once'"),
            service("tick", "tick = 'spin'"),
            service("flood", "tick = 'repeat 1000 publish @all x', every = '0'"),
        ];
        let server = sharing(&services.concat()).start();
        beside(&server, async {
            server.until("they faulted", |server| server.metrics().service_faults.get() >= 2).await;
        })
        .await;
        assert!(server.metrics().faults_deadline.get() >= 1);
    });
}

#[test]
fn traps_in_a_migration() {
    alone("hostile_components::traps_in_a_migration", async {
        let about = |version: u8, more: &str| {
            with("event-cpu-ms = 10000", "../hostile.wasm", &format!("config = {{ version = '{version}', {more} }}"))
        };
        let server = sharing(&about(1, "")).start();
        let mut client = server.connect("/hostile/ws").await;
        client.send("flood state").await;
        client.receive().await;
        let told = server.change_tenant("hostile", &about(2, "panic = 'migrate'")).await;
        told.expect("it starts well");
        beside(&server, async {
            client.send("send still here").await;
            client.receive().await;
        })
        .await;
        assert!(server.metrics().state_mismatches.get() + server.metrics().events_again.get() >= 1);
        fault(&server, "trap").await;
    });
}
