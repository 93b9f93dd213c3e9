"""Certificates of workloads: who may have which, how they are made, kept and renewed."""
