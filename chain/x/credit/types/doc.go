// Package types holds the messages, queries and stored forms of x/credit: credits, session keys and the vault.
// All but this file and those beside it are generated from chain/proto/cairn/credit/v1.
package types
