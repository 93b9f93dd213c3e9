"""The kernel side of the data path: loading the programs and keeping their maps as wanted."""
