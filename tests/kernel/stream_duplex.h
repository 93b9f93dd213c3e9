/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * One connection, from one end: send a stream and verify the other's, both at once, in chunks and
 * with pauses of random size.
 */
#ifndef STREAM_DUPLEX_H
#define STREAM_DUPLEX_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "stream_pattern.h"

#define STREAM_MAGIC 0x43554c5653545245u
#define STREAM_CHUNK_MAX_BYTES (1u << 20)
#define STREAM_READ_MAX_BYTES (256u << 10)
/* With no progress for so long, with nobody pausing on purpose, a wake-up was lost. */
#define STREAM_STALL_MS 30000

enum stream_flag {
	STREAM_REPLY_AFTER_EOF = 1,	/* the server sends only once the client has half-closed */
	STREAM_CLIENT_RESETS = 2,
	STREAM_SERVER_RESETS = 4,
	STREAM_RESET_IS_CLOSE = 8,	/* close(2) with data unread, not SO_LINGER of zero */
	/*
	 * The server half-closes after the client. The other way round a few connections in a thousand
	 * end some kilobytes early at the server when they go through Envoy 1.40, by plain TCP as well as
	 * accelerated; direct ones do not.
	 */
	STREAM_SERVER_CLOSES_LAST = 16,
};

/* Precedes the bytes of each direction. */
struct stream_header {
	uint64_t magic;
	uint64_t key;
	uint64_t length_bytes;
	uint64_t reply_bytes;		/* the most that the client wants to be sent */
	uint64_t reset_after_bytes;	/* sent and received, as seen by the end that resets */
	uint64_t flags;			/* enum stream_flag */
	uint64_t check;
};

enum stream_outcome {
	STREAM_COMPLETED,
	STREAM_RESET,			/* as planned */
	STREAM_MISMATCHED,
	STREAM_TRUNCATED,
	STREAM_STALLED,
	STREAM_BROKEN,
	STREAM_OUTCOMES,
};

struct stream_end {
	int fd;
	int is_server;
	int may_send;
	uint64_t random;
	struct stream_header out, in;
	uint64_t sent_bytes, received_bytes;	/* headers included */
	uint64_t chunk_max_bytes, chunk_left_bytes;
	uint64_t length_max_bytes;
	uint64_t read_max_bytes, pause_at_bytes;
	int64_t send_from_ms, read_from_ms;
	int sent_all, half_closed, received_eof;
	uint8_t *buffer;		/* STREAM_READ_MAX_BYTES */
	char problem[160];
};

static uint64_t stream_check(const struct stream_header *header)
{
	uint64_t state = header->key;

	state = random_next(&state) ^ header->length_bytes;
	state = random_next(&state) ^ header->reply_bytes;
	state = random_next(&state) ^ header->reset_after_bytes;
	state = random_next(&state) ^ header->flags;
	return random_next(&state);
}

