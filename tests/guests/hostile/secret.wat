;; Writes a secret all over its memory.
(module
  (memory (export "memory") 256)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
  ;; What is not written is zero, and so accepts.
  (func (export "switchboard:ws/handler@0.1.0#on-connect")
    (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
  (func (export "switchboard:ws/handler@0.1.0#on-disconnect") (param i64 i32 i32 i32))
  (func (export "switchboard:ws/handler@0.1.0#on-message") (param i64 i32 i32 i32)
    (memory.fill (i32.const 0) (i32.const 165) (i32.const 16777216)))
)
