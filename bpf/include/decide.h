/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Every decision of the data path, as plain C from values to values: no maps, no helpers, no
 * context. The programs extract the facts, ask here, and act; the host tests drive the same code
 * through ctypes, because the kernel offers no test run for sk_msg and sock_ops.
 */
#ifndef CULVERT_DECIDE_H
#define CULVERT_DECIDE_H

#include "abi.h"

#ifndef CV_INLINE
#define CV_INLINE static inline __attribute__((always_inline))
#endif

CV_INLINE int cv_address_is_zero(const struct cv_address *address)
{
	return (address->word_be[0] | address->word_be[1] | address->word_be[2] |
		address->word_be[3]) == 0;
}

/* The address of no host, 0.0.0.0 in its mapped form as well. */
CV_INLINE int cv_address_is_any(const struct cv_address *address)
{
	return (address->word_be[0] | address->word_be[1] | address->word_be[3]) == 0 &&
	       (address->word_be[2] == 0 ||
		address->word_be[2] == __builtin_bswap32(0x0000ffff));
}

CV_INLINE int cv_address_equal(const struct cv_address *a, const struct cv_address *b)
{
	return a->word_be[0] == b->word_be[0] && a->word_be[1] == b->word_be[1] &&
	       a->word_be[2] == b->word_be[2] && a->word_be[3] == b->word_be[3];
}

CV_INLINE int cv_address_is_mapped4(const struct cv_address *address)
{
	return address->word_be[0] == 0 && address->word_be[1] == 0 &&
	       address->word_be[2] == __builtin_bswap32(0x0000ffff);
}

/* 127.0.0.0/8 in its mapped form, or ::1 */
CV_INLINE int cv_address_is_loopback(const struct cv_address *address)
{
	if (cv_address_is_mapped4(address))
		return (address->word_be[3] & __builtin_bswap32(0xff000000)) ==
		       __builtin_bswap32(0x7f000000);
	return address->word_be[0] == 0 && address->word_be[1] == 0 && address->word_be[2] == 0 &&
	       address->word_be[3] == __builtin_bswap32(1);
}

/*
 * Whether a pod may be told that its client has an address. The client's node says so, and could say
 * any. Applications trust their own address and loopback, which come through no proxy.
 */
CV_INLINE int cv_client_is_credible(const struct cv_address *client, const struct cv_address *pod)
{
	return !cv_address_is_loopback(client) && !cv_address_equal(client, pod);
}

CV_INLINE void cv_address_from4(struct cv_address *address, __be32 word_be)
{
	address->word_be[0] = 0;
	address->word_be[1] = 0;
	address->word_be[2] = __builtin_bswap32(0x0000ffff);
	address->word_be[3] = word_be;
}

CV_INLINE void cv_connection_key_reverse(struct cv_connection_key *out,
					 const struct cv_connection_key *in)
{
	out->netns_cookie = in->netns_cookie;
	out->local = in->remote;
	out->remote = in->local;
	out->local_port_be = in->remote_port_be;
	out->remote_port_be = in->local_port_be;
	out->reserved = 0;
}

CV_INLINE int cv_is_proxy_port(const struct cv_config *config, __be16 port_be)
{
	int listener;

#pragma unroll
	for (listener = CV_LISTENER_DIRECT + 1; listener < CV_LISTENER_COUNT; listener++) {
		if (port_be == config->listener_port_be[listener])
			return 1;
	}
	return 0;
}

/* Whether captured connections end here. */
CV_INLINE int cv_is_proxy_end(const struct cv_config *config, const struct cv_address *address,
			      __be16 port_be)
{
	return cv_is_proxy_port(config, port_be) && (cv_address_equal(address, &config->proxy4) ||
						     cv_address_equal(address, &config->proxy6));
}

/*
 * What connect() to a destination should do, once the maps were asked. PASS leaves the call as it
 * is, DENY fails it with EPERM.
 */
struct cv_connect_facts {
	__u32 pod_flags;		/* enum cv_pod_flag; 0: the pod is not enrolled */
	__u32 is_own_address;
	__u32 is_excluded_port;
	__u32 is_excluded_cidr;
	__u32 is_proxy_address;
	__u32 has_destination;
	__u32 listener;			/* enum cv_listener */
	__u32 destination_flags;	/* enum cv_destination_flag */
	__u32 proxy_listens;
	__u32 proxy_has_family;
};

