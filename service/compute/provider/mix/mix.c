// A chain of rounds of processors (mac.Mix) as a program of profile wasm/1: it reads the first seed, 32 bytes, and writes the root of each round
// as it has it, for ever. The seed of the next round is SHA-256(seed, root). It needs no library, so that little is in it:
//
//	clang --target=wasm32-wasi -O2 -nostdlib -Wl,--strip-all -o mix.wasm mix.c
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

struct part { void *at; u32 size; };

__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_read")))
u32 fd_read(u32 file, struct part *parts, u32 n, u32 *done);
__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_write")))
u32 fd_write(u32 file, struct part *parts, u32 n, u32 *done);

static u64 rotl(u64 x, int n) { return x << n | x >> (64 - n); }
static u32 rotr(u32 x, int n) { return x >> n | x << (32 - n); }

static u64 pad[1 << 18];

// mix is written as SPEC.md has it.
static void mix(u64 out[4], const u64 seed[4]) {
	u64 a = seed[0], b = seed[1], c = seed[2], d = seed[3];
	for (u32 i = 0; i < 1 << 18; i++) {
		a = (a ^ (a >> 32)) * 0xd1342543de82ef95ull + b;
		b = rotl(b, 23) ^ a;
		pad[i] = a + b;
	}
	for (u32 i = 0; i < 1 << 20; i++) {
		u32 j = a >> 46;
		u64 w = pad[j];
		switch ((b ^ w) >> 62) {
		case 0: a = (a ^ w) * (b | 1); break;
		case 1: a = (a + rotl(w, 19)) * (c | 1); c ^= rotl(a, 37); break;
		case 2: a = (a - w) * (d | 1); d += rotl(a, 29); break;
		case 3: a = (rotl(a, 41) ^ w) * 0xaf251af3b0f025b5ull; c += d; break;
		}
		b = rotl(b, 9) + a;
		pad[j] = a ^ rotl(w, 7);
	}
	for (u32 i = 0; i < 1 << 18; i++) {
		a = (a ^ pad[i]) * 0x9e3779b97f4a7c15ull;
		b = rotl(b, 5) + a;
		c ^= rotl(b, 27);
		d += c;
	}
	out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

static const u32 k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// block is one block of SHA-256 (FIPS 180-4).
static void block(u32 h[8], const u8 *p) {
	u32 w[64], s[8];
	for (int i = 0; i < 16; i++) w[i] = (u32)p[4 * i] << 24 | (u32)p[4 * i + 1] << 16 | (u32)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3) + (rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10);
	for (int i = 0; i < 8; i++) s[i] = h[i];
	for (int i = 0; i < 64; i++) {
		u32 x = s[7] + (rotr(s[4], 6) ^ rotr(s[4], 11) ^ rotr(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
		u32 y = (rotr(s[0], 2) ^ rotr(s[0], 13) ^ rotr(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + x, s[3] = s[2], s[2] = s[1], s[1] = s[0], s[0] = x + y;
	}
	for (int i = 0; i < 8; i++) h[i] += s[i];
}

// message is what is hashed: seed and root, and the padding of 64 bytes.
static union { u64 word[16]; u8 byte[128]; } message;

void _start(void) {
	struct part in = {message.byte, 32}, out = {message.byte + 32, 32};
	u32 n;
	if (fd_read(0, &in, 1, &n) || n != 32) return;
	message.byte[64] = 0x80, message.byte[126] = 2;
	for (;;) {
		mix(message.word + 4, message.word);
		if (fd_write(1, &out, 1, &n) || n != 32) return;
		u32 h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
		block(h, message.byte), block(h, message.byte + 64);
		for (int i = 0; i < 32; i++) message.byte[i] = h[i / 4] >> (24 - i % 4 * 8);
	}
}
