/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Byte-verified streams over many connections, both ways at once.
 *
 *   stream_stress server SEED MEAN_BYTES first|second ADDRESS:PORT...
 *   stream_stress client SEED MEAN_BYTES CONNECTIONS BYTES PARALLEL any|ordered ADDRESS:PORT...
 *
 * A server that goes first speaks as soon as it has accepted, the other once it has been asked. It
 * serves until SIGTERM; the client until it has had CONNECTIONS connections and BYTES were verified
 * at both ends together, or too many failed. Each prints one JSON object; what went wrong goes to
 * standard error. "ordered": a server half-closes after its client, never before. An IPv6 address
 * is written as in "::1:7001".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>

#include "stream_duplex.h"

#define TARGETS_MAX 16
#define FAILURES_MAX 20

static const char *const outcome_names[STREAM_OUTCOMES] = {
	"completed", "reset", "mismatched", "truncated", "stalled", "broken",
};

static struct sockaddr_storage targets[TARGETS_MAX];
static uint64_t target_count;
static uint64_t seed, mean_bytes, wanted_connections, wanted_bytes;
static int speaks_first, server_closes_last;
static uint64_t started, running, sent_bytes, verified_bytes, completed_bytes, failures;
static uint64_t outcomes[STREAM_OUTCOMES];

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static uint64_t payload_bytes(uint64_t with_header)
{
	uint64_t header = sizeof(struct stream_header);

	return with_header > header ? with_header - header : 0;
}

static void count(struct stream_end *end, enum stream_outcome outcome)
{
	uint64_t in = payload_bytes(end->received_bytes), out = payload_bytes(end->sent_bytes);

	__sync_fetch_and_add(&outcomes[outcome], 1);
	__sync_fetch_and_add(&sent_bytes, out);
	__sync_fetch_and_add(&verified_bytes, in);
	if (outcome == STREAM_COMPLETED)
		__sync_fetch_and_add(&completed_bytes, in + out);
	if (outcome > STREAM_RESET && __sync_fetch_and_add(&failures, 1) < FAILURES_MAX)
		fprintf(stderr, "%s: %s, key %llx chunk %llu flags %llx: %s\n",
			end->is_server ? "server" : "client", outcome_names[outcome],
			(unsigned long long)end->in.key, (unsigned long long)end->chunk_max_bytes,
			(unsigned long long)stream_plan(end)->flags, end->problem);
}

/* Some connections of small chunks only, and these short, or they would take all the time. */
static void choose_sizes(struct stream_end *end)
{
	end->chunk_max_bytes = random_size(&end->random, STREAM_CHUNK_MAX_BYTES);
	if (random_below(&end->random, 2))
		end->chunk_max_bytes = STREAM_CHUNK_MAX_BYTES;
	end->read_max_bytes = 512u << random_below(&end->random, 10);
	end->length_max_bytes = 2 * mean_bytes;
	if (end->length_max_bytes > 400 * end->chunk_max_bytes)
		end->length_max_bytes = 400 * end->chunk_max_bytes;
	end->out.key = random_next(&end->random);
	end->out.length_bytes = random_below(&end->random, end->length_max_bytes + 1);
}

static void *serve_one(void *argument)
{
	struct stream_end *end = argument;

	count(end, stream_run(end));
	free(end->buffer);
	free(end);
	__sync_fetch_and_sub(&running, 1);
	return 0;
}

static void *serve(void *argument)
{
	int listener = (int)(intptr_t)argument;
	uint64_t pauses = seed + (uint64_t)listener;
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256u << 10);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	for (;;) {
		struct stream_end *end;
		pthread_t thread;
		int fd = accept4(listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		end = calloc(1, sizeof(*end));
		if (!end || !(end->buffer = malloc(STREAM_READ_MAX_BYTES)))
			fail("malloc");
		end->fd = fd;
		end->is_server = 1;
		end->random = seed + (__sync_fetch_and_add(&started, 1) << 32);
		choose_sizes(end);
		stream_seal(&end->out);
		end->may_send = speaks_first;
		__sync_fetch_and_add(&running, 1);
		if (pthread_create(&thread, &small, serve_one, end))
			fail("pthread_create");
		/* Leaves the next connections unaccepted for a moment, with bytes arriving. */
		if (random_below(&pauses, 8) == 0)
			usleep(3000);
	}
	return 0;
}

