/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server of the benchmarks: answers GET /<n> with n bytes, from one thread, as lean as can be,
 * so that what is measured is the way and not its end. With "Connection: close" in the request it
 * closes after the answer. Usage: http_server <port>
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_BODY = 1 << 20, MAX_HEAD = 4096, MAX_DESCRIPTORS = 65536, BACKLOG = 4096 };

struct connection {
	char *head;
	size_t used;
};

static struct connection connections[MAX_DESCRIPTORS];
static char answer[MAX_BODY + 128];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int send_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t sent = write(fd, bytes, size);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return -1;
		bytes += sent;
		size -= (size_t)sent;
	}
	return 0;
}

static int answer_to(int fd, const char *head)
{
	static size_t prepared_body = (size_t)-1, size;
	static int prepared_last;
	int last = strcasestr(head, "\r\nConnection: close\r\n") != NULL;
	size_t body = strtoul(strchr(head, '/') + 1, NULL, 10);

	if (body > MAX_BODY)
		return -1;
	if (body != prepared_body || last != prepared_last) {
		int start = sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n%s\r\n",
				    body, last ? "Connection: close\r\n" : "");

		memset(answer + start, 'x', body);
		size = (size_t)start + body;
		prepared_body = body;
		prepared_last = last;
	}
	return send_all(fd, answer, size) || last ? -1 : 0;
}

/* One request or several, whole or in parts; -1 when the connection is over. */
static int serve(int fd)
{
	struct connection *one = &connections[fd];
	ssize_t got = read(fd, one->head + one->used, MAX_HEAD - 1 - one->used);
	char *end;

	if (got <= 0)
		return -1;
	one->used += (size_t)got;
	one->head[one->used] = 0;
	while ((end = strstr(one->head, "\r\n\r\n"))) {
		size_t taken = (size_t)(end + 4 - one->head);

		end[2] = 0;
		if (!memchr(one->head, '/', taken) || answer_to(fd, one->head))
			return -1;
		one->used -= taken;
		memmove(one->head, one->head + taken, one->used + 1);
	}
	return one->used == MAX_HEAD - 1 ? -1 : 0;
}

static void take(int listener, int poll)
{
	struct epoll_event event = { .events = EPOLLIN };
	int on = 1, fd = accept(listener, NULL, NULL);

	if (fd < 0)
		return;
	if (fd >= MAX_DESCRIPTORS) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!connections[fd].head && !(connections[fd].head = malloc(MAX_HEAD)))
		fail("malloc");
	connections[fd].used = 0;
	event.data.fd = fd;
	epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

int main(int count, char **argument)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6 };
	struct rlimit files = { MAX_DESCRIPTORS, MAX_DESCRIPTORS };
	struct epoll_event event = { .events = EPOLLIN }, ready[256];
	int on = 1, poll = epoll_create1(0), listener = socket(AF_INET6, SOCK_STREAM, 0);

	if (count != 2) {
		fprintf(stderr, "usage: %s <port>\n", argument[0]);
		return 2;
	}
	/* Clients that leave while they are answered. */
	signal(SIGPIPE, SIG_IGN);
	address.sin6_port = htons((unsigned short)atoi(argument[1]));
	setrlimit(RLIMIT_NOFILE, &files);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)))
		fail("bind");
	if (listen(listener, BACKLOG))
		fail("listen");
	event.data.fd = listener;
	epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
	for (;;) {
		int events = epoll_wait(poll, ready, 256, -1);

		for (int i = 0; i < events; i++) {
			if (ready[i].data.fd == listener)
				take(listener, poll);
			else if (serve(ready[i].data.fd))
				close(ready[i].data.fd);
		}
	}
}
