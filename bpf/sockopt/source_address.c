/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * cgroup/setsockopt on the proxy's cgroup: before the proxy binds to its client's address it asks for
 * IP_TRANSPARENT, which takes CAP_NET_ADMIN. The socket is not to have that address (see
 * sock_addr/bind.c); what it needs is to be given no port before it knows where it connects.
 */
#include "abi.h"
#include "maps.h"

#define CV_IP_TRANSPARENT 19
#define CV_IPV6_TRANSPARENT 75
#define CV_IP_BIND_ADDRESS_NO_PORT 24 /* an option of IPv4's that sockets of IPv6 have as well */

int cv_source_address(struct bpf_sockopt *ctx)
{
	if ((ctx->level == CV_SOL_IP && ctx->optname == CV_IP_TRANSPARENT) ||
	    (ctx->level == CV_SOL_IPV6 && ctx->optname == CV_IPV6_TRANSPARENT)) {
		/* Volatile: clang would merge the stores, which the verifier refuses. */
		*(volatile __s32 *)&ctx->level = CV_SOL_IP;
		*(volatile __s32 *)&ctx->optname = CV_IP_BIND_ADDRESS_NO_PORT;
	}
	return 1;
}
