//! The `export!` line of a plugin, and the glue between the WIT exports and the traits.
//!
//! For wasm32 the macro makes the component's exports: of each kind that it is given, and of no other. Natively it only
//! checks that the type implements what it is said to be, so that a plugin is also a plain Rust library with unit tests.
//! The glue translates types and does nothing else; how an event is run is with the traits.

/// Makes a component of this crate: `export!(Echo)` for a handler, or the type with the kinds that it implements.
///
/// | kind | trait |
/// |---|---|
/// | `handler` | [`Handler`](crate::Handler) |
/// | `gate` | [`Gate`](crate::Gate) |
/// | `inbound` | [`Inbound`](crate::Inbound) |
/// | `outbound` | [`Outbound`](crate::Outbound) |
/// | `filter` | [`Filter`](crate::Filter), which is both |
/// | `service` | [`Service`](crate::Service) |
/// | `timer_events`, `flow_events`, `control_events`, `room_events`, `fault_events` | [`TimerEvents`](crate::TimerEvents) and so on |
/// | `migration` | [`Migration`](crate::Migration) |
///
/// Once for each type; several types may each export a part. Only the named kinds are exported, and the host calls nothing
/// else, so a kind that is not named costs nothing.
///
/// ```
/// use switchboard_sdk::{Close, Connection, Gate, Inbound, Message, Verdict, export};
///
/// #[derive(Default)]
/// struct Quiet;
///
/// impl Gate for Quiet {}
///
/// impl Inbound for Quiet {
///     fn message(&self, _: &Connection, message: &Message) -> Result<Verdict, Close> {
///         Ok(if message.is_empty() { Verdict::Drop } else { Verdict::Pass })
///     }
/// }
///
/// export!(Quiet: gate, inbound);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        $crate::export!($plugin: handler);
    };
    ($plugin:ty: $($kind:ident),+ $(,)?) => {
        const _: () = {
            $crate::__instance!($plugin);
            $($crate::__export_kind!($kind $plugin);)+
        };
    };
}

/// Where an instance keeps the value of its plugin.
#[doc(hidden)]
pub trait Instance: Default + 'static {
    /// Lends the value to one call.
    fn with<R>(call: impl FnOnce(&Self) -> R) -> R;
}

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __instance {
    ($plugin:ty) => {
        impl $crate::export::Instance for $plugin {
            fn with<R>(call: impl FnOnce(&Self) -> R) -> R {
                // Made once for each instance, not for each event: reading the configuration may take a while.
                ::std::thread_local!(static PLUGIN: $plugin = ::std::default::Default::default());
                PLUGIN.with(call)
            }
        }
    };
}

#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __instance {
    ($plugin:ty) => {};
}

#[doc(hidden)]
pub mod glue;

/// Maps a kind to the interface that is exported, or natively to the trait that must be there.
macro_rules! kinds {
    ($($kind:ident $export:ident $trait:ident),+ $(,)?) => { kinds! { ($) $($kind $export $trait),+ } };
    (($d:tt) $($kind:ident $export:ident $trait:ident),+) => {
        #[cfg(target_arch = "wasm32")]
        #[doc(hidden)]
        #[macro_export]
        macro_rules! __export_kind {
            $(($kind $d plugin:ty) => {
                const _: () = {
                    type Exported = $d crate::export::glue::Exported<$d plugin>;
                    $d crate::bindings::$kind::$export!(Exported with_types_in $d crate::bindings::$kind);
                };
            };)+
            (filter $d plugin:ty) => {
                $d crate::__export_kind!(inbound $d plugin);
                $d crate::__export_kind!(outbound $d plugin);
            };
        }

        #[cfg(not(target_arch = "wasm32"))]
        #[doc(hidden)]
        #[macro_export]
        macro_rules! __export_kind {
            $(($kind $d plugin:ty) => {
                const _: () = {
                    const fn implements<T: $d crate::$trait>() {}
                    implements::<$d plugin>()
                };
            };)+
            (filter $d plugin:ty) => {
                $d crate::__export_kind!(inbound $d plugin);
                $d crate::__export_kind!(outbound $d plugin);
            };
        }
    };
}

kinds! {
    handler export_handler Handler,
    gate export_gate Gate,
    inbound export_inbound Inbound,
    outbound export_outbound Outbound,
    service export_service Service,
    timer_events export_timer_events TimerEvents,
    flow_events export_flow_events FlowEvents,
    control_events export_control_events ControlEvents,
    room_events export_room_events RoomEvents,
    fault_events export_fault_events FaultEvents,
    migration export_migration Migration,
}
