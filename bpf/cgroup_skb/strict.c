/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * cgroup_skb/ingress on the pods' cgroup: a pod that takes mutual TLS only gets no connection but
 * those of its own node and of itself. Packets of connections that exist are told by their socket's
 * state and pass at once.
 */
#include "decide.h"
#include "maps.h"

#define CV_PASS 1
#define CV_DROP 0
#define CV_LOOPBACK_IFINDEX 1 /* of lo, in every namespace: LOOPBACK_IFINDEX of the kernel */
#define CV_MAX_EXTENSIONS 8

enum cv_segment {
	CV_SEGMENT_OTHER,
	CV_SEGMENT_CONNECTION_REQUEST,
	CV_SEGMENT_UNREADABLE, /* behind more IPv6 extension headers than are looked through */
};

static inline __attribute__((always_inline)) enum cv_segment
cv_segment_at(struct __sk_buff *skb, u32 offset, struct cv_connection_key *key)
{
	struct {
		__be16 source_port_be;
		__be16 destination_port_be;
	} ports;
	u8 flags;

	if (bpf_skb_load_bytes(skb, offset, &ports, sizeof(ports)) ||
	    bpf_skb_load_bytes(skb, offset + 13, &flags, sizeof(flags)))
		return CV_SEGMENT_OTHER; /* shorter than TCP's header: the kernel drops it */
	key->local_port_be = ports.source_port_be;
	key->remote_port_be = ports.destination_port_be;
	return cv_is_connection_request(flags) ? CV_SEGMENT_CONNECTION_REQUEST : CV_SEGMENT_OTHER;
}

static inline __attribute__((always_inline)) enum cv_segment
cv_segment_in4(struct __sk_buff *skb, struct cv_connection_key *key)
{
	struct {
		__be32 source_be;
		__be32 destination_be;
	} addresses;
	u8 first, protocol;

	if (bpf_skb_load_bytes(skb, 0, &first, sizeof(first)) ||
	    bpf_skb_load_bytes(skb, 9, &protocol, sizeof(protocol)) ||
	    bpf_skb_load_bytes(skb, 12, &addresses, sizeof(addresses)))
		return CV_SEGMENT_OTHER;
	if (protocol != IPPROTO_TCP)
		return CV_SEGMENT_OTHER;
	cv_address_from4(&key->local, addresses.source_be);
	cv_address_from4(&key->remote, addresses.destination_be);
	return cv_segment_at(skb, (first & 0x0f) * 4, key);
}

static inline __attribute__((always_inline)) enum cv_segment
cv_segment_in6(struct __sk_buff *skb, struct cv_connection_key *key)
{
	u32 offset = 40, size, step;
	u8 header, next[2];

	if (bpf_skb_load_bytes(skb, 6, &header, sizeof(header)) ||
	    bpf_skb_load_bytes(skb, 8, &key->local, sizeof(key->local)) ||
	    bpf_skb_load_bytes(skb, 24, &key->remote, sizeof(key->remote)))
		return CV_SEGMENT_OTHER;
#pragma unroll
	for (step = 0; step < CV_MAX_EXTENSIONS; step++) {
		if (header == IPPROTO_TCP)
			return cv_segment_at(skb, offset, key);
		if (bpf_skb_load_bytes(skb, offset, next, sizeof(next)))
			return CV_SEGMENT_OTHER;
		size = cv_extension_bytes(header, next[1]);
		if (!size)
			return CV_SEGMENT_OTHER; /* another protocol */
		header = next[0];
		offset += size;
	}
	return header == IPPROTO_TCP ? cv_segment_at(skb, offset, key) : CV_SEGMENT_UNREADABLE;
}

/*
 * Whether the pod that a packet is for is strict at any port, by the cgroup of the socket that takes
 * it. Of a pod that nothing is known of it is assumed or not, but for what is at the node's own
 * addresses: pods there share them with the node.
 */
static inline __attribute__((always_inline)) int cv_is_strict_pod(struct __sk_buff *skb,
								   struct cv_address *address)
{
	struct cv_config *config = cv_config_get();
	u64 cgroup_id = bpf_skb_cgroup_id(skb);
	u32 *strict = cv_strict_pods.lookup(&cgroup_id);
	struct cv_local *local;
	u32 level, step;

	if (!config)
		return 0;
#pragma unroll
	for (step = 0; step < 6; step++) {
		level = config->pod_level_min + step;
		if (strict || level > config->pod_level_max)
			break;
		cgroup_id = bpf_skb_ancestor_cgroup_id(skb, level);
		if (cgroup_id)
			strict = cv_strict_pods.lookup(&cgroup_id);
	}
	if (strict)
		return *strict != 0;
	cgroup_id = 0;
	strict = cv_strict_pods.lookup(&cgroup_id);
	if (!strict || !*strict)
		return 0;
	local = cv_local.lookup(address);
	return !local || !(local->flags & CV_LOCAL_PROXY_SOURCE);
}

/*
 * Whether plain text is refused. A pod with a strict port has an entry for all its others at each
 * address that is known; of what cannot be read the port is not known.
 */
static inline __attribute__((always_inline)) int cv_is_strict(struct __sk_buff *skb,
							       enum cv_segment segment,
							       struct cv_connection_key *key)
{
	int is_readable = segment == CV_SEGMENT_CONNECTION_REQUEST;
	u32 *strict = cv_strict_at(&key->remote, is_readable ? key->remote_port_be : 0);

	if (strict)
		return *strict || !is_readable;
	return cv_is_strict_pod(skb, &key->remote);
}

static inline __attribute__((always_inline)) void cv_note_refused(struct cv_connection_key *key)
{
	struct cv_refused_key refused = { .source = key->local,
					  .address = key->remote,
					  .port_be = key->remote_port_be };
	u64 none = 0, *count = cv_refused.lookup_or_try_init(&refused, &none);

	if (count)
		lock_xadd(count, 1);
}

static inline __attribute__((always_inline)) int cv_judge(struct __sk_buff *skb)
{
	struct cv_connection_key key = {}; /* as its maker sees it */
	struct cv_strict_facts facts = {};
	enum cv_segment segment;

	segment = skb->protocol == bpf_htons(ETH_P_IP) ? cv_segment_in4(skb, &key) :
							 cv_segment_in6(skb, &key);
	if (segment == CV_SEGMENT_OTHER)
		return CV_PASS;
	if (!cv_is_strict(skb, segment, &key))
		return CV_PASS;
	facts.is_from_node = segment == CV_SEGMENT_CONNECTION_REQUEST &&
			     cv_node_connecting.lookup(&key) != 0;
	facts.is_loopback = skb->ifindex == CV_LOOPBACK_IFINDEX;
	if (cv_count(cv_decide_strict(&facts), 0) != CV_STRICT_REFUSED)
		return CV_PASS;
	cv_note_refused(&key);
	return CV_DROP;
}

int cv_strict_ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	/* Every packet to a pod comes by here: only a listening socket takes new connections. */
	if (!sk || sk->state != BPF_TCP_LISTEN)
		return CV_PASS;
	return cv_judge(skb);
}
