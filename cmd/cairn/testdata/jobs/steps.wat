;; For each byte of its standard input: counts to 2^18 times what the byte is above 96, and writes 8 KiB of one sequence, which goes on over all
;; steps, to its standard output and to the file "out". Made with wat2wasm of wabt.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))

  ;; 0: the vector of a read or write, 8: how many bytes it was, 16: the file's number, 32: its name, 1024: what was read, 65536: what is written
  (memory (export "memory") 2)
  (data (i32.const 32) "out")

  (func (export "_start")
    (local $i i32) (local $end i32) (local $n i32) (local $at i32) (local $x i64)
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 1024))
    (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $exit (i32.const 1))))
    (if (call $open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 3) (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 16))
      (then (call $exit (i32.const 3))))
    (local.set $i (i32.const 1024))
    (local.set $end (i32.add (local.get $i) (i32.load (i32.const 8))))
    (local.set $x (i64.const 1))
    (loop $step
      (local.set $n (i32.shl (i32.sub (i32.load8_u (local.get $i)) (i32.const 96)) (i32.const 18)))
      (loop $count
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br_if $count (local.get $n)))
      (local.set $at (i32.const 65536))
      (loop $next
        (local.set $x (i64.add (i64.mul (local.get $x) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
        (i64.store (local.get $at) (local.get $x))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 73728))))
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (i32.const 8192))
      (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $exit (i32.const 2))))
      (if (call $write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $exit (i32.const 4))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $step (i32.lt_u (local.get $i) (local.get $end))))))
