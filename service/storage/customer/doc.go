// Package customer is storage's door at the gateway: it keeps a customer's objects on devices of different owners.
//
// An object goes through package pipeline, which seals, codes and masks it, and its shards go to as many
// devices as the profile has slots, each of another owner. Then every device is asked to commit: it makes its
// shards durable and countersigns the holding, the statement of all that it keeps for this account. A PUT needs
// the profile's count of countersignatures, and tries for those that are missing then, on devices of other
// owners too, before it answers. What it could not place, or what is lost later, is computed anew and placed in
// the background (complete.go); an object says how many shards it has.
//
// Sessions end, objects do not: a session that ends soon is renewed, and a device that was restored from an old
// copy of its disk goes on in a new session with what it still has (renew.go). What a device has lost is noted
// in each object.
//
// With each holding go a ladder of receipts, which pays the device epoch by epoch while the customer sleeps,
// and for what is read a receipt per MiB. The account's own books (objects, where each shard is, what each
// device holds and was promised) are in one bbolt file per account.
package customer
