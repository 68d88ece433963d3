// Kernels whose time with fuel is compared with that without, by the number of the argument.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static int less(const void *a, const void *b) { return *(const int *)a < *(const int *)b ? -1 : 1; }

static void sort(void) {
	int n = 400000, *a = malloc(4 * n);
	uint32_t s = 1;
	for (int i = 0; i < n; i++) { s = s * 1664525 + 1013904223; a[i] = s >> 1; }
	qsort(a, n, 4, less);
	printf("%d\n", a[n / 2]);
}

static void matrix(void) {
	int n = 300;
	double *a = malloc(8 * n * n), *b = malloc(8 * n * n), total = 0;
	for (int i = 0; i < n * n; i++) { a[i] = i * 0.5; b[i] = i * 0.25; }
	for (int r = 0; r < 3; r++)
		for (int i = 0; i < n; i++)
			for (int j = 0; j < n; j++) {
				double s = 0;
				for (int k = 0; k < n; k++) s += a[i * n + k] * b[k * n + j];
				total += s;
			}
	printf("%f\n", total);
}

static void sieve(void) {
	int n = 10000000, count = 0;
	char *p = calloc(1, n);
	for (int i = 2; i < n; i++)
		if (!p[i]) {
			count++;
			for (int64_t j = (int64_t)i * i; j < n; j += i) p[j] = 1;
		}
	printf("%d\n", count);
}

static void crc(void) {
	uint32_t c = ~0u;
	for (int i = 0; i < 6000000; i++) {
		c ^= i & 255;
		for (int k = 0; k < 8; k++) c = c >> 1 ^ (0xEDB88320 & -(c & 1));
	}
	printf("%x\n", c);
}

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha(void) {
	uint32_t w[64], h[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	for (int r = 0; r < 150000; r++) {
		for (int i = 0; i < 16; i++) w[i] = r * i;
		for (int i = 16; i < 64; i++)
			w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) + (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
		for (int i = 0; i < 64; i++) {
			uint32_t t = h[7] + (turn(h[4], 6) ^ turn(h[4], 11) ^ turn(h[4], 25)) + ((h[4] & h[5]) ^ (~h[4] & h[6])) + w[i];
			for (int k = 7; k > 0; k--) h[k] = h[k - 1];
			h[4] += t;
			h[0] = t + (h[1] & h[2]);
		}
	}
	printf("%u\n", h[0]);
}

int main(int argc, char **argv) {
	switch (atoi(argv[1])) {
	case 0: printf("%u\n", fib(33)); break;
	case 1: sort(); break;
	case 2: matrix(); break;
	case 3: sieve(); break;
	case 4: crc(); break;
	case 5: sha(); break;
	}
	return 0;
}
