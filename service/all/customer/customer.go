// Package customer lists what customers can use at a gateway: one line per category.
package customer

import (
	compute "github.com/cairn-network/cairn/service/compute/customer"
	energy "github.com/cairn-network/cairn/service/energy/customer"
	"github.com/cairn-network/cairn/service/role"
	storage "github.com/cairn-network/cairn/service/storage/customer"
)

// Customers returns the categories at one gateway, in the order of their numbers, with their defaults.
func Customers() []role.Customer {
	return []role.Customer{
		compute.New(compute.Config{}).Role(),
		storage.New(storage.Config{}).Role(),
		energy.New(energy.Config{}).Role(),
	}
}
