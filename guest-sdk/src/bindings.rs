//! What `wit-bindgen` makes of the contract in `wit/`: one module for all that a plugin may import, and one for each
//! interface that it may export.
//!
//! The exports are apart because a component must define every export of the worlds that are linked into it: each
//! module's macro carries its world into the plugin that invokes it, and only there. All of them share the types of
//! `imports`. Nothing outside of this crate and of what [`export!`](crate::export!) expands to may name what is here.

#![allow(missing_docs, unsafe_code, clippy::all, clippy::unwrap_used)]

/// The types, and the host functions as wasm32 calls them.
pub mod imports {
    wit_bindgen::generate!({
        path: ["../wit", "wit/config"],
        inline: "
            package switchboard:sdk;
            world sdk {
                include switchboard:ws/imports@0.1.0;
                import wasi:config/store@0.2.0-rc.1;
            }
        ",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
    });
}

/// Generates one exported interface in a module of its own. The types are named apart, because `wit-bindgen` takes it for
/// a mistake when an interface does not use what it was told to share.
macro_rules! exported {
    ($module:ident, $macro_name:literal, $world:literal, { $($types:tt)* }) => {
        /// The glue of one exported interface.
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                inline: $world,
                with: { $($types)* },
                pub_export_macro: true,
                export_macro_name: $macro_name,
            });
        }
    };
}

exported!(
    handler,
    "export_handler",
    "package switchboard:sdk; world sdk-handler { export switchboard:ws/handler@0.1.0; }",
    { "switchboard:ws/types@0.1.0": crate::bindings::imports::switchboard::ws::types }
);
exported!(
    gate,
    "export_gate",
    "package switchboard:sdk; world sdk-gate { export switchboard:ws/gate@0.1.0; }",
    { "switchboard:ws/types@0.1.0": crate::bindings::imports::switchboard::ws::types }
);
exported!(
    inbound,
    "export_inbound",
    "package switchboard:sdk; world sdk-inbound { export switchboard:ws/inbound@0.1.0; }",
    { "switchboard:ws/types@0.1.0": crate::bindings::imports::switchboard::ws::types }
);
exported!(
    outbound,
    "export_outbound",
    "package switchboard:sdk; world sdk-outbound { export switchboard:ws/outbound@0.1.0; }",
    { "switchboard:ws/types@0.1.0": crate::bindings::imports::switchboard::ws::types }
);
exported!(
    service,
    "export_service",
    "package switchboard:sdk; world sdk-service { export switchboard:ws/service@0.1.0; }",
    {}
);
exported!(
    fault_events,
    "export_fault_events",
    "package switchboard:sdk; world sdk-fault-events { export switchboard:ws/fault-events@0.1.0; }",
    { "switchboard:ws/types@0.1.0": crate::bindings::imports::switchboard::ws::types }
);
exported!(
    room_events,
    "export_room_events",
    "package switchboard:sdk; world sdk-room-events { export switchboard:ws/room-events@0.1.0; }",
    { "switchboard:ws/types@0.1.0": crate::bindings::imports::switchboard::ws::types }
);
exported!(
    flow_events,
    "export_flow_events",
    "package switchboard:sdk; world sdk-flow-events { export switchboard:ws/flow-events@0.1.0; }",
    { "switchboard:ws/types@0.1.0": crate::bindings::imports::switchboard::ws::types }
);
exported!(
    control_events,
    "export_control_events",
    "package switchboard:sdk; world sdk-control-events { export switchboard:ws/control-events@0.1.0; }",
    { "switchboard:ws/types@0.1.0": crate::bindings::imports::switchboard::ws::types }
);
exported!(
    timer_events,
    "export_timer_events",
    "package switchboard:sdk; world sdk-timer-events { export switchboard:ws/timer-events@0.1.0; }",
    { "switchboard:ws/types@0.1.0": crate::bindings::imports::switchboard::ws::types }
);
exported!(
    migration,
    "export_migration",
    "package switchboard:sdk; world sdk-migration { export switchboard:ws/migration@0.1.0; }",
    {}
);
