// Package keeper agrees on tallies and pays by them: epochs, verifiers, headers, appeals, escrows and claims.
package keeper
