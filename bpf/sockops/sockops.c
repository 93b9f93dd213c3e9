/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * sock_ops: hand the original destination from the client's socket to the proxy's, and the client's
 * address from the proxy's to the pod's that it was going to, enrol both ends
 * of a same-node connection, count the proxy's listening sockets, and forget what closes.
 */
#include "connection_key.h"
#include "decide.h"
#include "maps.h"

static inline __attribute__((always_inline)) void cv_enrol(struct bpf_sock_ops *ctx,
							   struct cv_connection_key *key,
							   int is_accepting)
{
	struct cv_config *config = cv_config_get();
	struct cv_enrol_facts facts = {};
	struct cv_connection_key reverse;
	struct cv_local *local, *remote;
	struct bpf_sock *sk = ctx->sk;
	struct cv_peer peer = {};
	enum cv_verdict verdict;
	u8 is_mptcp = 0;
	void *tcp;
	int error;

	if (!config || !sk)
		return;
	facts.is_accepting = is_accepting;
	if (key->netns_cookie) {
		u32 *flags = cv_loopback.lookup(&key->netns_cookie);

		facts.local_is_known = facts.remote_is_known = flags != 0;
		facts.local_flags = facts.remote_flags = flags ? *flags : 0;
	} else {
		local = cv_local.lookup(&key->local);
		facts.local_is_known = local != 0;
		facts.local_flags = local ? local->flags : 0;
		/* The accepting side goes by its peer's entry. */
		if (local && !is_accepting) {
			remote = cv_local.lookup(&key->remote);
			facts.remote_is_known = remote != 0;
			facts.remote_flags = remote ? remote->flags : 0;
		}
	}
	if (is_accepting && facts.local_is_known) {
		cv_connection_key_reverse(&reverse, key);
		facts.peer_is_enrolled = cv_peers.lookup(&reverse) != 0;
	}
	if (facts.local_is_known && (facts.remote_is_known || facts.peer_is_enrolled)) {
		tcp = bpf_skc_to_tcp_sock(sk);
		if (!tcp)
			return;
		peer.tcp_sock = (u64)tcp;
		peer.socket_cookie = bpf_get_socket_cookie(ctx);
#if CV_OFFSET_IS_MPTCP
		/* The accepting side of a connection is MPTCP only if the connecting side is. */
		if (!is_accepting)
			bpf_probe_read_kernel(&is_mptcp, sizeof(is_mptcp),
					      (void *)(peer.tcp_sock + CV_OFFSET_IS_MPTCP));
		facts.is_mptcp = is_mptcp;
#endif
	}
	verdict = cv_decide_enrol(config, &facts);
	if (verdict != CV_ENROL_DONE) {
		cv_count(verdict, 0);
		return;
	}
	/* BPF_ANY: a reused port must replace what an older connection left. */
	if (cv_peers.update(key, &peer)) {
		cv_count(CV_ENROL_SKIP_PEERS_FULL, 0);
		return;
	}
	/* BCC 0.26 rewrites this call with a semicolon of its own: it must be a statement. */
	error = cv_sockhash.sock_hash_update(ctx, key, BPF_ANY);
	if (error) {
		cv_peers.delete(key);
		cv_count(CV_ENROL_SKIP_SOCKHASH_FULL, 0);
		return;
	}
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	cv_count(CV_ENROL_DONE, 0);
}

/* Client: runs before the last packet of the handshake leaves, so the proxy cannot be too early. */
static inline __attribute__((always_inline)) void cv_handoff_store(struct bpf_sock_ops *ctx,
								   struct cv_connection_key *key)
{
	struct bpf_sock *sk = ctx->sk; /* read once: each load is a new pointer to the verifier */
	struct cv_config *config = cv_config_get();
	struct cv_handoff_facts facts = {};
	struct cv_original *saved;

	if (!sk || !config)
		return;
	saved = cv_originals.sk_storage_get(sk, 0, 0);
	if (!saved || !saved->family)
		return;
	facts.own_is_known = !cv_address_is_zero(&saved->own);
	facts.is_own = cv_address_equal(&key->local, &saved->own);
	if (!facts.own_is_known)
		facts.is_of_another = cv_local.lookup(&key->local) != 0;
	if (cv_decide_handoff(config, &facts) != CV_HANDOFF_STORED) {
		/* The proxy finds nothing that it was asked for, and refuses the connection. */
		cv_count(CV_HANDOFF_WRONG_SOURCE, 0);
		return;
	}
	if (cv_handoff.update(key, saved))
		cv_count(CV_HANDOFF_FULL, 0);
	else
		cv_count(CV_HANDOFF_STORED, 0);
}

/* Proxy: the accepted socket takes over what its client had asked for. */
static inline __attribute__((always_inline)) void cv_handoff_take(struct bpf_sock_ops *ctx,
								  struct cv_connection_key *key)
{
	struct cv_config *config = cv_config_get();
	struct cv_connection_key client;
	struct cv_original none = {};
	struct cv_original *original, *saved;
	struct bpf_sock *sk = ctx->sk;

