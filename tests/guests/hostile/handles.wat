;; Takes a handle of its output again and again, and gives none back.
(module
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $get (result i32)))
  (memory (export "memory") 3)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
  ;; What is not written is zero, and so accepts.
  (func (export "switchboard:ws/handler@0.1.0#on-connect")
    (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
  (func (export "switchboard:ws/handler@0.1.0#on-disconnect") (param i64 i32 i32 i32))
  (func (export "switchboard:ws/handler@0.1.0#on-message") (param i64 i32 i32 i32)
    (loop $again
      (drop (call $get))
      (br $again)))
)
