// What tests run, by the name of its first argument.
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int hello(int argc, char **argv) {
	char line[256];
	double sum = 0;
	for (int i = 0; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);
	for (int i = 1; i <= 1000; i++) sum += 1.0 / i;
	printf("sum: %.12f\n", sum);
	while (fgets(line, sizeof line, stdin)) printf("line: %s", line);
	const char *e = getenv("GREETING");
	fprintf(stderr, "%s\n", e ? e : "no greeting");
	unsigned char r[40];
	if (getentropy(r, sizeof r) == 0)
		for (unsigned i = 0; i < sizeof r; i++) printf("%02x", r[i]);
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	printf("\ntime: %lld.%09ld\n", (long long)t.tv_sec, t.tv_nsec);
	return 7;
}

// files writes its input in capitals, and lists what there is.
static int files(void) {
	FILE *in = fopen("/in/text", "r"), *out;
	int c;
	mkdir("/out", 0777);
	out = fopen("/out/capitals", "w");
	if (!in || !out) { perror("open"); return 1; }
	while ((c = getc(in)) != EOF) putc(c >= 'a' && c <= 'z' ? c - 32 : c, out);
	fclose(in);
	fclose(out);
	for (int i = 0; i < 5; i++) {
		char name[32];
		sprintf(name, "/out/%c", "dbeac"[i]);
		fclose(fopen(name, "w"));
	}
	rename("/out/a", "/out/z");
	unlink("/out/b");
	DIR *d = opendir("/out");
	struct dirent *e;
	while ((e = readdir(d))) printf("%s ", e->d_name);
	struct stat s;
	stat("/out/capitals", &s);
	printf("%lld %lld\n", (long long)s.st_size, (long long)s.st_mtime);
	return 0;
}

static volatile int sink;
static char *volatile kept; // so that the compiler leaves what is allocated alone
static int deep(int n) { return n ? deep(n + 1) + sink : 0; }

// calls asks the host for many things, often.
static int calls(int n) {
	char path[] = "/file", buf[64];
	struct stat s;
	struct timespec t;
	for (int i = 0; i < n; i++) {
		int f = open(path, O_CREAT | O_RDWR, 0666);
		if (f < 0 || write(f, buf, 64) != 64 || lseek(f, 0, SEEK_SET) || read(f, buf, 64) != 64 || fstat(f, &s) || close(f)) return 1;
		DIR *d = opendir("/");
		while (readdir(d)) {}
		closedir(d);
		stat("/nothing", &s);
		clock_gettime(CLOCK_MONOTONIC, &t);
		getentropy(buf, 64);
	}
	return 0;
}

int main(int argc, char **argv) {
	const char *what = argc > 1 ? argv[1] : "hello";
	if (!strcmp(what, "hello")) return hello(argc, argv);
	if (!strcmp(what, "files")) return files();
	if (!strcmp(what, "loop")) { puts("looping"); fflush(stdout); for (;;) sink++; }
	if (!strcmp(what, "trap")) { puts("before"); fflush(stdout); __builtin_trap(); }
	if (!strcmp(what, "deep")) return deep(1);
	if (!strcmp(what, "memory")) { for (;;) { if (!(kept = malloc(1 << 20))) __builtin_trap(); memset(kept, 1, 1 << 20); } }
	if (!strcmp(what, "polite")) { int n = 0; while ((kept = malloc(1 << 20))) n++; printf("%d\n", n); return 3; }
	if (!strcmp(what, "output")) { static char b[65536]; memset(b, 'x', sizeof b); for (;;) write(1, b, sizeof b); }
	if (!strcmp(what, "calls")) return calls(atoi(argv[2]));
	if (!strcmp(what, "opens")) { int n = 0; while (open("/", O_RDONLY) >= 0) n++; printf("%d\n", n); return 0; }
	if (!strcmp(what, "fill")) {
		int f = open("/big", O_CREAT | O_WRONLY, 0666); long n = 0;
		static char b[1 << 20];
		while (write(f, b, sizeof b) > 0) n++;
		printf("%ld %d\n", n, ftruncate(f, 1) == 0 && lseek(f, 255 << 20, SEEK_SET) > 0 && write(f, "x", 1) == 1);
		return unlink("/big");
	}
	return 2;
}
