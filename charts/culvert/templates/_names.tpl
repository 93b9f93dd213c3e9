{{- define "culvert.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Cluster-wide names carry the namespace: two releases must not share a role. */}}
{{- define "culvert.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "culvert.fullname" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "culvert.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "culvert.labels" -}}
{{ include "culvert.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "culvert.lastingLabels" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels that an upgrade does not change: a pod template that holds them is not rolled out anew. */}}
{{- define "culvert.lastingLabels" -}}
app.kubernetes.io/part-of: culvert
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* {image: …, default: tag} */}}
{{- define "culvert.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .default .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "culvert.controllerName" -}}
{{- printf "%s-controller" (include "culvert.fullname" .) -}}
{{- end -}}

{{- define "culvert.controllerServiceAccount" -}}
{{- default (include "culvert.controllerName" .) .Values.serviceAccounts.controller -}}
{{- end -}}

{{- define "culvert.agentServiceAccount" -}}
{{- default (printf "%s-agent" (include "culvert.fullname" .)) .Values.serviceAccounts.agent -}}
{{- end -}}

{{/* Where a DaemonSet's pods go, as part of a pod's spec; {root: ., affinity: …, priorityClassName: …} */}}
{{- define "culvert.placement" -}}
priorityClassName: {{ .priorityClassName }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.agent.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.agent.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
