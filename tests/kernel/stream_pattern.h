/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The bytes of a stream, known to both ends from a key: a window that moves over one block of
 * random bytes. Bytes that are lost, doubled, swapped or of another stream differ from what is expected.
 */
#ifndef STREAM_PATTERN_H
#define STREAM_PATTERN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Odd, and larger than any chunk: no reordering of chunks or pages is a whole number of periods. */
#define PATTERN_PERIOD_BYTES ((2u << 20) + 4099u)
#define PATTERN_RUN_BYTES (1u << 20)

static uint8_t *pattern_block;

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t random_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* From 0 to limit - 1. */
static uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

/* From 1 to limit, every power of two as likely as the next: small sizes are as common as large. */
static uint64_t random_size(uint64_t *state, uint64_t limit)
{
	unsigned int bits = 64 - (unsigned int)__builtin_clzll(limit);
	uint64_t size = 1 + random_below(state, 1ull << random_below(state, bits + 1));

	return size < limit ? size : limit;
}

static int pattern_make(void)
{
	uint64_t state = 1;
	size_t i;

	pattern_block = malloc(PATTERN_PERIOD_BYTES + PATTERN_RUN_BYTES);
	if (!pattern_block)
		return -1;
	for (i = 0; i < PATTERN_PERIOD_BYTES; i++)
		pattern_block[i] = (uint8_t)random_next(&state);
	memcpy(pattern_block + PATTERN_PERIOD_BYTES, pattern_block, PATTERN_RUN_BYTES);
	return 0;
}

/* The bytes of stream `key` from `offset` on; at least PATTERN_RUN_BYTES of them. */
static const uint8_t *pattern_at(uint64_t key, uint64_t offset)
{
	return pattern_block + (key % PATTERN_PERIOD_BYTES + offset) % PATTERN_PERIOD_BYTES;
}

#endif
