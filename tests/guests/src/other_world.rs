//! A component of another world: a good one that has nothing to do with this server.

mod bindings {
    #![allow(missing_docs, unsafe_code, clippy::all, clippy::unwrap_used)]

    wit_bindgen::generate!({
        inline: "
            package some:thing@1.0.0;
            interface greeting { greet: func() -> string; }
            world other { export greeting; }
        ",
    });

    pub use exports::some::thing::greeting::Guest;

    export!(Other);

    pub struct Other;
}

impl bindings::Guest for bindings::Other {
    fn greet() -> String {
        "hello".into()
    }
}
