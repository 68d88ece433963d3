//go:build tools

// Package tools holds what only the people who change Cairn run: generators, apart from the program's own
// modules so that their dependencies are not its. The imports below are plugins that protogen builds, and the source
// of SQLite, of which a test of service/compute/guest makes a guest.
package tools

import (
	_ "github.com/cosmos/gogoproto/protoc-gen-gocosmos"
	_ "github.com/grpc-ecosystem/grpc-gateway/protoc-gen-grpc-gateway"
	_ "github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv2"
	_ "github.com/mattn/go-sqlite3"
)
