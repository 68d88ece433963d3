// Package process is what every role that runs as a process of its own has in common: `cairn bus`, `cairn
// verifier`, `cairn gateway`. A role says what it does (Role); everything around that is here, once.
//
// # Home
//
// A home holds NAME.yaml, the settings, which Init writes with every default and a sentence for each, and Load
// reads strictly. One process at a time runs a home: Lock. (Its files are written by internal/files.)
//
// # Running
//
// Run loads the settings, locks the home, opens the log, serves /healthz and /metrics, and runs the role until
// SIGTERM or SIGINT. A role that needs something that is away (a bus, a chain) waits for it with Process.Try,
// says so in its health, and goes on when it is back; it does not exit. What will not mend itself is an error,
// with its reason: no key, a damaged home, a port that another program has. A role that has not ended within
// the settings' stop_within is left behind, as by a kill; nothing acknowledged may depend on its end.
//
// A program ends with status 0 after it was told to, 1 for what failed, and 2 for a command line or settings
// that were not understood: systemd starts it again after 1, and not after 2 (Unit).
//
// # Health and metrics
//
// Health is a list of checks, each of which says in words what is missing. /healthz answers 200 while none is,
// else 503, with all of them as JSON. /metrics is Prometheus' text form: cairn_healthy by check, Go's and the
// process's own figures, and what the role registers. Both are served on an address of their own, on loopback
// unless the settings say otherwise; where it is beyond that, anybody there can read them.
package process
