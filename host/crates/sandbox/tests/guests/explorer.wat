  ;; A guest that tries the doors of its sandbox. The first letter of the first
  ;; text says which; the score is a hundredth of what it found. It is also a
  ;; command, which succeeds if it finds a directory and more than one argument.
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "get-arguments" (func (result (list string))))))
  (import "wasi:filesystem/types@0.2.0" (instance $files
    (export "descriptor" (type (sub resource)))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $descriptor'))
    (export "descriptor" (type $descriptor (eq $descriptor')))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))

  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $pollable'))
    (export "pollable" (type $pollable (eq $pollable')))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))

  (import "wasi:sockets/network@0.2.0" (instance $network
    (type $error-code' (enum "unknown" "access-denied" "not-supported" "invalid-argument"
      "out-of-memory" "timeout" "concurrency-conflict" "not-in-progress" "would-block"
      "invalid-state" "new-socket-limit" "address-not-bindable" "address-in-use"
      "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
      "permanent-resolver-failure"))
    (export "error-code" (type $error-code (eq $error-code')))
    (type $family' (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type $family (eq $family')))))
  (alias export $network "error-code" (type $error-code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $tcp-socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create-tcp
    (alias outer 1 $error-code (type $error-code'))
    (export "error-code" (type $error-code (eq $error-code')))
    (alias outer 1 $family (type $family'))
    (export "ip-address-family" (type $family (eq $family')))
    (alias outer 1 $tcp-socket (type $socket'))
    (export "tcp-socket" (type $socket (eq $socket')))
    (export "create-tcp-socket" (func (param "address-family" $family)
      (result (result (own $socket) (error $error-code)))))))
  (import "wasi:sockets/udp@0.2.0" (instance $udp
    (export "udp-socket" (type (sub resource)))))
  (alias export $udp "udp-socket" (type $udp-socket))
  (import "wasi:sockets/udp-create-socket@0.2.0" (instance $create-udp
    (alias outer 1 $error-code (type $error-code'))
    (export "error-code" (type $error-code (eq $error-code')))
    (alias outer 1 $family (type $family'))
    (export "ip-address-family" (type $family (eq $family')))
    (alias outer 1 $udp-socket (type $socket'))
    (export "udp-socket" (type $socket (eq $socket')))
    (export "create-udp-socket" (func (param "address-family" $family)
      (result (result (own $socket) (error $error-code)))))))

  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" (instance $nn-errors
    (export "error" (type $error (sub resource)))
    (type $error-code' (enum "invalid-argument" "invalid-encoding" "timeout" "runtime-error"
      "unsupported-operation" "too-large" "not-found" "security" "unknown"))
    (export "error-code" (type $error-code (eq $error-code')))
    (export "[method]error.code" (func (param "self" (borrow $error)) (result $error-code)))))
  (alias export $nn-errors "error" (type $nn-error))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" (instance $nn-graph
    (alias outer 1 $nn-error (type $error'))
    (export "error" (type $error (eq $error')))
    (export "graph" (type $graph (sub resource)))
    (type $encoding' (enum "openvino" "onnx" "tensorflow" "pytorch" "tensorflowlite" "ggml"
      "autodetect"))
    (export "graph-encoding" (type $encoding (eq $encoding')))
    (type $target' (enum "cpu" "gpu" "tpu"))
    (export "execution-target" (type $target (eq $target')))
    (export "load" (func
      (param "builder" (list (list u8))) (param "encoding" $encoding) (param "target" $target)
      (result (result (own $graph) (error (own $error))))))
    (export "load-by-name" (func (param "name" string)
      (result (result (own $graph) (error (own $error))))))))

  (core module $libc
    (memory (export "memory") 1)
    (global $heap (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
      (global.set $heap (i32.add (local.get $at) (local.get $size)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))

  (core func $variables (canon lower (func $environment "get-environment")
    (memory $memory) (realloc $realloc)))
  (core func $arguments (canon lower (func $environment "get-arguments")
    (memory $memory) (realloc $realloc)))
  (core func $directories (canon lower (func $preopens "get-directories")
    (memory $memory) (realloc $realloc)))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $after (canon lower (func $clock "subscribe-duration")))
  (core func $tcp (canon lower (func $create-tcp "create-tcp-socket") (memory $memory)))
  (core func $udp (canon lower (func $create-udp "create-udp-socket") (memory $memory)))
  (core func $code-of (canon lower (func $nn-errors "[method]error.code")))
  (core func $load (canon lower (func $nn-graph "load") (memory $memory) (realloc $realloc)))
  (core func $load-by-name (canon lower (func $nn-graph "load-by-name")
    (memory $memory) (realloc $realloc)))
  (type $thing (resource (rep i32)))
  (core func $new (canon resource.new $thing))
  (core instance $host
    (export "new" (func $new))
    (export "variables" (func $variables))
    (export "arguments" (func $arguments))
    (export "directories" (func $directories))
    (export "block" (func $block))
    (export "after" (func $after))
    (export "tcp" (func $tcp))
    (export "udp" (func $udp))
    (export "code-of" (func $code-of))
    (export "load" (func $load))
    (export "load-by-name" (func $load-by-name)))

  (core module $main
    (import "libc" "memory" (memory 1))
    (import "host" "new" (func $new (param i32) (result i32)))
    (import "host" "variables" (func $variables (param i32)))
    (import "host" "arguments" (func $arguments (param i32)))
    (import "host" "directories" (func $directories (param i32)))
    (import "host" "block" (func $block (param i32)))
    (import "host" "after" (func $after (param i64) (result i32)))
    (import "host" "tcp" (func $tcp (param i32 i32)))
    (import "host" "udp" (func $udp (param i32 i32)))
    (import "host" "code-of" (func $code-of (param i32) (result i32)))
    (import "host" "load" (func $load (param i32 i32 i32 i32 i32)))
    (import "host" "load-by-name" (func $load-by-name (param i32 i32 i32)))
    (table $table 1 funcref)
    (data (i32.const 16) "FOUND")
    (data (i32.const 32) "\10\00\00\00\05\00\00\00\00\00\00\00")
    (data (i32.const 64) "model")
    (data (i32.const 72) "other")
    ;; A list of one list of bytes: those of the word `model`.
    (data (i32.const 80) "\40\00\00\00\05\00\00\00")

    ;; What the host has put at 128: the length of a list; or the number of an
    ;; error, or 99 for a success.
    (func $length (result i32) (i32.load (i32.const 132)))
    (func $outcome (result i32)
      (if (result i32) (i32.load8_u (i32.const 128))
        (then (i32.load8_u (i32.const 132)))
        (else (i32.const 99))))
    (func $nn-outcome (result i32)
      (if (result i32) (i32.load8_u (i32.const 128))
        (then (call $code-of (i32.load (i32.const 132))))
        (else (i32.const 99))))

    (func $find (param $order i32) (result i32)
      ;; v: environment variables
      (if (i32.eq (local.get $order) (i32.const 0x76))
        (then (call $variables (i32.const 128)) (return (call $length))))
      ;; a: arguments
      (if (i32.eq (local.get $order) (i32.const 0x61))
        (then (call $arguments (i32.const 128)) (return (call $length))))
      ;; d: directories
      (if (i32.eq (local.get $order) (i32.const 0x64))
        (then (call $directories (i32.const 128)) (return (call $length))))
      ;; t, u: a socket
      (if (i32.eq (local.get $order) (i32.const 0x74))
        (then (call $tcp (i32.const 0) (i32.const 128)) (return (call $outcome))))
      (if (i32.eq (local.get $order) (i32.const 0x75))
        (then (call $udp (i32.const 0) (i32.const 128)) (return (call $outcome))))
      ;; 0 to 6: a graph from bytes, in the encoding of this number
      (if (i32.and (i32.ge_u (local.get $order) (i32.const 0x30))
                   (i32.le_u (local.get $order) (i32.const 0x36)))
        (then
          (call $load (i32.const 80) (i32.const 1)
            (i32.sub (local.get $order) (i32.const 0x30)) (i32.const 0) (i32.const 128))
          (return (call $nn-outcome))))
      ;; m, o: the graph `model`, the graph `other`
      (if (i32.eq (local.get $order) (i32.const 0x6d))
        (then
          (call $load-by-name (i32.const 64) (i32.const 5) (i32.const 128))
          (return (call $nn-outcome))))
      (if (i32.eq (local.get $order) (i32.const 0x6f))
        (then
          (call $load-by-name (i32.const 72) (i32.const 5) (i32.const 128))
          (return (call $nn-outcome))))
      ;; g: grow a table until it grows no more
      (if (i32.eq (local.get $order) (i32.const 0x67))
        (then
          (loop $more
            (br_if $more (i32.ne
              (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
          unreachable))
      ;; r: make resources of its own
      (if (i32.eq (local.get $order) (i32.const 0x72))
        (then (loop $more (drop (call $new (i32.const 0))) (br $more))))
      ;; s: sleep for an hour
      (if (i32.eq (local.get $order) (i32.const 0x73))
        (then (call $block (call $after (i64.const 3600000000000)))))
      (i32.const 0))

    (;start;)

    ;; One answer, whatever the number of texts.
    (func (export "predict") (param $texts i32) (param $count i32) (result i32)
      (f32.store (i32.const 40) (f32.div
        (f32.convert_i32_u (call $find (i32.load8_u (i32.load (local.get $texts)))))
        (f32.const 100)))
      (i32.store (i32.const 112) (i32.const 32))
      (i32.store (i32.const 116) (i32.const 1))
      (i32.store (i32.const 48) (i32.const 0))
      (i32.store (i32.const 52) (i32.const 112))
      (i32.store (i32.const 56) (i32.const 1))
      (i32.const 48))

    (func (export "run") (result i32)
      (i32.eqz (i32.and
        (i32.ne (call $find (i32.const 0x64)) (i32.const 0))
        (i32.gt_u (call $find (i32.const 0x61)) (i32.const 1))))))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance $host))))
  (alias core export $main "predict" (core func $predict))
  (alias core export $main "run" (core func $run))
  (core instance $code
    (export "memory" (memory $memory))
    (export "realloc" (func $realloc))
    (export "predict" (func $predict)))

  (func $run (result (result)) (canon lift (core func $run)))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command))
