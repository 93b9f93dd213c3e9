/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * cgroup/bind4 and bind6 on the proxy's cgroup: the proxy says for whom it connects by binding to the
 * client's address (Envoy's original_src filter). That is written down, and the socket left unbound:
 * the connection is the node's, and its packets need no route of their own. Listeners name a port.
 */
#include "decide.h"
#include "maps.h"

static inline __attribute__((always_inline)) int cv_note_client(struct bpf_sock_addr *ctx,
								const struct cv_address *address)
{
	struct bpf_sock *sk = ctx->sk;
	struct cv_client none = {};
	struct cv_client *client;

	if (ctx->user_port || ctx->type != CV_SOCK_STREAM || !sk || cv_address_is_any(address))
		return 0;
	client = cv_clients.sk_storage_get(sk, &none, BPF_SK_STORAGE_GET_F_CREATE);
	if (client)
		client->address = *address;
	return 1;
}

int cv_bind4(struct bpf_sock_addr *ctx)
{
	struct cv_address address;

	cv_address_from4(&address, ctx->user_ip4);
	if (cv_note_client(ctx, &address))
		ctx->user_ip4 = 0;
	return CV_ALLOW;
}

int cv_bind6(struct bpf_sock_addr *ctx)
{
	struct cv_address address;

	address.word_be[0] = ctx->user_ip6[0];
	address.word_be[1] = ctx->user_ip6[1];
	address.word_be[2] = ctx->user_ip6[2];
	address.word_be[3] = ctx->user_ip6[3];
	if (cv_note_client(ctx, &address)) {
		/* Volatile: clang would merge the stores, which the verifier refuses. */
		*(volatile u32 *)&ctx->user_ip6[0] = 0;
		*(volatile u32 *)&ctx->user_ip6[1] = 0;
		*(volatile u32 *)&ctx->user_ip6[2] = 0;
		*(volatile u32 *)&ctx->user_ip6[3] = 0;
	}
	return CV_ALLOW;
}
