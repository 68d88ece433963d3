// Package types holds the messages, queries and stored forms of x/tally: epochs, headers, appeals and claims.
// All but this file and those beside it are generated from chain/proto/cairn/tally/v1.
package types