CV_INLINE enum cv_verdict cv_decide_connect(const struct cv_connect_facts *facts)
{
	int fail_open;

	if (!(facts->pod_flags & CV_POD_CAPTURED))
		return CV_CONNECT_PASS_NOT_ENROLLED;
	/* A pod that talks to the proxy's own ports would be a loop, or a caller with no origin. */
	if (facts->is_proxy_address)
		return CV_CONNECT_DENY_PROXY_ADDRESS;
	if (!facts->has_destination)
		return CV_CONNECT_PASS_NO_DESTINATION;
	if (facts->listener == CV_LISTENER_DIRECT || facts->listener >= CV_LISTENER_COUNT)
		return CV_CONNECT_PASS_DIRECT;
	if (facts->is_own_address)
		return CV_CONNECT_PASS_SELF;
	if (facts->is_excluded_port)
		return CV_CONNECT_PASS_EXCLUDED_PORT;
	if (facts->is_excluded_cidr)
		return CV_CONNECT_PASS_EXCLUDED_CIDR;
	fail_open = (facts->pod_flags & CV_POD_FAIL_OPEN) ||
		    (facts->destination_flags & CV_DESTINATION_FAIL_OPEN);
	if (!facts->proxy_has_family)
		return fail_open ? CV_CONNECT_PASS_FAIL_OPEN : CV_CONNECT_DENY_NO_PROXY_FAMILY;
	if (!facts->proxy_listens && fail_open)
		return CV_CONNECT_PASS_FAIL_OPEN;
	/* Fail closed needs no rule of its own: nothing listens, so the kernel refuses. */
	return CV_CONNECT_REDIRECTED;
}

/*
 * Whether the proxy may take a captured connection for its pod's. A pod with CAP_NET_ADMIN can
 * connect from any address that it has given itself: another pod's must not pass. Until the cluster
 * has said which address is the pod's own, any passes that no other pod of the node has.
 */
struct cv_handoff_facts {
	__u32 own_is_known;
	__u32 is_own;			/* the socket's address is the pod's own */
	__u32 is_of_another;		/* the socket's address is known to be somebody else's */
};

CV_INLINE enum cv_verdict cv_decide_handoff(const struct cv_config *config,
					    const struct cv_handoff_facts *facts)
{
	if (!(config->flags & CV_CONFIG_IDENTITY) || facts->is_own)
		return CV_HANDOFF_STORED;
	if (facts->own_is_known || facts->is_of_another)
		return CV_HANDOFF_WRONG_SOURCE;
	return CV_HANDOFF_STORED;
}

/*
 * What the proxy is shown as the port of a connection that it accepted: the number of the caller's
 * identity, 0 where nobody vouches for the caller. The port itself would be taken for a number.
 */
CV_INLINE __u16 cv_decide_peer_number(const struct cv_original *original)
{
	if (!original || !original->family || !original->is_accepted)
		return 0;
	return original->identity_number;
}

/*
 * Whether a pod that takes mutual TLS only takes this connection. What its node itself makes comes
 * from the proxy, which has seen to the TLS, or from the kubelet, which probes.
 */
struct cv_strict_facts {
	__u32 is_from_node;		/* a socket of the node's own namespace is connecting */
	__u32 is_loopback;		/* it has not left the pod */
};

CV_INLINE enum cv_verdict cv_decide_strict(const struct cv_strict_facts *facts)
{
	if (facts->is_from_node)
		return CV_STRICT_ALLOWED_NODE;
	if (facts->is_loopback)
		return CV_STRICT_ALLOWED_SELF;
	return CV_STRICT_REFUSED;
}

#define CV_TCP_SYN 0x02
#define CV_TCP_ACK 0x10

/* Whether a segment asks for a new connection, by byte 13 of its header (RFC 9293 section 3.1). */
CV_INLINE int cv_is_connection_request(__u8 tcp_flags)
{
	return (tcp_flags & (CV_TCP_SYN | CV_TCP_ACK)) == CV_TCP_SYN;
}

/*
 * The size in bytes of an IPv6 extension header with another header behind it (IANA's registry),
 * from its own number and its length field; 0: it is none of these.
 */
