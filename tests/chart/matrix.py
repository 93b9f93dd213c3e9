"""Sets of values over which the chart is tested."""

from __future__ import annotations

VALUES: dict[str, list[str]] = {
    "defaults": [],
    "named otherwise": ["fullnameOverride=mesh", "commonLabels.team=platform"],
    "bare": ["rbac.create=false", "serviceAccounts.create=false", "uninstall.cleanNodes=false"],
    "own account": ["serviceAccounts.create=false", "serviceAccounts.agent=mine"],
    "by digest": [f"agent.image.digest=sha256:{'a' * 64}", f"proxy.image.digest=sha256:{'b' * 64}"],
    "mesh config": ["meshConfig.create=true", "meshConfig.spec.failMode=Open"],
    "other nodes": [
        "node.cgroupRoot=/sys/fs/cgroup/unified",
        "node.podsCgroup=kubelet/kubepods",
        "agent.nodeSelector.pool=mesh",
        "imagePullSecrets[0].name=registry",
    ],
    "no controller": ["controller.enabled=false"],
    "other controller": [
        "controller.replicas=1",
        "controller.networkPolicy.enabled=false",
        "serviceAccounts.controller=mine",
    ],
    "switches": [
        "agent.acceleration=false",
        "agent.failOpen=true",
        "agent.metrics.enabled=true",
        "agent.podAnnotations.a=b",
        "proxy.podLabels.c=d",
        "proxy.updateStrategy.type=OnDelete",
        "proxy.updateStrategy.rollingUpdate=null",
    ],
    "identities": ["identity.enabled=true"],
    "identities, first step": ["identity.enabled=true", "identity.acceptOnly=true"],
    "identities of an operator": [
        "identity.enabled=true",
        "identity.trustDomain=shop.example",
        "identity.certificateLifetime=1h30m",
        "identity.existingSecret=cacerts",
    ],
    "dashboard": ["monitoring.dashboard.enabled=true"],
}

# Apart: an API server without the Prometheus Operator's kinds refuses these.
WITH_OPERATOR: dict[str, list[str]] = {
    "scraped": ["monitoring.serviceMonitor.enabled=true", "agent.metrics.enabled=true"],
    "scraped, no controller": [
        "monitoring.serviceMonitor.enabled=true",
        "agent.metrics.enabled=true",
        "controller.enabled=false",
    ],
    "alerts": ["monitoring.prometheusRule.enabled=true", "monitoring.labels.release=prometheus"],
}
EVERY = VALUES | WITH_OPERATOR
