/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens connections, makes one small HTTP request on each, prints "ready" and holds them all until
 * standard input ends. Usage: idle <address> <port> <connections>
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const char request[] = "GET /1 HTTP/1.1\r\nHost: idle\r\n\r\n";

static void fail(const char *what, int number)
{
	fprintf(stderr, "connection %d: ", number);
	perror(what);
	exit(1);
}

static void use_once(int fd, int number)
{
	char head[1024];
	size_t used = 0;
	ssize_t got;

	if (write(fd, request, sizeof(request) - 1) != (ssize_t)sizeof(request) - 1)
		fail("write", number);
	while (used < sizeof(head) - 1) {
		char *end;

		got = read(fd, head + used, sizeof(head) - 1 - used);
		if (got <= 0)
			fail("read", number);
		used += (size_t)got;
		head[used] = 0;
		end = strstr(head, "\r\n\r\n");
		if (end && (size_t)(end + 5 - head) <= used)
			return;
	}
	fprintf(stderr, "connection %d: the answer is too long\n", number);
	exit(1);
}

int main(int count, char **argument)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct rlimit files;
	char byte;

	if (count != 4 || inet_pton(AF_INET, argument[1], &address.sin_addr) != 1) {
		fprintf(stderr, "usage: idle <IPv4 address> <port> <connections>\n");
		return 2;
	}
	address.sin_port = htons((unsigned short)atoi(argument[2]));
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	for (int i = 0; i < atoi(argument[3]); i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0)
			fail("socket", i);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
			fail("connect", i);
		use_once(fd, i);
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
