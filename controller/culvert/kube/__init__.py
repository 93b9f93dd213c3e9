"""Access to the Kubernetes API: requests, watches, and copies of what it holds."""
