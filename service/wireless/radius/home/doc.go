// Package home is the home realm at an identity provider's gateway: it answers devices over RadSec, logs the users of
// the realm in, from a file or through the provider's own RADIUS server, takes the accounting of their sessions in, and
// signs receipts for what it counts.
//
// # Sessions
//
// An Access-Accept has a Class that names the session, the device, the subscriber and the moment, sealed with a key of
// the home's. Accounting counts only with such a Class, of the device that got it, and for as long as the session may
// last; so a device can neither invent sessions nor repeat old ones. Of a session no more counts than the ask's
// speed allows for the time since, and of a subscriber no more than a cap each day.
//
// # Receipts
//
// One session of receipts is open with each device: its units are the sum of its users' bytes. A receipt is
// signed when half of W is unpaid, when a user's session ends, and once in a while. It is on disk, with the sessions
// that it counts, before the device has it: after a crash no byte is paid twice and no total falls.
package home
