//! A component that was built against a later version of the contract, which this host does not have.

mod bindings {
    #![allow(missing_docs, unsafe_code, clippy::all, clippy::unwrap_used)]

    wit_bindgen::generate!({
        inline: "
            package switchboard:ws@0.2.0;
            interface handler { on-message: func(connection: u64, message: string); }
            world handler-plugin { export handler; }
        ",
    });

    pub use exports::switchboard::ws::handler::Guest;

    export!(Later);

    pub struct Later;
}

impl bindings::Guest for bindings::Later {
    fn on_message(_: u64, _: String) {}
}
