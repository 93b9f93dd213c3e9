"""Small servers and clients that make real traffic: ``python -m culvert.rig.workloads.<name>``.

Servers: ``http_echo``, ``grpc_echo``, ``tcp_greeter``. Clients: ``http_load``, ``grpc_load``,
``tcp_load``; these print one JSON document a second and a summary at the end. Each has ``--help``.
"""
