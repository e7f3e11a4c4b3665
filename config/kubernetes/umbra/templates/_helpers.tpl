{{- define "umbra.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "umbra.fullname" -}}
{{- $name := include "umbra.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "umbra.selector" -}}
app.kubernetes.io/name: {{ include "umbra.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "umbra.labels" -}}
{{ include "umbra.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "umbra.account" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "umbra.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: which account, where none is created" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "umbra.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A value as TOML. Helm's own toToml writes every number as a float. */}}
{{- define "umbra.toml.value" -}}
{{- $v := . }}
{{- if kindIs "map" $v -}}
{ {{- range $i, $key := keys $v | sortAlpha }}{{ if $i }},{{ end }} {{ include "umbra.toml.key" $key }} = {{ include "umbra.toml.value" (get $v $key) }}{{ end }} }
{{- else if kindIs "slice" $v -}}
[{{- range $i, $one := $v }}{{ if $i }}, {{ end }}{{ include "umbra.toml.value" $one }}{{ end }}]
{{- else if or (kindIs "float64" $v) (kindIs "int64" $v) (kindIs "int" $v) -}}
{{- if eq (float64 $v) (floor $v) }}{{ printf "%.0f" (float64 $v) }}{{ else }}{{ toRawJson $v }}{{ end }}
{{- else -}}
{{ toRawJson $v }}
{{- end -}}
{{- end }}

{{- define "umbra.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ . | toRawJson }}{{ end }}
{{- end }}

{{- define "umbra.address" -}}
{{- if contains ":" .Values.admin.address }}[{{ .Values.admin.address }}]{{ else }}{{ .Values.admin.address }}{{ end }}:{{ .Values.admin.port }}
{{- end }}

{{/* What the program reads: the values' own keys first, and `settings` cannot contradict them. */}}
{{- define "umbra.settings" -}}
{{- $own := dict "admin" (dict "bind" (include "umbra.address" .)) "timeouts" (dict "drain" (printf "%ds" (int .Values.drain.timeoutSeconds))) "workers" (dict "driver" .Values.driver) }}
{{- if .Values.admin.token }}
{{- $_ := set $own.admin "token" .Values.admin.token }}
{{- end }}
{{- $all := mergeOverwrite (deepCopy .Values.settings) $own }}
{{- range $i, $table := keys $all | sortAlpha }}
{{- if $i }}
{{ end }}
[{{ include "umbra.toml.key" $table }}]
{{- $keys := get $all $table }}
{{- range $key := keys $keys | sortAlpha }}
{{ include "umbra.toml.key" $key }} = {{ include "umbra.toml.value" (get $keys $key) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "umbra.gatewayClass" -}}
{{- $create := toString .Values.gatewayClass.create }}
{{- if or (eq $create "true") (and (eq $create "auto") (.Capabilities.APIVersions.Has "gateway.networking.k8s.io/v1")) }}yes{{ end }}
{{- end }}

{{- define "umbra.several" -}}
{{- if or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled }}yes{{ end }}
{{- end }}
