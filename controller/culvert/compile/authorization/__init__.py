"""AuthorizationPolicies: which of them are for a pod, and what they say of a request."""
