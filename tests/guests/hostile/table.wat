;; Grows its table as far as it can, and fills it. Traps where that was further than a guest may need.
(module
  (memory (export "memory") 3)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 65536)
  ;; What is not written is zero, and so accepts.
  (func (export "switchboard:ws/handler@0.1.0#on-connect")
    (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
  (func (export "switchboard:ws/handler@0.1.0#on-disconnect") (param i64 i32 i32 i32))
  (table $table 1 funcref)
  (func (export "switchboard:ws/handler@0.1.0#on-message") (param i64 i32 i32 i32)
    (block $full
      (loop $again
        (br_if $full (i32.eq (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1)))
        (br $again)))
    (table.fill $table (i32.const 0) (ref.null func) (table.size $table))
    (if (i32.gt_u (table.size $table) (i32.const 100000)) (then unreachable)))
)
