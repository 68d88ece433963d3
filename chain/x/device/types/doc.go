// Package types holds the messages, queries and stored forms of x/device: devices, owners, bonds, makers and
// models. All but this file and those beside it are generated from chain/proto/cairn/device/v1.
package types
