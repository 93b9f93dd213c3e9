/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * cgroup/getsockopt on the proxy's cgroup: answers SO_ORIGINAL_DST for captured connections, so the
 * proxy's stock original_dst listener filter works with no netfilter rule. A connection that no
 * hook captured gets no answer, and the proxy finds no route for it.
 */
#include "abi.h"
#include "maps.h"

#define CV_SOL_IP 0
#define CV_SOL_IPV6 41
#define CV_SO_ORIGINAL_DST 80 /* the same number for SOL_IP and SOL_IPV6 */

int cv_original_dst(struct bpf_sockopt *ctx)
{
	struct cv_original *saved;
	void *optval = ctx->optval;
	void *optval_end = ctx->optval_end;

	if (ctx->optname != CV_SO_ORIGINAL_DST ||
	    (ctx->level != CV_SOL_IP && ctx->level != CV_SOL_IPV6))
		return 1;
	if (!ctx->sk)
		return 1;
	saved = cv_originals.sk_storage_get(ctx->sk, 0, 0);
	if (!saved || !saved->family) {
		cv_count(CV_ORIGINAL_UNKNOWN, 0);
		return 1;
	}
	if (ctx->level == CV_SOL_IP) {
		struct sockaddr_in *address = optval;

		if ((void *)(address + 1) > optval_end)
			return 1;
		__builtin_memset(address, 0, sizeof(*address));
		address->sin_family = AF_INET;
		address->sin_port = saved->port_be;
		address->sin_addr.s_addr = saved->address.word_be[3];
		ctx->optlen = sizeof(*address);
	} else {
		struct sockaddr_in6 *address = optval;

		if ((void *)(address + 1) > optval_end)
			return 1;
		__builtin_memset(address, 0, sizeof(*address));
		address->sin6_family = AF_INET6;
		address->sin6_port = saved->port_be;
		address->sin6_addr.in6_u.u6_addr32[0] = saved->address.word_be[0];
		address->sin6_addr.in6_u.u6_addr32[1] = saved->address.word_be[1];
		address->sin6_addr.in6_u.u6_addr32[2] = saved->address.word_be[2];
		address->sin6_addr.in6_u.u6_addr32[3] = saved->address.word_be[3];
		ctx->optlen = sizeof(*address);
	}
	/* Keeps clang 14 from merging the stores to optlen and retval, which the verifier refuses. */
	asm volatile("" ::: "memory");
	ctx->retval = 0;
	cv_count(CV_ORIGINAL_SERVED, 0);
	return 1;
}
