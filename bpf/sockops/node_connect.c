/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * sock_ops on the node's root cgroup: remembers which connections to pods that take mutual TLS only,
 * or may, are made by sockets of the node's own network namespace. These are the proxy's, whatever
 * address it connects from, and the kubelet's. It runs before the SYN leaves (tcp_connect in the
 * kernel's net/ipv4/tcp_output.c), and what masquerading makes of other connections is not among them.
 */
#include "connection_key.h"
#include "decide.h"
#include "maps.h"

static inline __attribute__((always_inline)) void
cv_node_connection_key(struct cv_connection_key *key, struct bpf_sock_ops *ctx)
{
	cv_connection_key_of_sockops(key, ctx);
	key->netns_cookie = 0; /* the packet, which has none, must lead to it */
}

/* Of an address that is not known, somebody strict may be there. */
static inline __attribute__((always_inline)) int
cv_may_be_strict(const struct cv_connection_key *key)
{
	u32 *strict = cv_strict_at(&key->remote, key->remote_port_be);
	u64 any_pod = 0;

	if (strict)
		return *strict != 0;
	return !cv_address_is_loopback(&key->remote) && cv_strict_pods.lookup(&any_pod) != 0;
}

int cv_node_connect(struct bpf_sock_ops *ctx)
{
	struct cv_connection_key key;
	struct cv_config *config;
	u64 cookie, *connecting;

	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		if (ctx->family != AF_INET && ctx->family != AF_INET6)
			return 1;
		cv_node_connection_key(&key, ctx);
		if (!cv_may_be_strict(&key))
			return 1;
		config = cv_config_get();
		if (!config || !config->node_netns_cookie ||
		    bpf_get_netns_cookie(ctx) != config->node_netns_cookie)
			return 1;
		cookie = bpf_get_socket_cookie(ctx);
		cv_node_connecting.update(&key, &cookie);
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
						       BPF_SOCK_OPS_STATE_CB_FLAG);
	} else if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[0] == BPF_TCP_SYN_SENT) {
		/* Else another socket could later use the address and port as if it were this one. */
		cv_node_connection_key(&key, ctx);
		connecting = cv_node_connecting.lookup(&key);
		if (connecting && *connecting == bpf_get_socket_cookie(ctx))
			cv_node_connecting.delete(&key);
	}
	return 1;
}
