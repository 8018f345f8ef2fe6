;; Does nothing at all: what tests add something to.
(module
  (memory (export "memory") 3)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
  ;; What is not written is zero, and so accepts.
  (func (export "switchboard:ws/handler@0.1.0#on-connect")
    (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
  (func (export "switchboard:ws/handler@0.1.0#on-disconnect") (param i64 i32 i32 i32))
  (func (export "switchboard:ws/handler@0.1.0#on-message") (param i64 i32 i32 i32))
)
