//go:build !soak

package main

// soak is whether tests may take as long as they like (`make soak`).
const soak = false
