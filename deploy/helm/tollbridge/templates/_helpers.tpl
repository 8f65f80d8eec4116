{{- define "tollbridge.name" -}}
{{- if contains "tollbridge" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-tollbridge" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "tollbridge.selector" -}}
app.kubernetes.io/name: tollbridge
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tollbridge.labels" -}}
{{ include "tollbridge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tollbridge.secret" -}}
{{ .Values.secret.existing | default (include "tollbridge.name" .) }}
{{- end }}

{{- define "tollbridge.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "tollbridge.config" -}}
{{- $fixed := dict "listen" "0.0.0.0:8080" "admin" "0.0.0.0:9090" "state" "/state" "state_min_free" (int64 .Values.state.minFree) "log_level" .Values.logLevel }}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $fixed) }}
{{- end }}
