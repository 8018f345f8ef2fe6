//! The contract in Rust: what wasmtime generates from `wit/`.
//!
//! One world with every import and every export, since the host looks by itself which exports a component has.
//! Nothing is written here by hand; `engine/imports` and `engine/instance` are the two sides that use it.

#![allow(missing_docs, reason = "generated from wit/, where every item is documented")]

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package switchboard:host;

        world all {
            include switchboard:ws/imports@0.1.0;
            export switchboard:ws/handler@0.1.0;
            export switchboard:ws/gate@0.1.0;
            export switchboard:ws/inbound@0.1.0;
            export switchboard:ws/outbound@0.1.0;
            export switchboard:ws/timer-events@0.1.0;
            export switchboard:ws/flow-events@0.1.0;
            export switchboard:ws/control-events@0.1.0;
            export switchboard:ws/room-events@0.1.0;
            export switchboard:ws/fault-events@0.1.0;
            export switchboard:ws/service@0.1.0;
            export switchboard:ws/migration@0.1.0;
        }
    ",
    world: "switchboard:host/all",
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
