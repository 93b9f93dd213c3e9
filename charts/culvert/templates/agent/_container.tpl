{{- define "culvert.agentMounts" -}}
- {name: run, mountPath: /run/culvert}
- {name: bpf, mountPath: /sys/fs/bpf}
- {name: cgroup, mountPath: /host/sys/fs/cgroup}
- {name: scratch, mountPath: /tmp}
{{- end -}}

{{/* Named capabilities alone; what each is for is in docs/install.md. {capabilities: […]} */}}
{{- define "culvert.agentSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  add: {{ .capabilities | toJson }}
{{- end -}}
