/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Structures shared with user space; culvert/redirect/abi.py mirrors them and a test compares every
 * size and offset. Addresses are four words in network order, IPv4 as IPv4-mapped IPv6
 * (RFC 4291 section 2.5.5.2). A field in network order ends in _be.
 */
#ifndef CULVERT_ABI_H
#define CULVERT_ABI_H

#include <linux/types.h>

struct cv_address {
	__be32 word_be[4];
};

/* enum ProxyListener of culvert/model/redirect.py */
enum cv_listener {
	CV_LISTENER_DIRECT = 0,
	CV_LISTENER_SERVICE_HTTP = 1,
	CV_LISTENER_SERVICE_TCP = 2,
	CV_LISTENER_POD_HTTP = 3,
	CV_LISTENER_POD_TCP = 4,
	CV_LISTENER_POD_MESH = 5,
	CV_LISTENER_POD_LOCAL_TCP = 6,
	CV_LISTENER_POD_LOCAL_HTTP = 7,
	CV_LISTENER_COUNT = 8,
};

enum cv_config_flag {
	CV_CONFIG_ACCELERATE = 1,
	/* The proxy is told who calls: in the place of the caller's port (sock_addr/connect.c). */
	CV_CONFIG_IDENTITY = 2,
};

struct cv_config {
	struct cv_address proxy4;	/* all zero: the proxy has no IPv4 address */
	struct cv_address proxy6;	/* all zero: the proxy has no IPv6 address */
	__be16 listener_port_be[CV_LISTENER_COUNT];
	__u32 flags;			/* enum cv_config_flag */
	__u32 budget_bytes;		/* most a receiver may have queued before sends go by TCP */
	__u32 max_redirect_bytes;	/* larger sends go by TCP */
	__u32 pod_level_min;		/* levels of the cgroup tree at which pods are found */
	__u32 pod_level_max;
	__u32 reserved;
	__u64 node_netns_cookie;	/* the node's own network namespace; 0: not known */
};

struct cv_destination_key {
	struct cv_address address;
	__be16 port_be;			/* 0: every port without an entry of its own */
	__u16 reserved;
};

enum cv_destination_flag {
	CV_DESTINATION_FAIL_OPEN = 1,
};

struct cv_destination {
	__u8 listener;			/* enum cv_listener */
	__u8 flags;			/* enum cv_destination_flag */
	__u16 reserved;
};

enum cv_pod_flag {
	CV_POD_CAPTURED = 1,
	CV_POD_FAIL_OPEN = 2,
	CV_POD_EXCLUDES_PORTS = 4,
	CV_POD_EXCLUDES_CIDRS = 8,
};

/* Value of the pods map; the key is the cgroup v2 id. */
struct cv_pod {
	struct cv_address address4;	/* the pod's own; all zero: none */
	struct cv_address address6;
	__u32 flags;			/* enum cv_pod_flag */
	__u32 identity_number;		/* 1 to 65535; 0: it has no identity */
};

struct cv_excluded_port_key {
	__u64 cgroup_id;
	__be16 port_be;
	__u16 reserved[3];
};

/* Longest-prefix key: the first 64 bits are always matched whole. */
struct cv_excluded_cidr_key {
	__u32 prefix_bits;		/* 64 + prefix length in the 128-bit form */
	__u32 cgroup_id_word[2];	/* the id's 8 bytes as they lie in memory */
	struct cv_address network;
};

enum cv_local_flag {
	CV_LOCAL_ACCELERATED = 1,
	/* An address of the node itself: the proxy connects from it, but others answer there. */
	CV_LOCAL_PROXY_SOURCE = 2,
};

/* Value of the local map; the key is the address. */
struct cv_local {
	__u32 flags;			/* enum cv_local_flag */
};

/*
 * One end of a connection, seen from that end. The network namespace cookie is set for loopback
 * addresses only: these repeat in every pod, whereas the others are unique on a node.
 */
struct cv_connection_key {
	__u64 netns_cookie;
	struct cv_address local;
	struct cv_address remote;
	__be16 local_port_be;
	__be16 remote_port_be;
	__u32 reserved;
};

