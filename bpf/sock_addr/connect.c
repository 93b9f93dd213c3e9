/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * cgroup/connect4 and connect6: choose the proxy for a pod's outgoing TCP connection, and
 * cgroup/getpeername4 and 6: give the application back the address it asked for, tell the proxy who
 * calls it, and a pod for whom the proxy does. accept() runs these two as well (inet_getname in the kernel's net/ipv4/af_inet.c).
 */
#include "decide.h"
#include "maps.h"

#define CV_SOCK_STREAM 1 /* SOCK_STREAM is in no user-space ABI header */
#define CV_ALLOW 1
#define CV_REFUSE 0 /* connect() fails with EPERM */

static inline __attribute__((always_inline)) struct cv_pod *cv_current_pod(struct cv_config *config,
									    u64 *cgroup_id)
{
	struct cv_pod *pod;
	u32 level, step;

	*cgroup_id = bpf_get_current_cgroup_id();
	pod = cv_pods.lookup(cgroup_id);
	if (pod)
		return pod;
	/* A container has a cgroup of its own below its pod's; the depth differs by QoS class. */
#pragma unroll
	for (step = 0; step < 6; step++) {
		level = config->pod_level_min + step;
		if (level > config->pod_level_max)
			break;
		*cgroup_id = bpf_get_current_ancestor_cgroup_id(level);
		pod = cv_pods.lookup(cgroup_id);
		if (pod)
			return pod;
	}
	return 0;
}

static inline __attribute__((always_inline)) struct cv_destination *
cv_destination_of(const struct cv_address *address, __be16 port_be)
{
	struct cv_destination_key key = { .address = *address, .port_be = port_be };
	struct cv_destination *destination = cv_destinations.lookup(&key);

	if (destination)
		return destination;
	key.port_be = 0;
	return cv_destinations.lookup(&key);
}

/* Remembers a connection of a pod that is not in the mesh, but may be later. */
static inline __attribute__((always_inline)) void cv_count_early(const struct cv_config *config)
{
	u64 cgroup_id, none = 0, *count;
	u32 level, step;

#pragma unroll
	for (step = 0; step < 6; step++) {
		level = config->pod_level_min + step;
		if (level > config->pod_level_max)
			break;
		cgroup_id = bpf_get_current_ancestor_cgroup_id(level);
		if (!cgroup_id)
			break;
		count = cv_early.lookup_or_try_init(&cgroup_id, &none);
		if (count)
			lock_xadd(count, 1);
	}
}

/*
 * Asks the maps and decides. On CV_CONNECT_REDIRECTED the original destination is saved with the
 * socket, and *proxy and *proxy_port_be say where to go.
 */
static inline __attribute__((always_inline)) enum cv_verdict
cv_connect(struct bpf_sock_addr *ctx, struct cv_address *asked, u16 family,
	   struct cv_address *proxy, __be16 *proxy_port_be)
{
	struct cv_connect_facts facts = {};
	struct cv_original original = {};
	struct cv_destination *destination;
	struct cv_original *saved;
	struct cv_config *config;
	struct cv_pod *pod;
	enum cv_verdict verdict;
	u64 cgroup_id = 0;
	s64 *listeners;
	int slot = 0;
	__be16 port_be = (__be16)ctx->user_port; /* network order in the low half */

	if (ctx->type != CV_SOCK_STREAM || ctx->protocol != IPPROTO_TCP)
		return cv_count(CV_CONNECT_PASS_NOT_TCP, 0);
	config = cv_config_get();
	if (!config)
		return cv_count(CV_CONNECT_PASS_NOT_ENROLLED, 0);
	pod = cv_current_pod(config, &cgroup_id);
	if (!pod) {
		if (!cv_address_is_loopback(asked))
			cv_count_early(config);
		return cv_count(CV_CONNECT_PASS_NOT_ENROLLED, 0);
	}

	facts.pod_flags = pod->flags;
	facts.is_own_address = cv_address_equal(asked, &pod->address4) ||
			       cv_address_equal(asked, &pod->address6);
	facts.is_proxy_address = cv_address_equal(asked, &config->proxy4) ||
				 cv_address_equal(asked, &config->proxy6);
	destination = cv_destination_of(asked, port_be);
	if (destination) {
		facts.has_destination = 1;
		facts.listener = destination->listener;
		facts.destination_flags = destination->flags;
		if (pod->flags & CV_POD_EXCLUDES_PORTS) {
			struct cv_excluded_port_key key = { .cgroup_id = cgroup_id,
							    .port_be = port_be };
			facts.is_excluded_port = cv_excluded_ports.lookup(&key) != 0;
		}
		if (pod->flags & CV_POD_EXCLUDES_CIDRS) {
			struct cv_excluded_cidr_key key = { .prefix_bits = 64 + 128,
							    .network = *asked };
			__builtin_memcpy(key.cgroup_id_word, &cgroup_id, sizeof(cgroup_id));
			facts.is_excluded_cidr = cv_excluded_cidrs.lookup(&key) != 0;
		}
	}
	*proxy = cv_address_is_mapped4(asked) ? config->proxy4 : config->proxy6;
	facts.proxy_has_family = !cv_address_is_zero(proxy);
	listeners = cv_proxy_listeners.lookup(&slot);
	facts.proxy_listens = listeners && *listeners > 0;

	verdict = cv_decide_connect(&facts);
	if (verdict != CV_CONNECT_REDIRECTED) {
		/* An earlier connect() of this socket may have been captured, and failed. */
		saved = cv_originals.sk_storage_get(ctx->sk, 0, 0);
		if (saved)
			saved->family = 0;
		return cv_count(verdict, 0);
	}
	*proxy_port_be = config->listener_port_be[facts.listener & 7];

	saved = cv_originals.sk_storage_get(ctx->sk, &original, BPF_SK_STORAGE_GET_F_CREATE);
	if (!saved)
		return cv_count(CV_CONNECT_DENY_NO_MEMORY, 0);
	saved->address = *asked;
	saved->own = cv_address_is_mapped4(asked) ? pod->address4 : pod->address6;
	saved->port_be = port_be;
	saved->family = family;
	saved->identity_number = (u16)pod->identity_number;
	saved->is_accepted = 0;
	return cv_count(CV_CONNECT_REDIRECTED, 0);
}

static inline __attribute__((always_inline)) int cv_is_denied(enum cv_verdict verdict)
{
	return verdict == CV_CONNECT_DENY_PROXY_ADDRESS ||
	       verdict == CV_CONNECT_DENY_NO_PROXY_FAMILY || verdict == CV_CONNECT_DENY_NO_MEMORY;
}

int cv_connect4(struct bpf_sock_addr *ctx)
{
	struct cv_address asked, proxy;
	__be16 proxy_port_be = 0;
	enum cv_verdict verdict;

	cv_address_from4(&asked, ctx->user_ip4);
	verdict = cv_connect(ctx, &asked, AF_INET, &proxy, &proxy_port_be);
	if (verdict == CV_CONNECT_REDIRECTED) {
		ctx->user_ip4 = proxy.word_be[3];
		ctx->user_port = proxy_port_be;
	}
	return cv_is_denied(verdict) ? CV_REFUSE : CV_ALLOW;
}

int cv_connect6(struct bpf_sock_addr *ctx)
{
	struct cv_address asked, proxy;
	__be16 proxy_port_be = 0;
	enum cv_verdict verdict;

	asked.word_be[0] = ctx->user_ip6[0];
	asked.word_be[1] = ctx->user_ip6[1];
	asked.word_be[2] = ctx->user_ip6[2];
	asked.word_be[3] = ctx->user_ip6[3];
	/* An IPv4-mapped destination goes to the proxy's mapped IPv4 address: proxy4 holds it so. */
	verdict = cv_connect(ctx, &asked, AF_INET6, &proxy, &proxy_port_be);
	if (verdict == CV_CONNECT_REDIRECTED) {
		ctx->user_ip6[0] = proxy.word_be[0];
		ctx->user_ip6[1] = proxy.word_be[1];
		ctx->user_ip6[2] = proxy.word_be[2];
		ctx->user_ip6[3] = proxy.word_be[3];
		ctx->user_port = proxy_port_be;
	}
	return cv_is_denied(verdict) ? CV_REFUSE : CV_ALLOW;
}

/* A captured connection accepted by the proxy: whose it is, in the place of the caller's port. */
static inline __attribute__((always_inline)) void
cv_show_identity(struct bpf_sock_addr *ctx, const struct cv_address *local, u32 local_port_host,
		 struct cv_original *saved)
{
	struct cv_config *config = cv_config_get();

	if (!config || !(config->flags & CV_CONFIG_IDENTITY))
		return;
	if (!cv_is_proxy_end(config, local, bpf_htons((u16)local_port_host)))
		return;
	ctx->user_port = bpf_htons(cv_decide_peer_number(saved));
}

int cv_getpeername4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk; /* read once: each load is a new pointer to the verifier */
	struct cv_original *saved;
	struct cv_client *client;
	struct cv_address local;

	if (!sk)
		return CV_ALLOW;
	saved = cv_originals.sk_storage_get(sk, 0, 0);
	if (saved && saved->family == AF_INET && !saved->is_accepted) {
		ctx->user_ip4 = saved->address.word_be[3];
		ctx->user_port = saved->port_be;
		return CV_ALLOW;
	}
	client = cv_clients.sk_storage_get(sk, 0, 0);
	if (client && client->is_accepted) {
		ctx->user_ip4 = client->address.word_be[3];
		return CV_ALLOW;
	}
	cv_address_from4(&local, sk->src_ip4);
	cv_show_identity(ctx, &local, sk->src_port, saved);
	return CV_ALLOW;
}