	if (!config || !cv_is_proxy_end(config, &key->local, key->local_port_be) || !sk)
		return;
	cv_connection_key_reverse(&client, key);
	original = cv_handoff.lookup(&client);
	if (!original) {
		cv_count(CV_HANDOFF_MISSING, 0);
		return;
	}
	saved = cv_originals.sk_storage_get(sk, &none, BPF_SK_STORAGE_GET_F_CREATE);
	if (saved) {
		*saved = *original;
		saved->is_accepted = 1;
	}
	cv_handoff.delete(&client);
	cv_count(CV_HANDOFF_TAKEN, 0);
}

/* Proxy, on its way to a pod of this node: for whom, likewise. */
static inline __attribute__((always_inline)) void cv_client_store(struct bpf_sock_ops *ctx,
								  struct cv_connection_key *key)
{
	struct bpf_sock *sk = ctx->sk;
	struct cv_client *client;
	struct cv_local *remote;

	if (!sk)
		return;
	client = cv_clients.sk_storage_get(sk, 0, 0);
	if (!client || client->is_accepted)
		return;
	remote = cv_local.lookup(&key->remote);
	if (!remote || (remote->flags & CV_LOCAL_PROXY_SOURCE))
		return;
	if (!cv_client_is_credible(&client->address, &key->remote)) {
		cv_count(CV_CLIENT_REFUSED, 0);
		return;
	}
	client->socket_cookie = bpf_get_socket_cookie(ctx);
	if (cv_client_handoff.update(key, client)) {
		cv_count(CV_CLIENT_FULL, 0);
		return;
	}
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	cv_count(CV_CLIENT_STORED, 0);
}

/* Pod: the accepted socket is told for whom the proxy made it. */
static inline __attribute__((always_inline)) void cv_client_take(struct bpf_sock_ops *ctx,
								 struct cv_connection_key *key)
{
	struct cv_client *client, *saved;
	struct cv_connection_key proxy;
	struct bpf_sock *sk = ctx->sk;
	struct cv_client none = {};

	if (!sk)
		return;
	cv_connection_key_reverse(&proxy, key);
	client = cv_client_handoff.lookup(&proxy);
	if (!client)
		return;
	saved = cv_clients.sk_storage_get(sk, &none, BPF_SK_STORAGE_GET_F_CREATE);
	if (saved) {
		saved->address = client->address;
		saved->is_accepted = 1;
	}
	cv_client_handoff.delete(&proxy);
	cv_count(CV_CLIENT_TAKEN, 0);
}

static inline __attribute__((always_inline)) void cv_client_forget(struct bpf_sock_ops *ctx,
								   struct cv_connection_key *key)
{
	struct cv_client *client = cv_client_handoff.lookup(key);

	if (client && client->socket_cookie == bpf_get_socket_cookie(ctx))
		cv_client_handoff.delete(key);
}

static inline __attribute__((always_inline)) void cv_count_listener(struct bpf_sock_ops *ctx,
								    s64 change)
{
	struct cv_config *config = cv_config_get();
	struct cv_connection_key key;
	int slot = 0;
	s64 *listeners = cv_proxy_listeners.lookup(&slot);

	cv_connection_key_of_sockops(&key, ctx);
	if (config && listeners && cv_is_proxy_end(config, &key.local, key.local_port_be))
		__sync_fetch_and_add(listeners, change);
}

static inline __attribute__((always_inline)) void cv_forget(struct bpf_sock_ops *ctx,
							    struct cv_connection_key *key)
{
	struct cv_peer *peer = cv_peers.lookup(key);

	/* A newer connection on the same ports owns the entry by now if the cookie differs. */
	if (peer && peer->socket_cookie == bpf_get_socket_cookie(ctx))
		cv_peers.delete(key);
}

int cv_sockops(struct bpf_sock_ops *ctx)
{
	struct cv_connection_key key;

	if (ctx->family != AF_INET && ctx->family != AF_INET6)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		cv_count_listener(ctx, 1);
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
						       BPF_SOCK_OPS_STATE_CB_FLAG);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		cv_connection_key_of_sockops(&key, ctx);
		cv_handoff_store(ctx, &key);
		cv_client_store(ctx, &key);
		cv_enrol(ctx, &key, 0);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		cv_connection_key_of_sockops(&key, ctx);
		cv_handoff_take(ctx, &key);
		cv_client_take(ctx, &key);
		cv_enrol(ctx, &key, 1);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] != BPF_TCP_CLOSE)
			break;
		if (ctx->args[0] == BPF_TCP_LISTEN) {
			cv_count_listener(ctx, -1);
			break;
		}
		cv_connection_key_of_sockops(&key, ctx);
		cv_forget(ctx, &key);
		cv_client_forget(ctx, &key);
		break;
	}
	return 1;
}
