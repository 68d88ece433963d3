// The rounds of package mac on a card: the factors, their product, and the hash of each of its rows. Compiled by clang for the card
// (kernel.ptx), and for a processor in the tests: the same lines must give the same bytes.
#ifdef __CUDA__
#define KERNEL extern "C" __attribute__((global)) void
#define DEVICE static inline __attribute__((device))
#define RESTRICT __restrict__
#define THREAD (__nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x())
#else
#define KERNEL void
#define DEVICE static inline
#define RESTRICT restrict
extern _Thread_local unsigned cairn_thread;
#define THREAD cairn_thread
#endif

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef u32 quad __attribute__((vector_size(16)));

DEVICE u32 rotl(u32 x, int n) { return x << n | x >> (32 - n); }
DEVICE u32 swap(u32 x) { return x >> 24 | (x >> 8 & 0xff00) | (x << 8 & 0xff0000) | x << 24; }

// dot adds the products of four int8 of a and of b to c.
DEVICE int dot(u32 a, u32 b, int c) {
#ifdef __CUDA__
	int d;
	asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
	return d;
#else
	for (int i = 0; i < 32; i += 8)
		c += (int)(signed char)(a >> i) * (int)(signed char)(b >> i);
	return c;
#endif
}

#define QUARTER(a, b, c, d) \
	a += b; d = rotl(d ^ a, 16); c += d; b = rotl(b ^ c, 12); \
	a += b; d = rotl(d ^ a, 8); c += d; b = rotl(b ^ c, 7)

// cairn_fill makes both factors, one row a thread: A row after row, B column after column. keys has the 32 bytes of each row's key, of A
// first. Rows are a stream of C2SP chacha8rand: 16 blocks of ChaCha8 for a key, by fours with their words in turn; the last 32 bytes
// are the next key.
KERNEL cairn_fill(const u32 *RESTRICT keys, u8 *RESTRICT a, u8 *RESTRICT b, u32 n) {
	u32 t = THREAD;
	if (t >= 2 * n)
		return;
	u32 row = t < n ? t : t - n, key[8], next[8];
	for (int i = 0; i < 8; i++)
		key[i] = next[i] = keys[t * 8 + i];
	for (u32 at = 0; at < n; at += 992) {
		for (u32 counter = 0; counter < 16; counter++) {
			u32 x[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0], key[1], key[2], key[3], key[4], key[5], key[6], key[7], counter, 0, 0, 0};
			for (int round = 0; round < 4; round++) {
				QUARTER(x[0], x[4], x[8], x[12]);
				QUARTER(x[1], x[5], x[9], x[13]);
				QUARTER(x[2], x[6], x[10], x[14]);
				QUARTER(x[3], x[7], x[11], x[15]);
				QUARTER(x[0], x[5], x[10], x[15]);
				QUARTER(x[1], x[6], x[11], x[12]);
				QUARTER(x[2], x[7], x[8], x[13]);
				QUARTER(x[3], x[4], x[9], x[14]);
			}
#pragma unroll
			for (int w = 0; w < 16; w++) {
				u32 word = w >= 4 && w < 12 ? x[w] + key[w - 4] : x[w];
				u32 lane = counter & 3, in = (counter >> 2) * 256 + (u32)w * 16 + lane * 4;
				if (w >= 14 && counter >= 12) {
					next[(w - 14) * 4 + lane] = word;
				} else if (at + in >= n) {
					continue;
				} else if (t < n) {
					*(u32 *)(a + (u64)row * n + at + in) = word;
				} else {
					for (u32 i = 0; i < 4; i++)
						b[(u64)(at + in + i) * n + row] = (u8)(word >> 8 * i);
				}
			}
		}
		for (int i = 0; i < 8; i++)
			key[i] = next[i];
	}
}

// cairn_multiply makes the product, 8 by 8 values a thread, 256 threads for 128 by 128 of them. a has rows of A, b columns of B.
KERNEL cairn_multiply(const quad *RESTRICT a, const quad *RESTRICT b, int *RESTRICT c, u32 n) {
	u32 t = THREAD, tile = t / 256, side = n / 128;
	if (tile >= side * side)
		return;
	u32 i = tile / side * 128 + t % 256 / 16, j = tile % side * 128 + t % 16, quads = n / 16;
	int sum[8][8] = {{0}};
	for (u32 k = 0; k < quads; k++) {
		quad y[8];
#pragma unroll
		for (u32 s = 0; s < 8; s++)
			y[s] = b[(u64)(j + 16 * s) * quads + k];
#pragma unroll
		for (u32 r = 0; r < 8; r++) {
			quad x = a[(u64)(i + 16 * r) * quads + k];
#pragma unroll
			for (u32 s = 0; s < 8; s++) {
				sum[r][s] = dot(x[0], y[s][0], sum[r][s]);
				sum[r][s] = dot(x[1], y[s][1], sum[r][s]);
				sum[r][s] = dot(x[2], y[s][2], sum[r][s]);
				sum[r][s] = dot(x[3], y[s][3], sum[r][s]);
			}
		}
	}
#pragma unroll
	for (u32 r = 0; r < 8; r++)
#pragma unroll
		for (u32 s = 0; s < 8; s++)
			c[(u64)(i + 16 * r) * n + j + 16 * s] = sum[r][s];
}

#define K(i) ((const u32[64]){ \
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, \
	0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, \
	0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, \
	0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, \
	0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, \
	0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2}[i])

// compress takes a block of SHA-256 (FIPS 180-4 §6.2.2) into h.
DEVICE void compress(u32 h[8], u32 w[16]) {
	u32 s[8];
#pragma unroll
	for (int i = 0; i < 8; i++)
		s[i] = h[i];
#pragma unroll
	for (int i = 0; i < 64; i++) {
		if (i >= 16) {
			u32 x = w[(i + 1) & 15], y = w[(i + 14) & 15];
			w[i & 15] += (rotl(x, 25) ^ rotl(x, 14) ^ x >> 3) + w[(i + 9) & 15] + (rotl(y, 15) ^ rotl(y, 13) ^ y >> 10);
		}
		u32 t = s[7] + (rotl(s[4], 26) ^ rotl(s[4], 21) ^ rotl(s[4], 7)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K(i) + w[i & 15];
		u32 u = (rotl(s[0], 30) ^ rotl(s[0], 19) ^ rotl(s[0], 10)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + t, s[3] = s[2], s[2] = s[1], s[1] = s[0], s[0] = t + u;
	}
#pragma unroll
	for (int i = 0; i < 8; i++)
		h[i] += s[i];
}

// cairn_hash makes SHA-256 of each row of the product, one a thread: n int32, little endian.
KERNEL cairn_hash(const u32 *RESTRICT c, u32 *RESTRICT digests, u32 n) {
	u32 t = THREAD;
	if (t >= n)
		return;
	u32 h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}, w[16];
	const u32 *row = c + (u64)t * n;
	for (u32 at = 0; at < n; at += 16) {
#pragma unroll
		for (int i = 0; i < 16; i++)
			w[i] = swap(row[at + (u32)i]);
		compress(h, w);
	}
	for (int i = 0; i < 16; i++)
		w[i] = 0;
	w[0] = 0x80000000;
	w[15] = n * 32; // bits
	compress(h, w);
	for (int i = 0; i < 8; i++)
		digests[t * 8 + i] = swap(h[i]);
}
