  ;; The end of every guest here: lifts what the core instance `$code` exports
  ;; and exports it as the contract demands.
  (type $score (record (field "label" string) (field "score" f32)))
  (type $invalid (record (field "index" u32) (field "reason" string)))
  (type $error (variant
    (case "invalid-text" $invalid)
    (case "model-missing" string)
    (case "model-unsuitable" string)
    (case "inference-failed" string)
    (case "internal" string)))
  (func $predict
    (param "texts" (list string))
    (result (result (list (list $score)) (error $error)))
    (canon lift
      (core func $code "predict")
      (memory (core memory $code "memory"))
      (realloc (core func $code "realloc"))))
  (component $exporter
    (type $score' (record (field "label" string) (field "score" f32)))
    (import "score" (type $score (eq $score')))
    (type $invalid' (record (field "index" u32) (field "reason" string)))
    (import "invalid-text" (type $invalid (eq $invalid')))
    (type $error' (variant
      (case "invalid-text" $invalid)
      (case "model-missing" string)
      (case "model-unsuitable" string)
      (case "inference-failed" string)
      (case "internal" string)))
    (import "error" (type $error (eq $error')))
    (import "predict" (func $predict
      (param "texts" (list string))
      (result (result (list (list $score)) (error $error)))))
    (export $score-out "score" (type $score))
    (export $invalid-out "invalid-text" (type $invalid))
    (type $error'' (variant
      (case "invalid-text" $invalid-out)
      (case "model-missing" string)
      (case "model-unsuitable" string)
      (case "inference-failed" string)
      (case "internal" string)))
    (export $error-out "error" (type $error) (type (eq $error'')))
    (export "predict" (func $predict) (func
      (param "texts" (list string))
      (result (result (list (list $score-out)) (error $error-out))))))
  (instance $exported (instantiate $exporter
    (with "score" (type $score))
    (with "invalid-text" (type $invalid))
    (with "error" (type $error))
    (with "predict" (func $predict))))
  (export "fastsentiment:predict/predictor@0.1.0" (instance $exported))
