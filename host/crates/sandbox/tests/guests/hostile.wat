  ;; A guest that does as the first letter of the first text says. Any other
  ;; text, such as that of the self-test, gets the label COUNT and a hundredth
  ;; of the number of calls that this instance has seen, `prepare` included.
  (core module $code
    (memory (export "memory") 1)
    (global $calls (mut i32) (i32.const 0))
    (global $heap (mut i32) (i32.const 1024))
    (data (i32.const 16) "COUNT")
    ;; A score: where its label is, how long that is, and the number.
    (data (i32.const 32) "\10\00\00\00\05\00\00\00\00\00\00\00")
    (data (i32.const 96) "not this one")

    (func $realloc (export "realloc")
      (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
      (global.set $heap (i32.add (local.get $at) (local.get $size)))
      (block $fits
        (loop $grow
          (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
          (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
          unreachable))
      (local.get $at))

    ;; `$answers` answers of `$labels` labels each; all are the same one.
    (func $answer (param $answers i32) (param $labels i32) (param $score f32) (result i32)
      (local $list i32) (local $at i32)
      (f32.store (i32.const 40) (local.get $score))
      (local.set $list (call $realloc (i32.const 0) (i32.const 0) (i32.const 4)
        (i32.mul (local.get $answers) (i32.const 8))))
      (local.set $at (local.get $list))
      (i32.store (i32.const 52) (local.get $list))
      (i32.store (i32.const 56) (local.get $answers))
      (block $done
        (loop $next
          (br_if $done (i32.eqz (local.get $answers)))
          (i32.store (local.get $at) (i32.const 32))
          (i32.store offset=4 (local.get $at) (local.get $labels))
          (local.set $at (i32.add (local.get $at) (i32.const 8)))
          (local.set $answers (i32.sub (local.get $answers) (i32.const 1)))
          (br $next)))
      (i32.store (i32.const 48) (i32.const 0))
      (i32.const 48))

    ;; The error of a number; the position is for `invalid-text` only.
    (func $fail (param $case i32) (param $index i32) (result i32)
      (i32.store (i32.const 48) (i32.const 1))
      (i32.store (i32.const 52) (local.get $case))
      (if (i32.eqz (local.get $case))
        (then
          (i32.store (i32.const 56) (local.get $index))
          (i32.store (i32.const 60) (i32.const 96))
          (i32.store (i32.const 64) (i32.const 12)))
        (else
          (i32.store (i32.const 56) (i32.const 96))
          (i32.store (i32.const 60) (i32.const 12))))
      (i32.const 48))

    (func $recurse (param $n i32) (result i32)
      (i32.add (call $recurse (i32.add (local.get $n) (i32.const 1))) (local.get $n)))

    (func $is (param $order i32) (param $letter i32) (result i32)
      (i32.eq (local.get $order) (local.get $letter)))

    (func (export "predict") (param $texts i32) (param $count i32) (result i32)
      (local $order i32)
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (if (local.get $count)
        (then (local.set $order (i32.load8_u (i32.load (local.get $texts))))))
      ;; l: loop without end
      (if (call $is (local.get $order) (i32.const 0x6c))
        (then (loop $forever (br $forever))))
      ;; m: take memory until there is no more
      (if (call $is (local.get $order) (i32.const 0x6d))
        (then
          (loop $more
            (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
          unreachable))
      ;; t: trap
      (if (call $is (local.get $order) (i32.const 0x74)) (then unreachable))
      ;; s: use up the stack
      (if (call $is (local.get $order) (i32.const 0x73))
        (then (drop (call $recurse (i32.const 0)))))
      ;; n: a score that is not a number
      (if (call $is (local.get $order) (i32.const 0x6e))
        (then (return (call $answer (local.get $count) (i32.const 1) (f32.const nan)))))
      ;; w: one answer too many
      (if (call $is (local.get $order) (i32.const 0x77))
        (then (return (call $answer (i32.add (local.get $count) (i32.const 1))
          (i32.const 1) (f32.const 0.5)))))
      ;; e: no label
      (if (call $is (local.get $order) (i32.const 0x65))
        (then (return (call $answer (local.get $count) (i32.const 0) (f32.const 0.5)))))
      ;; b: a thousand million labels out of some kilobytes
      (if (call $is (local.get $order) (i32.const 0x62))
        (then (return (call $answer (i32.const 100000) (i32.const 10000) (f32.const 0.5)))))
      ;; o: an answer outside of the memory
      (if (call $is (local.get $order) (i32.const 0x6f))
        (then (return (i32.const 0x7ffffff0))))
      ;; i: the last text is invalid; j: one is that is not there
      (if (call $is (local.get $order) (i32.const 0x69))
        (then (return (call $fail (i32.const 0) (i32.sub (local.get $count) (i32.const 1))))))
      (if (call $is (local.get $order) (i32.const 0x6a))
        (then (return (call $fail (i32.const 0) (local.get $count)))))
      ;; 1 to 4: an error of this number
      (if (i32.and (i32.ge_u (local.get $order) (i32.const 0x31))
                   (i32.le_u (local.get $order) (i32.const 0x34)))
        (then (return (call $fail (i32.sub (local.get $order) (i32.const 0x30)) (i32.const 0)))))
      (call $answer (local.get $count) (i32.const 1)
        (f32.div (f32.convert_i32_u (global.get $calls)) (f32.const 100))))

    (func (export "prepare")
      (;prepare;)
      (global.set $calls (i32.add (global.get $calls) (i32.const 40)))))
  (core instance $code (instantiate $code))
