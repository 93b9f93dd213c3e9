/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream, as fast as it goes, by writes of one size.
 *
 *   bulk serve <port>
 *   bulk upload|download <address> <port> <write bytes> <milliseconds>
 *
 * The client prints Gbit/s. What counts are the bytes that arrived: in both directions the clock
 * stops when the receiver has read the last of them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 17, MAX_WRITE_BYTES = 1 << 24, BACKLOG = 64 };

/*
 * Linux, tcp_bpf_recvmsg(): on a socket in a sockmap a blocking read gives up with EAGAIN when it is
 * woken because the send buffer has room again.
 */
static ssize_t read_some(int fd, void *bytes, size_t size)
{
	ssize_t got;

	do
		got = read(fd, bytes, size);
	while (got < 0 && (errno == EAGAIN || errno == EINTR));
	return got;
}

/* Both ends run on one machine: as it lies in memory. */
struct order {
	uint32_t is_upload;
	uint32_t write_bytes;
	uint32_t milliseconds;
};

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *buffer(size_t size)
{
	void *bytes = malloc(size);

	if (!bytes)
		fail("malloc");
	return memset(bytes, 'x', size);
}

static void write_all(int fd, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size) {
		ssize_t sent = write(fd, at, size);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			fail("write");
		at += sent;
		size -= (size_t)sent;
	}
}

static void read_all(int fd, void *bytes, size_t size)
{
	char *at = bytes;

	while (size) {
		ssize_t got = read_some(fd, at, size);

		if (got <= 0)
			fail("read");
		at += got;
		size -= (size_t)got;
	}
}

static void pour(int fd, const struct order *order)
{
	void *bytes = buffer(order->write_bytes);
	double end = now() + order->milliseconds / 1e3;

	while (now() < end)
		write_all(fd, bytes, order->write_bytes);
	shutdown(fd, SHUT_WR);
}

static uint64_t drain(int fd)
{
	void *bytes = buffer(READ_BYTES);
	uint64_t total = 0;
	ssize_t got;

	while ((got = read_some(fd, bytes, READ_BYTES)) > 0)
		total += (uint64_t)got;
	if (got < 0)
		fail("read");
	return total;
}

static void serve_one(int fd)
{
	struct order order;
	uint64_t total;

	read_all(fd, &order, sizeof(order));
	if (order.write_bytes > MAX_WRITE_BYTES)
		return;
	if (!order.is_upload) {
		pour(fd, &order);
		drain(fd);
		return;
	}
	total = drain(fd);
	write_all(fd, &total, sizeof(total));
}

static void serve(unsigned short port)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int on = 1, listener = socket(AF_INET6, SOCK_STREAM, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)))
		fail("bind");
	if (listen(listener, BACKLOG))
		fail("listen");
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (fork() == 0) {
			close(listener);
			serve_one(fd);
			_exit(0);
		}
		close(fd);
	}
}

static int connect_to(const char *host, unsigned short port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		fprintf(stderr, "%s: not an IPv4 address\n", host);
		exit(2);
	}
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("connect");
	return fd;
}

int main(int count, char **argument)
{
	struct order order = {};
	uint64_t total;
	double start;
	int fd;

	signal(SIGPIPE, SIG_IGN);
	if (count == 3 && !strcmp(argument[1], "serve"))
		serve((unsigned short)atoi(argument[2]));
	if (count != 6) {
		fprintf(stderr, "usage: see the head of bulk.c\n");
		return 2;
	}
	order.is_upload = !strcmp(argument[1], "upload");
	order.write_bytes = (uint32_t)atoi(argument[4]);
	order.milliseconds = (uint32_t)atoi(argument[5]);
	fd = connect_to(argument[2], (unsigned short)atoi(argument[3]));
	start = now();
	write_all(fd, &order, sizeof(order));
	if (order.is_upload) {
		pour(fd, &order);
		read_all(fd, &total, sizeof(total));
	} else {
		total = drain(fd);
	}
	printf("%.4f\n", (double)total * 8 / (now() - start) / 1e9);
	return 0;
}
