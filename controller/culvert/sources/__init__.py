"""Where worlds come from: folders of manifests, and the node's own cgroups."""
