//go:build !unix

package agent

func isDiskFull(error) bool { return false }
