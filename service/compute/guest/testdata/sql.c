// Runs the SQL of its standard input on the databases that it names: on the first as main, on others as a, b and so on.
#include <stdio.h>
#include "sqlite3-binding.h"

static int row(void *unused, int n, char **values, char **names) {
	for (int i = 0; i < n; i++)
		printf("%s%s", i ? "|" : "", values[i] ? values[i] : "NULL");
	printf("\n");
	return 0;
}

int main(int argc, char **argv) {
	static char sql[1 << 20];
	sql[fread(sql, 1, sizeof sql - 1, stdin)] = 0;
	sqlite3 *db;
	char *why = 0;
	int bad = argc < 2 || sqlite3_open(argv[1], &db);
	for (int i = 2; !bad && i < argc; i++) {
		char attach[256];
		snprintf(attach, sizeof attach, "ATTACH '%s' AS %c", argv[i], 'a' + i - 2);
		bad = sqlite3_exec(db, attach, 0, 0, &why);
	}
	if (!bad)
		bad = sqlite3_exec(db, sql, row, 0, &why);
	if (bad)
		fprintf(stderr, "%s\n", why ? why : "no database");
	return bad || sqlite3_close(db);
}
