{{- define "culvert.agentMounts" -}}
- name: run
  mountPath: /run/culvert/agent
- name: bpf
  mountPath: /sys/fs/bpf
- name: cgroup
  mountPath: /host/sys/fs/cgroup
- name: scratch
  mountPath: /tmp
{{- end -}}

{{- define "culvert.agentVolumes" -}}
- name: run
  hostPath: {path: {{ .Values.node.runRoot }}/agent, type: DirectoryOrCreate}
- name: bpf
  hostPath: {path: {{ .Values.node.bpfRoot }}, type: Directory}
- name: cgroup
  hostPath: {path: {{ .Values.node.cgroupRoot }}, type: Directory}
- name: scratch
  emptyDir: {sizeLimit: 64Mi}
{{- end -}}

{{/* How the agent tells its node's Envoy among the pods. */}}
{{- define "culvert.proxySelector" -}}
app.kubernetes.io/name={{ default .Chart.Name .Values.nameOverride }},app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=proxy
{{- end -}}
