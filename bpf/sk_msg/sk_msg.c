/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * sk_msg: each send of an enrolled socket goes either straight into the peer's receive queue or by
 * TCP. Every exit is SK_PASS: a send is never dropped, whatever is missing.
 */
#include "decide.h"
#include "maps.h"

/* The peer's entry: the connection seen from its end. */
static inline __attribute__((always_inline)) void
cv_peer_key_of_msg(struct cv_connection_key *key, struct sk_msg_md *msg)
{
	u32 remote_port = msg->remote_port; /* network order, in the high half of the field */
	u32 local_port = msg->local_port;   /* host order */

	key->netns_cookie = 0;
	key->reserved = 0;
	if (msg->family == AF_INET) {
		cv_address_from4(&key->remote, msg->local_ip4);
		cv_address_from4(&key->local, msg->remote_ip4);
	} else {
		key->remote.word_be[0] = msg->local_ip6[0];
		key->remote.word_be[1] = msg->local_ip6[1];
		key->remote.word_be[2] = msg->local_ip6[2];
		key->remote.word_be[3] = msg->local_ip6[3];
		key->local.word_be[0] = msg->remote_ip6[0];
		key->local.word_be[1] = msg->remote_ip6[1];
		key->local.word_be[2] = msg->remote_ip6[2];
		key->local.word_be[3] = msg->remote_ip6[3];
	}
	key->remote_port_be = bpf_htons((u16)local_port);
	key->local_port_be = (__be16)(remote_port >> 16);
	if (cv_address_is_loopback(&key->remote))
		key->netns_cookie = bpf_get_netns_cookie(msg);
}

static inline __attribute__((always_inline)) u32 cv_read_u32(u64 base, u32 offset)
{
	u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)(base + offset));
	return value;
}

int cv_sk_msg(struct sk_msg_md *msg)
{
	struct cv_connection_key peer_key;
	struct cv_send_facts facts = {};
	struct cv_config *config = cv_config_get();
	struct cv_peer *peer;
	enum cv_verdict verdict;
	u64 tcp, peer_tcp, peer_cookie, cookie = 0;
	int redirected;

	facts.size_bytes = msg->size;
	if (!config)
		return SK_PASS;
	verdict = cv_decide_send_early(config, facts.size_bytes);
	if (verdict != CV_SEND_REDIRECTED)
		goto by_tcp;

	tcp = (u64)bpf_skc_to_tcp_sock(msg->sk);
	if (!tcp)
		return SK_PASS;
	/* The verifier knows the kernel's type of our own socket, so it can be read like memory. */
	facts.write_seq = *(volatile u32 *)(tcp + CV_OFFSET_WRITE_SEQ);
	facts.snd_una = *(volatile u32 *)(tcp + CV_OFFSET_SND_UNA);
	verdict = CV_SEND_TCP_UNACKED;
	if (facts.write_seq != facts.snd_una)
		goto by_tcp;

	cv_peer_key_of_msg(&peer_key, msg);
	verdict = CV_SEND_TCP_NO_PEER;
	peer = cv_peers.lookup(&peer_key);
	if (!peer)
		goto by_tcp;
	/* Read once: the kernel may give a deleted entry to another connection at any moment. */
	peer_tcp = peer->tcp_sock;
	peer_cookie = peer->socket_cookie;
	bpf_probe_read_kernel(&cookie, sizeof(cookie), (void *)(peer_tcp + CV_OFFSET_COOKIE));
	verdict = CV_SEND_TCP_PEER_GONE;
	if (cookie != peer_cookie)
		goto by_tcp;
	/*
	 * copied_seq is read before rcv_nxt: both only grow and copied_seq never passes rcv_nxt, so
	 * if they are found equal in this order there was a moment with nothing unread.
	 */
	facts.peer_copied_seq = cv_read_u32(peer_tcp, CV_OFFSET_COPIED_SEQ);
	facts.peer_rcv_nxt = cv_read_u32(peer_tcp, CV_OFFSET_RCV_NXT);
	facts.peer_rmem_bytes = cv_read_u32(peer_tcp, CV_OFFSET_RMEM_ALLOC);
	verdict = cv_decide_send(config, &facts);
	if (verdict != CV_SEND_REDIRECTED)
		goto by_tcp;
	/* The peer may leave the sockhash at any moment; the helper then says SK_DROP (EACCES). */
	verdict = CV_SEND_TCP_LEFT_SOCKHASH;
	/* BCC 0.26 rewrites this call with a semicolon of its own: it must be a statement. */
	redirected = cv_sockhash.msg_redirect_hash(msg, &peer_key, BPF_F_INGRESS);
	if (redirected != SK_PASS)
		goto by_tcp;
	verdict = CV_SEND_REDIRECTED;
by_tcp:
	cv_count(verdict, facts.size_bytes);
	return SK_PASS;
}