struct cv_peer {
	__u64 tcp_sock;			/* kernel address; only ever read through a faulting-safe load */
	__u64 socket_cookie;		/* never reused: tells a recycled address from the socket meant */
};

/* What is kept with a captured socket, and after the hand-off with the one the proxy accepted. */
struct cv_original {
	struct cv_address address;	/* asked for by the application */
	struct cv_address own;		/* the pod's, of that family; all zero: not known yet */
	__be16 port_be;
	__u16 family;			/* AF_INET or AF_INET6, of the client; 0: not captured */
	__u16 identity_number;		/* of the pod; 0: it has no identity */
	__u16 is_accepted;		/* 1: this is the proxy's end */
};

/*
 * For whom the proxy makes a connection to a pod of this node. Kept with its own socket, and after
 * the hand-off with the one that the pod accepted.
 */
struct cv_client {
	struct cv_address address;
	__u64 socket_cookie;		/* of the proxy's socket */
	__u32 is_accepted;		/* 1: this is the pod's end */
	__u32 reserved;
};

/* Somebody whose connections to a pod were refused; the value is how many. */
struct cv_refused_key {
	struct cv_address source;
	struct cv_address address;	/* the pod's */
	__be16 port_be;			/* the pod's */
	__u16 reserved;
};

struct cv_counter {
	__u64 count;
	__u64 bytes;			/* payload, for the SEND verdicts */
};

/* One slot for each decision and its reason. The order is part of the ABI: append only. */
enum cv_verdict {
	CV_CONNECT_REDIRECTED = 0,
	CV_CONNECT_PASS_NOT_ENROLLED = 1,
	CV_CONNECT_PASS_NOT_TCP = 2,
	CV_CONNECT_PASS_NO_DESTINATION = 3,
	CV_CONNECT_PASS_DIRECT = 4,
	CV_CONNECT_PASS_SELF = 5,
	CV_CONNECT_PASS_EXCLUDED_PORT = 6,
	CV_CONNECT_PASS_EXCLUDED_CIDR = 7,
	CV_CONNECT_PASS_FAIL_OPEN = 8,
	CV_CONNECT_DENY_PROXY_ADDRESS = 9,
	CV_CONNECT_DENY_NO_PROXY_FAMILY = 10,
	CV_CONNECT_DENY_NO_MEMORY = 11,
	CV_HANDOFF_STORED = 12,
	CV_HANDOFF_FULL = 13,
	CV_HANDOFF_TAKEN = 14,
	CV_HANDOFF_MISSING = 15,
	CV_ORIGINAL_SERVED = 16,
	CV_ORIGINAL_UNKNOWN = 17,
	CV_ENROL_DONE = 18,
	CV_ENROL_SKIP_NOT_LOCAL = 19,
	CV_ENROL_SKIP_OFF = 20,
	CV_ENROL_SKIP_MPTCP = 21,
	CV_ENROL_SKIP_PEERS_FULL = 22,
	CV_ENROL_SKIP_SOCKHASH_FULL = 23,
	CV_SEND_REDIRECTED = 24,
	CV_SEND_TCP_OFF = 25,
	CV_SEND_TCP_LARGE = 26,
	CV_SEND_TCP_UNACKED = 27,
	CV_SEND_TCP_NO_PEER = 28,
	CV_SEND_TCP_PEER_GONE = 29,
	CV_SEND_TCP_PEER_UNREAD = 30,
	CV_SEND_TCP_NOT_IN_SEQUENCE = 31,
	CV_SEND_TCP_BUDGET = 32,
	CV_SEND_TCP_LEFT_SOCKHASH = 33,
	CV_ENROL_SKIP_PEER_NOT_ENROLLED = 34,
	CV_HANDOFF_WRONG_SOURCE = 35,
	CV_STRICT_ALLOWED_NODE = 36,
	CV_STRICT_ALLOWED_SELF = 37,
	CV_STRICT_REFUSED = 38,
	CV_CLIENT_STORED = 39,
	CV_CLIENT_FULL = 40,
	CV_CLIENT_TAKEN = 41,
	CV_CLIENT_REFUSED = 42,
	CV_VERDICT_COUNT = 43,
};

#endif
