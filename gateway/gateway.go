// Package gateway is the customers' door. It mounts each category's Customer under /<category>/v1/, keeps the session keys that
// accounts granted it, finds providers through their signed asks, and pays them with receipts.
//
// Anybody can run a gateway, and a customer needs to trust only the one it uses: with its session keys (each has a spend limit
// and an expiry on chain), and with what it stores or sends in the clear. An account's own key never comes here. A request carries an API
// key (`Authorization: Bearer cairn_…`), which stands for one session key of one account.
//
// The gateway speaks to devices and verifiers over the bus and to the chain through a ledger.Reader; it never writes to the chain.
package gateway
