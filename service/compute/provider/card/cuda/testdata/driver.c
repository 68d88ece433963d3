// A stand-in for libcuda.so.1 that has one card: this processor. Its memory is the machine's, and it runs the kernels as the compiler makes
// them for a processor. Handles are checked, so that a wrong call fails as it would with a driver.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../kernel.cu"

_Thread_local unsigned cairn_thread;

// What a test may have otherwise, beside WRONG: a card that computes something else.
#ifndef INIT
#define INIT 0
#endif
#ifndef MAJOR
#define MAJOR 9
#endif
#ifndef MEMORY
#define MEMORY (64 << 20)
#endif

enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NO_IMAGE = 200, NO_CONTEXT = 201, NOT_FOUND = 500 };
static int started, context, module, functions[3];
static _Thread_local void *current;
static const char *names[3] = {"cairn_fill", "cairn_multiply", "cairn_hash"};
static uint64_t held, most = MEMORY;

int cuInit(unsigned flags) {
	started = flags == 0;
	return flags ? INVALID : INIT;
}
int cuGetErrorString(int code, const char **text) {
	*text = code == NO_MEMORY ? "out of memory" : code == NO_CONTEXT ? "invalid device context" : code == 100 ? "no CUDA-capable device is detected" : "an error";
	return OK;
}
int cuDeviceGetCount(int *n) { *n = 1; return started ? OK : INVALID; }
int cuDeviceGet(int *device, int index) { *device = 7; return started && index == 0 ? OK : INVALID; }
int cuDeviceGetName(char *name, int n, int device) {
	if (device != 7) return INVALID;
	strncpy(name, "a processor", (size_t)n);
	return OK;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
	*value = attribute == 75 ? MAJOR : 0;
	return device == 7 ? OK : INVALID;
}
int cuDevicePrimaryCtxRetain(void **c, int device) { *c = &context; return device == 7 ? OK : INVALID; }
int cuDevicePrimaryCtxRelease_v2(int device) { return device == 7 ? OK : INVALID; }
int cuCtxSetCurrent(void *c) { current = c; return c == &context ? OK : INVALID; }
int cuCtxSynchronize(void) { return current ? OK : NO_CONTEXT; }
int cuModuleLoadData(void **m, const char *image) {
	*m = &module;
	return !current ? NO_CONTEXT : strstr(image, ".version") && strstr(image, "dp4a") ? OK : NO_IMAGE;
}
int cuModuleGetFunction(void **f, void *m, const char *name) {
	for (int i = 0; i < 3; i++)
		if (m == &module && !strcmp(name, names[i])) {
			*f = &functions[i];
			return OK;
		}
	return NOT_FOUND;
}
int cuMemGetInfo_v2(uint64_t *free, uint64_t *total) { *free = most - held, *total = most; return OK; }
int cuMemAlloc_v2(uint64_t *p, uint64_t n) {
	if (!current) return NO_CONTEXT;
	if (held + n > most) return NO_MEMORY;
	uint64_t *block = malloc(n + 16);
	block[0] = n;
	held += n;
	*p = (uint64_t)(block + 2);
	return OK;
}
int cuMemFree_v2(uint64_t p) {
	if (!p) return INVALID;
	uint64_t *block = (uint64_t *)p - 2;
	held -= block[0];
	free(block);
	return OK;
}
int cuMemcpyHtoD_v2(uint64_t to, const void *from, uint64_t n) { if (!current) return NO_CONTEXT; memcpy((void *)to, from, n); return OK; }
int cuMemcpyDtoH_v2(void *to, uint64_t from, uint64_t n) {
	if (!current) return NO_CONTEXT;
	memcpy(to, (void *)from, n);
#ifdef WRONG
	((char *)to)[n - 1] ^= 1;
#endif
	return OK;
}
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream, void **p, void **extra) {
	if (!current) return NO_CONTEXT;
	if (gy != 1 || gz != 1 || by != 1 || bz != 1 || bx > 1024 || shared || stream || extra) return INVALID;
	void *at[3];
	unsigned n = *(unsigned *)p[f == &functions[0] || f == &functions[1] ? 3 : 2];
	for (int i = 0; i < 3; i++)
		at[i] = *(void **)p[i];
	for (unsigned t = 0; t < gx * bx; t++) {
		cairn_thread = t;
		if (f == &functions[0]) cairn_fill(at[0], at[1], at[2], n);
		else if (f == &functions[1]) cairn_multiply(at[0], at[1], at[2], n);
		else if (f == &functions[2]) cairn_hash(at[0], at[1], n);
		else return INVALID;
	}
	return OK;
}
