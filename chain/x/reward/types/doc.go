// Package types holds the messages, queries and stored forms of x/reward: the economy's parameters and what is
// minted. All but this file and those beside it are generated from chain/proto/cairn/reward/v1.
package types
