{{- define "fastsentiment.labels" -}}
app.kubernetes.io/name: fastsentiment
app.kubernetes.io/component: api
{{- end }}

{{- define "fastsentiment.redis.labels" -}}
app.kubernetes.io/name: fastsentiment
app.kubernetes.io/component: redis
{{- end }}

{{/* The Secret with the password of whichever Redis is used; empty if there is none. */}}
{{- define "fastsentiment.redis.secret" -}}
{{- with .Values.redis }}
{{- if and .enabled .external.url }}
{{- fail "set either redis.enabled or redis.external.url" }}
{{- else if .external.url }}
{{- required "redis.external.existingSecret must name a Secret with a `password`" .external.existingSecret }}
{{- else if .enabled }}
{{- if and .password .existingSecret }}
{{- fail "set either redis.password or redis.existingSecret" }}
{{- else if .password }}fastsentiment-redis
{{- else }}
{{- required "redis.enabled needs redis.password or redis.existingSecret" .existingSecret }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secrets with files that the server reads, by the names of their volumes. */}}
{{- define "fastsentiment.secrets" -}}
{{- $secrets := dict }}
{{- with include "fastsentiment.redis.secret" . }}
{{- $_ := set $secrets "redis" (dict "name" . "keys" (list "password")) }}
{{- end }}
{{- with .Values.apiKeys.existingSecret }}
{{- $_ := set $secrets "api-keys" (dict "name" . "keys" (list "keys.toml")) }}
{{- end }}
{{- with .Values.tls.existingSecret }}
{{- $_ := set $secrets "tls" (dict "name" . "keys" (list "tls.crt" "tls.key")) }}
{{- end }}
{{- with .Values.redis.cacheKeySecret }}
{{- $_ := set $secrets "cache-key" (dict "name" . "keys" (list "key")) }}
{{- end }}
{{- toYaml $secrets }}
{{- end }}

{{/* The options of the server: ours, and over them those of the user. */}}
{{- define "fastsentiment.options" -}}
{{- $options := dict
  "FASTSENTIMENT_LOG" "info"
  "FASTSENTIMENT_ADMIN_LISTEN" "0.0.0.0:8001"
  "FASTSENTIMENT_DRAIN_DELAY_MS" "5000"
  "FASTSENTIMENT_DRAIN_MS" "25000" }}
{{- if include "fastsentiment.redis.secret" . }}
{{- $url := default "redis://fastsentiment-redis:6379" .Values.redis.external.url }}
{{- $_ := set $options "REDIS_URL" $url }}
{{- $_ := set $options "FASTSENTIMENT_REDIS_PASSWORD_FILE" "/etc/fastsentiment/redis/password" }}
{{- end }}
{{- if .Values.redis.cacheKeySecret }}
{{- if not (include "fastsentiment.redis.secret" .) }}
{{- fail "redis.cacheKeySecret needs redis.enabled or redis.external.url" }}
{{- end }}
{{- $_ := set $options "FASTSENTIMENT_CACHE_KEY_FILE" "/etc/fastsentiment/cache-key/key" }}
{{- end }}
{{- if .Values.apiKeys.existingSecret }}
{{- $_ := set $options "FASTSENTIMENT_API_KEYS" "/etc/fastsentiment/api-keys/keys.toml" }}
{{- end }}
{{- if .Values.tls.existingSecret }}
{{- $_ := set $options "FASTSENTIMENT_TLS_CERT" "/etc/fastsentiment/tls/tls.crt" }}
{{- $_ := set $options "FASTSENTIMENT_TLS_KEY" "/etc/fastsentiment/tls/tls.key" }}
{{- end }}
{{- if and .Values.rollout.enabled .Values.guestImage.reference }}
{{- fail "set either rollout.enabled or guestImage.reference" }}
{{- end }}
{{- if .Values.rollout.enabled }}
{{- $_ := set $options "FASTSENTIMENT_ROLLOUT" "/etc/fastsentiment/rollout/rollout.toml" }}
{{- $_ := set $options "FASTSENTIMENT_STATE" "/var/lib/fastsentiment/state" }}
{{- $_ := set $options "FASTSENTIMENT_ARTIFACTS" "/var/lib/fastsentiment/compiled" }}
{{- end }}
{{- if .Values.guestImage.reference }}
{{- $_ := set $options "FASTSENTIMENT_GUEST" "/guest/guest.wasm" }}
{{- /* Not the guest of the server's image instead: a bad guest must end a rollout. */}}
{{- $_ := set $options "FASTSENTIMENT_FALLBACK_GUEST" "" }}
{{- $_ := set $options "FASTSENTIMENT_ARTIFACTS" "/compiled/private" }}
{{- end }}
{{- mergeOverwrite $options .Values.options | toYaml }}
{{- end }}

{{/* With room on the disk for the log and the volumes that pods write to. */}}
{{- define "fastsentiment.resources" -}}
{{- $requested := 64 }}
{{- $limit := 256 }}
{{- if .Values.rollout.enabled }}
{{- $requested = 512 }}
{{- $limit = add .Values.rollout.stateMiB 256 }}
{{- else if .Values.guestImage.reference }}
{{- $requested = 128 }}
{{- $limit = 512 }}
{{- end }}
{{- $disk := dict
  "requests" (dict "ephemeral-storage" (printf "%dMi" (int $requested)))
  "limits" (dict "ephemeral-storage" (printf "%dMi" (int $limit))) }}
{{- mergeOverwrite $disk .Values.resources | toYaml }}
{{- end }}
