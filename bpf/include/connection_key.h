/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* A connection as a sock_ops program sees it. */
#ifndef CULVERT_CONNECTION_KEY_H
#define CULVERT_CONNECTION_KEY_H

#include "decide.h"

static inline __attribute__((always_inline)) void
cv_connection_key_of_sockops(struct cv_connection_key *key, struct bpf_sock_ops *ctx)
{
	u32 remote_port = ctx->remote_port; /* network order, in the high half of the field */
	u32 local_port = ctx->local_port;   /* host order */

	__builtin_memset(key, 0, sizeof(*key));
	if (ctx->family == AF_INET) {
		cv_address_from4(&key->local, ctx->local_ip4);
		cv_address_from4(&key->remote, ctx->remote_ip4);
	} else {
		key->local.word_be[0] = ctx->local_ip6[0];
		key->local.word_be[1] = ctx->local_ip6[1];
		key->local.word_be[2] = ctx->local_ip6[2];
		key->local.word_be[3] = ctx->local_ip6[3];
		key->remote.word_be[0] = ctx->remote_ip6[0];
		key->remote.word_be[1] = ctx->remote_ip6[1];
		key->remote.word_be[2] = ctx->remote_ip6[2];
		key->remote.word_be[3] = ctx->remote_ip6[3];
	}
	key->local_port_be = bpf_htons((u16)local_port);
	key->remote_port_be = (__be16)(remote_port >> 16);
	if (cv_address_is_loopback(&key->local))
		key->netns_cookie = bpf_get_netns_cookie(ctx);
}

#endif