static int connect_to_one(uint64_t *random)
{
	const struct sockaddr_storage *to = &targets[random_below(random, target_count)];
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = to->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
						     sizeof(struct sockaddr_in);

	if (fd < 0)
		fail("socket");
	if (connect(fd, (const struct sockaddr *)to, size)) {
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return fd;
}

static void plan(struct stream_end *end)
{
	uint64_t dice = random_below(&end->random, 16);

	if (dice == 0)
		end->out.flags = STREAM_CLIENT_RESETS;
	else if (dice == 1)
		end->out.flags = STREAM_CLIENT_RESETS | STREAM_RESET_IS_CLOSE;
	else if (dice == 2)
		end->out.flags = STREAM_SERVER_RESETS;
	else if (dice == 3)
		end->out.flags = STREAM_SERVER_RESETS | STREAM_RESET_IS_CLOSE;
	else if (dice < 8)
		end->out.flags = STREAM_REPLY_AFTER_EOF;
	if (server_closes_last)
		end->out.flags |= STREAM_SERVER_CLOSES_LAST;
	end->out.reply_bytes = random_below(&end->random, 2 * mean_bytes + 1);
	end->out.reset_after_bytes = random_size(&end->random, 4 * mean_bytes);
	stream_seal(&end->out);
}

static void *drive(void *argument)
{
	uint8_t *buffer = malloc(STREAM_READ_MAX_BYTES);
	uint64_t number;

	(void)argument;
	if (!buffer)
		fail("malloc");
	for (;;) {
		struct stream_end end = { .may_send = 1, .buffer = buffer };

		number = __sync_fetch_and_add(&started, 1);
		if (__atomic_load_n(&failures, __ATOMIC_RELAXED) >= FAILURES_MAX ||
		    (number >= wanted_connections &&
		     __atomic_load_n(&completed_bytes, __ATOMIC_RELAXED) >= wanted_bytes))
			break;
		end.random = seed + (number << 32);
		choose_sizes(&end);
		plan(&end);
		end.fd = connect_to_one(&end.random);
		if (end.fd < 0) {
			snprintf(end.problem, sizeof(end.problem), "connect: %s", strerror(errno));
			count(&end, STREAM_BROKEN);
			continue;
		}
		count(&end, stream_run(&end));
	}
	free(buffer);
	return 0;
}

static void parse_targets(int argc, char **argv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
	struct addrinfo *found;

	for (; argc && target_count < TARGETS_MAX; argc--, argv++) {
		char *colon = strrchr(*argv, ':');

		if (!colon)
			fail(*argv);
		*colon = 0;
		if (getaddrinfo(*argv, colon + 1, &hints, &found))
			fail(*argv);
		memcpy(&targets[target_count++], found->ai_addr, found->ai_addrlen);
		freeaddrinfo(found);
	}
}

static void listen_on(const struct sockaddr_storage *address)
{
	int yes = 1, fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
							  sizeof(struct sockaddr_in);
	/* An IPv6 socket alone takes IPv4 too, as mapped addresses; beside an IPv4 one it may not. */
	int v6_only = target_count > 1;
	pthread_t thread;

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (address->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
	if (bind(fd, (const struct sockaddr *)address, size) || listen(fd, 1024))
		fail("listen");
	if (pthread_create(&thread, 0, serve, (void *)(intptr_t)fd))
		fail("pthread_create");
}

static void print_report(void)
{
	int i;

	printf("{\"sent_bytes\": %llu, \"verified_bytes\": %llu", (unsigned long long)sent_bytes,
	       (unsigned long long)verified_bytes);
	for (i = 0; i < STREAM_OUTCOMES; i++)
		printf(", \"%s\": %llu", outcome_names[i], (unsigned long long)outcomes[i]);
	printf("}\n");
}

static int run_server(int argc, char **argv)
{
	sigset_t end;
	int received;
	uint64_t i;

	speaks_first = !strcmp(argv[0], "first");
	parse_targets(argc - 1, argv + 1);
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &end, 0);
	for (i = 0; i < target_count; i++)
		listen_on(&targets[i]);
	printf("listening\n");
	fflush(stdout);
	sigwait(&end, &received);
	while (__atomic_load_n(&running, __ATOMIC_RELAXED))
		usleep(10000);
	print_report();
	return 0;
}

static int run_client(int argc, char **argv)
{
	uint64_t parallel, i;
	pthread_t *threads;

	if (argc < 5)
		fail("arguments");
	wanted_connections = strtoull(argv[0], 0, 10);
	wanted_bytes = strtoull(argv[1], 0, 10);
	parallel = strtoull(argv[2], 0, 10);
	server_closes_last = !strcmp(argv[3], "ordered");
	parse_targets(argc - 4, argv + 4);
	threads = calloc(parallel, sizeof(*threads));
	if (!threads || !target_count)
		fail("arguments");
	for (i = 0; i < parallel; i++)
		if (pthread_create(&threads[i], 0, drive, 0))
			fail("pthread_create");
	for (i = 0; i < parallel; i++)
		pthread_join(threads[i], 0);
	free(threads);
	print_report();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 6 || pattern_make()) {
		fprintf(stderr, "stream_stress: see the head of its source for its arguments\n");
		return 2;
	}
	seed = strtoull(argv[2], 0, 10);
	mean_bytes = strtoull(argv[3], 0, 10);
	if (!strcmp(argv[1], "server"))
		return run_server(argc - 4, argv + 4);
	return run_client(argc - 4, argv + 4);
}
