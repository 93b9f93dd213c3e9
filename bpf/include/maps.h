/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The maps, pinned under CV_PIN so that they and what they hold outlive the process that loaded
 * them. Every map is bounded; what happens when one is full is said beside it.
 */
#ifndef CULVERT_MAPS_H
#define CULVERT_MAPS_H

#include "abi.h"

#define CV_MAP(type, key_type, value_type, name, entries, flags)                                   \
	BPF_F_TABLE(type ":" CV_PIN "/" #name, key_type, value_type, name, entries, flags)

CV_MAP("array", int, struct cv_config, cv_config, 1, 0);
CV_MAP("percpu_array", int, struct cv_counter, cv_counters, CV_VERDICT_COUNT, 0);

/* Number of proxy sockets in LISTEN, kept by the kernel itself: exact the moment Envoy dies. */
CV_MAP("array", int, __s64, cv_proxy_listeners, 1, 0);

/* Full: the agent reports it, and the destination is not captured until there is room. */
CV_MAP("hash", struct cv_destination_key, struct cv_destination, cv_destinations,
       CV_DESTINATIONS_MAX, BPF_F_NO_PREALLOC);
CV_MAP("hash", __u64, struct cv_pod, cv_pods, CV_PODS_MAX, BPF_F_NO_PREALLOC);
CV_MAP("hash", struct cv_excluded_port_key, __u32, cv_excluded_ports, CV_EXCLUSIONS_MAX,
       BPF_F_NO_PREALLOC);
CV_MAP("lpm_trie", struct cv_excluded_cidr_key, __u32, cv_excluded_cidrs, CV_EXCLUSIONS_MAX,
       BPF_F_NO_PREALLOC);
CV_MAP("hash", struct cv_address, struct cv_local, cv_local, CV_LOCAL_MAX, BPF_F_NO_PREALLOC);

/*
 * Which of this node's pods take mutual TLS only: 1, or 0 for a port that does not, in the terms of
 * cv_destinations. Full: the agent reports it; exceptions are what is left out.
 */
CV_MAP("hash", struct cv_destination_key, __u32, cv_strict, CV_STRICT_MAX, BPF_F_NO_PREALLOC);

/*
 * Which of this node's pods are strict at any port, 1 or 0, by cgroup id: for the addresses of a pod
 * that cv_strict does not know, or not yet. 0 as the key, there if any pod may be strict: pods
 * without an entry of their own. Full: the agent reports it, and pods left out are as key 0 says.
 */
CV_MAP("hash", __u64, __u32, cv_strict_pods, CV_PODS_MAX, BPF_F_NO_PREALLOC);

/*
 * Connections to such pods that sockets of the node itself are making, seen from there, by socket
 * cookie. An entry lives for the handshake only. Full: the longest unused goes, and its connection
 * is refused.
 */
CV_MAP("lru_hash", struct cv_connection_key, __u64, cv_node_connecting, CV_NODE_CONNECTING_MAX, 0);

/* Who was refused by such pods, and how often, for the agent to tell. Full: the oldest goes. */
CV_MAP("lru_hash", struct cv_refused_key, __u64, cv_refused, CV_REFUSED_MAX, 0);

/*
 * Connections that pods made while they were not in cv_pods, by cgroup id: the agent reads a pod's
 * count as it enrols the pod, and deletes it as it lets the pod go. Also counts the cgroups above and below pods, whose level is not
 * known here; nobody asks for these. Full: the longest unchanged is forgotten.
 */
CV_MAP("lru_hash", __u64, __u64, cv_early, CV_EARLY_MAX, 0);

/* Network namespaces whose loopback connections may be accelerated; the key is the cookie. */
CV_MAP("hash", __u64, __u32, cv_loopback, CV_PODS_MAX, BPF_F_NO_PREALLOC);

/*
 * Original destinations on their way from the client's socket to the proxy's: an entry lives from
 * the client's last handshake packet to its arrival, so eviction takes only abandoned ones.
 */
CV_MAP("lru_hash", struct cv_connection_key, struct cv_original, cv_handoff, CV_HANDOFF_MAX, 0);

/*
 * Clients' addresses on their way from the proxy's socket to the pod's. An entry lives for the
 * handshake, and goes with the proxy's socket at the latest: the next on its port must not find it.
 * Full: the longest unused goes, and its pod sees the node's address.
 */
CV_MAP("lru_hash", struct cv_connection_key, struct cv_client, cv_client_handoff, CV_HANDOFF_MAX,
       0);

/* Full: the connection stays on TCP, counted. */
CV_MAP("hash", struct cv_connection_key, struct cv_peer, cv_peers, CV_CONNECTIONS_MAX,
       BPF_F_NO_PREALLOC);

/*
 * What a socket was asked to reach. Lives and dies with the socket, so it can be neither evicted
 * nor left behind. Declared by hand: BCC's macro has no pinned form.
 */
struct cv_originals_table_t {
	int key;
	struct cv_original leaf;
	void *(*sk_storage_get)(void *, void *, int);
	int (*sk_storage_delete)(void *);
	u32 flags;
};
__attribute__((section("maps/sk_storage:" CV_PIN "/cv_originals")))
struct cv_originals_table_t cv_originals = { .flags = BPF_F_NO_PREALLOC };
BPF_ANNOTATE_KV_PAIR(cv_originals, int, struct cv_original);

/* Whose address a socket of the proxy's, or one that a pod accepted from it, has. */
struct cv_clients_table_t {
	int key;
	struct cv_client leaf;
	void *(*sk_storage_get)(void *, void *, int);
	int (*sk_storage_delete)(void *);
	u32 flags;
};
__attribute__((section("maps/sk_storage:" CV_PIN "/cv_clients")))
struct cv_clients_table_t cv_clients = { .flags = BPF_F_NO_PREALLOC };
BPF_ANNOTATE_KV_PAIR(cv_clients, int, struct cv_client);

/* Full: the connection stays on TCP, counted. Declared by hand for the same reason. */
struct cv_sockhash_table_t {
	struct cv_connection_key key;
	int leaf;
	int (*update)(struct cv_connection_key *, int *);
	int (*delete)(struct cv_connection_key *);
	int (*sock_hash_update)(void *, void *, u64);
	int (*msg_redirect_hash)(void *, void *, u64);
	int (*sk_redirect_hash)(void *, void *, u64);
	u32 max_entries;
};
__attribute__((section("maps/sockhash:" CV_PIN "/cv_sockhash")))
struct cv_sockhash_table_t cv_sockhash = { .max_entries = CV_CONNECTIONS_MAX };
BPF_ANNOTATE_KV_PAIR(cv_sockhash, struct cv_connection_key, int);

static inline __attribute__((always_inline)) enum cv_verdict cv_count(enum cv_verdict verdict,
								      u64 bytes)
{
	int slot = verdict;
	struct cv_counter *counter = cv_counters.lookup(&slot);

	if (counter) {
		counter->count += 1;
		counter->bytes += bytes;
	}
	return verdict;
}

static inline __attribute__((always_inline)) struct cv_config *cv_config_get(void)
{
	int slot = 0;

	return cv_config.lookup(&slot);
}

/* What cv_strict says of an address and a port, the most specific entry; 0: nothing. */
static inline __attribute__((always_inline)) u32 *cv_strict_at(const struct cv_address *address,
								__be16 port_be)
{
	struct cv_destination_key key = { .address = *address, .port_be = port_be };
	u32 *strict = cv_strict.lookup(&key);

	if (strict || !port_be)
		return strict;
	key.port_be = 0;
	return cv_strict.lookup(&key);
}

#endif
