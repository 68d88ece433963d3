//go:build !unix

package node

func isDiskFull(error) bool { return false }
