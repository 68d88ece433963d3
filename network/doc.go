// Package network is a whole network in one process: ledger nodes, the bus, verifiers, devices, a gateway and
// the page. `cairn up` runs it, and so do the tests that need more than one engine; there is no second,
// simplified path.
//
// A home holds everything, so that a network goes on where it stopped, however it stopped:
//
//	network.json     where everything listens, while it runs, and a block of the chain from which `cairn tally verify` goes on
//	manifest.json    how whoever is elsewhere joins, signed by publisher.key (package manifest)
//	trust.json       the newest block to which `cairn tally verify` came
//	customer.json    the API key of the home's own customer (secret)
//	keys/            the same of other accounts that `cairn account create` made (secret)
//	lock             who runs it
//	chain/0 …        one home per validator, as `cairn start` would use it; chain/0 also has the keyring of this machine's accounts
//	bus/             what the bus keeps
//	verifier/0 …     what each verifier holds
//	node/0 …         one home per device, as `cairn-node run` would use it; node/energy-0 … are behind simulated hardware
//	simulated/       what simulated hardware remembers, a folder for each category
//	gateway/         wallets, and what each category keeps for its customers
//	explorer.db      the page's index
//
// Bus and Verifier are two of its parts as processes of their own, each with a home (package process): `cairn
// bus`, `cairn verifier`. They and a network make them by the same functions, openBus and openVerifier.
//
// Every device has its own owner, its own key, its own home and its own listener; on one machine they share the
// machine's address and disk, which is why placement here spreads over owners only. With one verifier all
// randomness is predictable to that one.
package network
