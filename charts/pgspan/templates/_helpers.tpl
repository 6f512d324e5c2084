{{/* Made by npm run docs from src/platform/kubernetes/install/; do not edit. */}}
{{- define "pgspan.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- define "pgspan.namespace" -}}
{{ .Values.namespace | default .Release.Namespace }}
{{- end -}}
