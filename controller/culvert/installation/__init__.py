"""Is a mesh installed in a cluster, and does every part of it run?"""