int cv_getpeername6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct cv_original *saved;
	struct cv_client *client;
	struct cv_address local;

	if (!sk)
		return CV_ALLOW;
	saved = cv_originals.sk_storage_get(sk, 0, 0);
	if (saved && saved->family == AF_INET6 && !saved->is_accepted) {
		ctx->user_ip6[0] = saved->address.word_be[0];
		ctx->user_ip6[1] = saved->address.word_be[1];
		ctx->user_ip6[2] = saved->address.word_be[2];
		ctx->user_ip6[3] = saved->address.word_be[3];
		ctx->user_port = saved->port_be;
		return CV_ALLOW;
	}
	client = cv_clients.sk_storage_get(sk, 0, 0);
	if (client && client->is_accepted) {
		ctx->user_ip6[0] = client->address.word_be[0];
		ctx->user_ip6[1] = client->address.word_be[1];
		ctx->user_ip6[2] = client->address.word_be[2];
		ctx->user_ip6[3] = client->address.word_be[3];
		return CV_ALLOW;
	}
	local.word_be[0] = sk->src_ip6[0];
	local.word_be[1] = sk->src_ip6[1];
	local.word_be[2] = sk->src_ip6[2];
	local.word_be[3] = sk->src_ip6[3];
	cv_show_identity(ctx, &local, sk->src_port, saved);
	return CV_ALLOW;
}
