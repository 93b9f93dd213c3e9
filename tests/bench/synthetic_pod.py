"""What makes a pod's document as long as real ones are: a watcher is sent all of it."""

from __future__ import annotations

from typing import Any

SERVER_PORT = 8080
MADE = "2026-01-01T00:00:00Z"

_TOKEN_VOLUME = "kube-api-access"
_TOKEN_SOURCES = [
    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
    {
        "configMap": {
            "name": "kube-root-ca.crt",
            "items": [{"key": "ca.crt", "path": "ca.crt"}],
        }
    },
]
_CONTAINER: dict[str, Any] = {
    "name": "main",
    "image": "registry.example/team/application:1.2.3",
    "ports": [{"name": "main", "containerPort": SERVER_PORT}],
    "env": [{"name": f"SETTING_{n}", "value": f"value of setting {n}"} for n in range(8)],
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    "readinessProbe": {"httpGet": {"path": "/ready", "port": SERVER_PORT}},
    "volumeMounts": [
        {"name": _TOKEN_VOLUME, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    ],
}
POD_SPEC: dict[str, Any] = {
    "serviceAccountName": "default",
    "containers": [_CONTAINER],
    "volumes": [{"name": _TOKEN_VOLUME, "projected": {"sources": _TOKEN_SOURCES}}],
}
"""All of ``spec`` but the node."""

_OWNED_BY_CONTROLLER: dict[str, Any] = {
    "f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}}},
    "f:spec": {
        "f:containers": {
            'k:{"name":"main"}': {
                ".": {},
                "f:env": {
                    ".": {},
                    **{
                        f'k:{{"name":"SETTING_{n}"}}': {".": {}, "f:name": {}, "f:value": {}}
                        for n in range(8)
                    },
                },
                "f:image": {},
                "f:imagePullPolicy": {},
                "f:name": {},
                "f:ports": {".": {}, 'k:{"containerPort":8080,"protocol":"TCP"}': {".": {}}},
                "f:readinessProbe": {".": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}}},
                "f:resources": {".": {}, "f:limits": {".": {}}, "f:requests": {".": {}}},
            }
        },
        "f:dnsPolicy": {},
        "f:restartPolicy": {},
        "f:schedulerName": {},
    },
}
_OWNED_BY_KUBELET: dict[str, Any] = {
    "f:status": {
        "f:conditions": {
            f'k:{{"type":"{kind}"}}': {".": {}, "f:lastTransitionTime": {}, "f:status": {}}
            for kind in ("ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready")
        },
        "f:containerStatuses": {},
        "f:phase": {},
        "f:podIP": {},
        "f:podIPs": {},
    },
}

MANAGED_FIELDS: list[dict[str, Any]] = [
    {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": MADE,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    for manager, fields in (
        ("kube-controller-manager", _OWNED_BY_CONTROLLER),
        ("kubelet", _OWNED_BY_KUBELET),
    )
]
"""As the API server keeps them: who wrote which field."""
