// Package arch holds the import law of the repository, as a test.
//
// The folders form layers; a package imports only packages of lower layers (arch_test.go lists them from the
// bottom up). Two more laws live beside it: some packages are pure, and chain code stays out of what a device
// runs.
package arch
