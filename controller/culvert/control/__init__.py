"""The controller: one per cluster; gathers what agents report and writes status and Events."""
