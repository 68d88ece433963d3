// Package types holds the messages, queries and stored forms of x/certificate: certificates over ranges of
// registers. All but this file and those beside it are generated from chain/proto/cairn/certificate/v1.
package types
