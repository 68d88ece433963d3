//go:build soak

package network

// soak is whether tests may take as long as they like (`make soak`).
const soak = true
