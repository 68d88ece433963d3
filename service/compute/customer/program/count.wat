;; Counts the lines, words and bytes of its standard input, as wc(1) does, and prints the three numbers.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))

  ;; 0: the vector of a read or write, 8: how many bytes it was, 16 to 48: a number's digits, 65536: what was read
  (memory (export "memory") 2)

  ;; print writes n in decimal, and the byte end.
  (func $print (param $n i64) (param $end i32)
    (local $at i32)
    (local.set $at (i32.const 48))
    (i32.store8 (local.get $at) (local.get $end))
    (loop $digits
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $n) (i64.const 10)))))
      (local.set $n (i64.div_u (local.get $n) (i64.const 10)))
      (br_if $digits (i64.ne (local.get $n) (i64.const 0))))
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (i32.sub (i32.const 49) (local.get $at)))
    (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
      (then (call $exit (i32.const 1)))))

  (func (export "_start")
    (local $lines i64) (local $words i64) (local $bytes i64)
    (local $at i32) (local $end i32) (local $c i32) (local $in i32)
    (block $done
      (loop $more
        (i32.store (i32.const 0) (i32.const 65536))
        (i32.store (i32.const 4) (i32.const 65536))
        (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
          (then (call $exit (i32.const 1))))
        (br_if $done (i32.eqz (i32.load (i32.const 8))))
        (local.set $at (i32.const 65536))
        (local.set $end (i32.add (local.get $at) (i32.load (i32.const 8))))
        (local.set $bytes (i64.add (local.get $bytes) (i64.load32_u (i32.const 8))))
        (loop $next
          (local.set $c (i32.load8_u (local.get $at)))
          (local.set $lines (i64.add (local.get $lines) (i64.extend_i32_u (i32.eq (local.get $c) (i32.const 10)))))
          ;; a word begins where a byte that is no white space follows one that is
          (if (i32.or (i32.eq (local.get $c) (i32.const 32)) (i32.le_u (i32.sub (local.get $c) (i32.const 9)) (i32.const 4)))
            (then (local.set $in (i32.const 0)))
            (else
              (local.set $words (i64.add (local.get $words) (i64.extend_i32_u (i32.eqz (local.get $in)))))
              (local.set $in (i32.const 1))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
        (br $more)))
    (call $print (local.get $lines) (i32.const 32))
    (call $print (local.get $words) (i32.const 32))
    (call $print (local.get $bytes) (i32.const 10))))