CV_INLINE __u32 cv_extension_bytes(__u8 header, __u8 length)
{
	switch (header) {
	case 0:	  /* hop-by-hop options */
	case 43:  /* routing */
	case 60:  /* destination options */
	case 135: /* mobility */
	case 139: /* HIP */
	case 140: /* shim6 */
		return ((__u32)length + 1) * 8;
	case 44: /* fragment: one that is whole keeps its header (RFC 6946) */
		return 8;
	case 51: /* authentication */
		return ((__u32)length + 2) * 4;
	}
	return 0;
}

/*
 * The sequenced switch. The receiver reads redirected bytes before bytes that came over TCP, so a
 * redirect is in order only if no byte of this direction is under way or unread over TCP:
 *
 *     write_seq == snd_una == peer's rcv_nxt == peer's copied_seq
 *
 * Redirected bytes take no sequence numbers, so the equality holds again after any number of them.
 * It also proves that the two sockets are each other's peers: initial sequence numbers are random
 * per connection (RFC 6528). The other direction, redirect then TCP, is always in order.
 */
struct cv_send_facts {
	__u32 size_bytes;
	__u32 write_seq;
	__u32 snd_una;
	__u32 peer_rcv_nxt;
	__u32 peer_copied_seq;
	__u32 peer_rmem_bytes;
};

/* The part that needs no look-up, so that large and busy streams pay next to nothing. */
CV_INLINE enum cv_verdict cv_decide_send_early(const struct cv_config *config, __u32 size_bytes)
{
	if (!(config->flags & CV_CONFIG_ACCELERATE))
		return CV_SEND_TCP_OFF;
	/* For kernels on which large redirects are measured to be slower than TCP. */
	if (size_bytes > config->max_redirect_bytes)
		return CV_SEND_TCP_LARGE;
	return CV_SEND_REDIRECTED;
}

CV_INLINE enum cv_verdict cv_decide_send(const struct cv_config *config,
					 const struct cv_send_facts *facts)
{
	enum cv_verdict early = cv_decide_send_early(config, facts->size_bytes);

	if (early != CV_SEND_REDIRECTED)
		return early;
	if (facts->write_seq != facts->snd_una)
		return CV_SEND_TCP_UNACKED;
	if (facts->peer_copied_seq != facts->peer_rcv_nxt)
		return CV_SEND_TCP_PEER_UNREAD;
	if (facts->write_seq != facts->peer_rcv_nxt)
		return CV_SEND_TCP_NOT_IN_SEQUENCE;
	if (facts->peer_rmem_bytes >= config->budget_bytes)
		return CV_SEND_TCP_BUDGET;
	return CV_SEND_REDIRECTED;
}

/*
 * Whether a socket may be enrolled; the flags are those of its two addresses. The connecting side
 * goes by the addresses. The accepting side comes second and asks for proof: its peer's own entry.
 * A peer outside the mesh, a kubelet on the node's address say, has none.
 */
struct cv_enrol_facts {
	__u32 local_is_known;
	__u32 local_flags;		/* enum cv_local_flag */
	__u32 remote_is_known;
	__u32 remote_flags;
	__u32 is_accepting;
	__u32 peer_is_enrolled;
	__u32 is_mptcp;
};

CV_INLINE enum cv_verdict cv_decide_enrol(const struct cv_config *config,
					  const struct cv_enrol_facts *facts)
{
	if (!(config->flags & CV_CONFIG_ACCELERATE))
		return CV_ENROL_SKIP_OFF;
	if (!facts->local_is_known)
		return CV_ENROL_SKIP_NOT_LOCAL;
	if (facts->is_accepting) {
		if (!facts->peer_is_enrolled)
			return CV_ENROL_SKIP_PEER_NOT_ENROLLED;
		if (!(facts->local_flags & CV_LOCAL_ACCELERATED))
			return CV_ENROL_SKIP_OFF;
	} else {
		if (!facts->remote_is_known || (facts->remote_flags & CV_LOCAL_PROXY_SOURCE))
			return CV_ENROL_SKIP_NOT_LOCAL;
		if (!(facts->local_flags & (CV_LOCAL_ACCELERATED | CV_LOCAL_PROXY_SOURCE)) ||
		    !(facts->remote_flags & CV_LOCAL_ACCELERATED))
			return CV_ENROL_SKIP_OFF;
	}
	if (facts->is_mptcp)
		return CV_ENROL_SKIP_MPTCP;
	return CV_ENROL_DONE;
}

#endif