static void stream_seal(struct stream_header *header)
{
	header->magic = STREAM_MAGIC;
	header->check = stream_check(header);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int stream_knows_plan(const struct stream_end *end)
{
	return !end->is_server || end->received_bytes >= sizeof(end->in);
}

static const struct stream_header *stream_plan(const struct stream_end *end)
{
	return end->is_server ? &end->in : &end->out;
}

/* Until the header is there the server cannot know; the client then counts what is wrong. */
static int stream_reset_is_planned(const struct stream_end *end)
{
	return !stream_knows_plan(end) ||
	       (stream_plan(end)->flags & (STREAM_CLIENT_RESETS | STREAM_SERVER_RESETS));
}

/* Say where wrong bytes belong, if they are of this stream: tells reordering from corruption. */
static void stream_explain(struct stream_end *end, uint64_t offset, const uint8_t *got, size_t size)
{
	const uint8_t *home = 0;
	long long origin = -1;

	if (size >= 16)
		home = memmem(pattern_block, PATTERN_PERIOD_BYTES + PATTERN_RUN_BYTES, got, 16);
	if (home)
		origin = (long long)(((uint64_t)(home - pattern_block) + PATTERN_PERIOD_BYTES -
				      end->in.key % PATTERN_PERIOD_BYTES) % PATTERN_PERIOD_BYTES);
	snprintf(end->problem, sizeof(end->problem),
		 "wrong bytes at %llu of %llu: they belong at %lld (modulo %u)",
		 (unsigned long long)offset, (unsigned long long)end->in.length_bytes, origin,
		 PATTERN_PERIOD_BYTES);
}

static int stream_verify_header(struct stream_end *end)
{
	if (end->in.magic == STREAM_MAGIC && end->in.check == stream_check(&end->in)) {
		if (end->is_server && !end->may_send) {
			end->out.length_bytes = end->in.reply_bytes < end->length_max_bytes ?
							end->in.reply_bytes :
							end->length_max_bytes;
			stream_seal(&end->out);
			end->may_send = !(end->in.flags & STREAM_REPLY_AFTER_EOF);
		}
		return 0;
	}
	snprintf(end->problem, sizeof(end->problem), "wrong bytes in the header");
	return -1;
}

/* Take `size` bytes that came in; 0 if they are the right ones. */
static int stream_verify(struct stream_end *end, const uint8_t *bytes, size_t size)
{
	while (size) {
		uint64_t at = end->received_bytes;
		size_t run = size;

		if (at < sizeof(end->in)) {
			if (run > sizeof(end->in) - at)
				run = sizeof(end->in) - at;
			memcpy((uint8_t *)&end->in + at, bytes, run);
			end->received_bytes += run;
			if (end->received_bytes == sizeof(end->in) && stream_verify_header(end))
				return -1;
		} else {
			at -= sizeof(end->in);
			if (at + run > end->in.length_bytes) {
				snprintf(end->problem, sizeof(end->problem),
					 "more than the %llu bytes that were sent",
					 (unsigned long long)end->in.length_bytes);
				return -1;
			}
			if (memcmp(bytes, pattern_at(end->in.key, at), run)) {
				const uint8_t *want = pattern_at(end->in.key, at);
				size_t i = 0;

				while (bytes[i] == want[i])
					i++;
				stream_explain(end, at + i, bytes + i, run - i);
				return -1;
			}
			end->received_bytes += run;
		}
		bytes += run;
		size -= run;
	}
	return 0;
}

static enum stream_outcome stream_lost(struct stream_end *end, const char *call)
{
	if (stream_reset_is_planned(end))
		return STREAM_RESET;
	snprintf(end->problem, sizeof(end->problem), "%s after %llu sent and %llu received: %s",
		 call, (unsigned long long)end->sent_bytes, (unsigned long long)end->received_bytes,
		 strerror(errno));
	return STREAM_BROKEN;
}

/* STREAM_COMPLETED stands for "go on". */
static enum stream_outcome stream_receive(struct stream_end *end)
{
	ssize_t got = recv(end->fd, end->buffer, random_size(&end->random, end->read_max_bytes), 0);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? STREAM_COMPLETED :
							   stream_lost(end, "recv");
	if (got == 0) {
		end->received_eof = 1;
		if (end->received_bytes < sizeof(end->in) ||
		    end->received_bytes - sizeof(end->in) != end->in.length_bytes) {
			if (stream_reset_is_planned(end))
				return STREAM_RESET;
			snprintf(end->problem, sizeof(end->problem), "end after %llu of %llu bytes",
				 (unsigned long long)end->received_bytes,
				 (unsigned long long)(end->in.length_bytes + sizeof(end->in)));
			return STREAM_TRUNCATED;
		}
		if (end->is_server)
			end->may_send = 1;
		return STREAM_COMPLETED;
	}
	if (stream_verify(end, end->buffer, (size_t)got))
		return STREAM_MISMATCHED;
	if (end->received_bytes >= end->pause_at_bytes) {
		end->read_from_ms = now_ms() + (int64_t)random_size(&end->random, 32);
		end->pause_at_bytes = end->received_bytes + random_below(&end->random, 2u << 20);
	}
	return STREAM_COMPLETED;
}

static enum stream_outcome stream_send(struct stream_end *end)
{
	uint64_t total = sizeof(end->out) + end->out.length_bytes;
	struct iovec parts[2];
	struct msghdr message = { .msg_iov = parts };
	uint64_t at = end->sent_bytes, left;
	ssize_t sent;

	if (!end->chunk_left_bytes) {
		end->chunk_left_bytes = random_size(&end->random, end->chunk_max_bytes);
		if (end->chunk_left_bytes > total - at)
			end->chunk_left_bytes = total - at;
	}
	left = end->chunk_left_bytes;
	if (at < sizeof(end->out)) {
		parts[message.msg_iovlen].iov_base = (uint8_t *)&end->out + at;
		parts[message.msg_iovlen].iov_len =
			left < sizeof(end->out) - at ? left : sizeof(end->out) - at;
		at += parts[message.msg_iovlen].iov_len;
		left -= parts[message.msg_iovlen++].iov_len;
	}
	if (left) {
		parts[message.msg_iovlen].iov_base =
			(void *)pattern_at(end->out.key, at - sizeof(end->out));
		parts[message.msg_iovlen++].iov_len = left;
	}
	sent = sendmsg(end->fd, &message, MSG_NOSIGNAL);
	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? STREAM_COMPLETED :
							   stream_lost(end, "send");
	end->sent_bytes += (uint64_t)sent;
	end->chunk_left_bytes -= (uint64_t)sent;
	if (end->sent_bytes == total) {
		end->sent_all = 1;
	} else if (!end->chunk_left_bytes && random_below(&end->random, 8) == 0) {
		end->send_from_ms = now_ms() + (int64_t)random_below(&end->random, 4);
	}
	return STREAM_COMPLETED;
}

static int stream_should_half_close(const struct stream_end *end)
{
	if (!end->sent_all || end->half_closed)
		return 0;
	if (!end->is_server || end->received_eof)
		return 1;
	return stream_knows_plan(end) && !(stream_plan(end)->flags & STREAM_SERVER_CLOSES_LAST);
}

static int stream_should_reset(const struct stream_end *end)
{
	uint64_t mine = end->is_server ? STREAM_SERVER_RESETS : STREAM_CLIENT_RESETS;

	return stream_knows_plan(end) && (stream_plan(end)->flags & mine) &&
	       end->sent_bytes + end->received_bytes >= stream_plan(end)->reset_after_bytes;
}

/* Wait until the socket or the clock allows a step; the events there are, or -1 for a stall. */
static int stream_wait(struct stream_end *end, int64_t *progress_ms)
{
	int64_t now = now_ms(), until = *progress_ms + STREAM_STALL_MS;
	struct pollfd waiting = { .fd = end->fd };

	if (!end->received_eof) {
		if (now >= end->read_from_ms)
			waiting.events |= POLLIN;
		else if (end->read_from_ms < until)
			until = end->read_from_ms;
	}
	if (end->may_send && !end->sent_all) {
		if (now >= end->send_from_ms)
			waiting.events |= POLLOUT;
		else if (end->send_from_ms < until)
			until = end->send_from_ms;
	}
	/* POLLHUP and POLLERR come unasked: a negative descriptor leaves the wait to the clock. */
	if (!waiting.events)
		waiting.fd = -1;
	if (poll(&waiting, 1, until > now ? (int)(until - now) : 0) < 0)
		return 0;
	if (waiting.revents || !waiting.events) {
		*progress_ms = now_ms();
		if (waiting.revents & (POLLHUP | POLLERR))
			waiting.revents |= waiting.events;
		return waiting.revents;
	}
	return now_ms() - *progress_ms >= STREAM_STALL_MS ? -1 : 0;
}

/* Run the connection to its end and close the socket. */
static enum stream_outcome stream_run(struct stream_end *end)
{
	enum stream_outcome outcome = STREAM_COMPLETED;
	int64_t progress_ms = now_ms();

	while (outcome == STREAM_COMPLETED && !(end->received_eof && end->half_closed)) {
		int events;

		if (stream_should_reset(end)) {
			struct linger zero = { .l_onoff = 1 };

			if (!(stream_plan(end)->flags & STREAM_RESET_IS_CLOSE))
				setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &zero, sizeof(zero));
			outcome = STREAM_RESET;
			break;
		}
		if (stream_should_half_close(end)) {
			if (shutdown(end->fd, SHUT_WR))
				outcome = stream_lost(end, "shutdown");
			end->half_closed = 1;
			continue;
		}
		events = stream_wait(end, &progress_ms);
		if (events < 0) {
			snprintf(end->problem, sizeof(end->problem),
				 "no progress after %llu sent of %llu and %llu received of %llu",
				 (unsigned long long)end->sent_bytes,
				 (unsigned long long)(end->out.length_bytes + sizeof(end->out)),
				 (unsigned long long)end->received_bytes,
				 (unsigned long long)(end->in.length_bytes + sizeof(end->in)));
			outcome = STREAM_STALLED;
			break;
		}
		if (events & POLLIN)
			outcome = stream_receive(end);
		if (outcome == STREAM_COMPLETED && (events & POLLOUT))
			outcome = stream_send(end);
	}
	close(end->fd);
	/* Both ends count a plan to reset alike, also when the streams were over before. */
	if (outcome == STREAM_COMPLETED && stream_reset_is_planned(end))
		outcome = STREAM_RESET;
	return outcome;
}

#endif
