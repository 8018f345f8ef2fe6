;; Looks for anything in its fresh memory, beside the 128 KiB that its own arguments may lie in. Traps if there is
;; something.
(module
  (memory (export "memory") 256)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
  ;; What is not written is zero, and so accepts.
  (func (export "switchboard:ws/handler@0.1.0#on-connect")
    (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
  (func (export "switchboard:ws/handler@0.1.0#on-disconnect") (param i64 i32 i32 i32))
  (func (export "switchboard:ws/handler@0.1.0#on-message") (param i64 i32 i32 i32)
    (local $at i32)
    (local.set $at (i32.const 196608))
    (loop $next
      (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 16777216)))))
)
