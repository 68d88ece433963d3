// Package customer lists what customers can use at a gateway.
package customer

import (
	energy "github.com/cairn-network/cairn/service/energy/customer"
	"github.com/cairn-network/cairn/service/role"
	storage "github.com/cairn-network/cairn/service/storage/customer"
)

// Customers returns one of each category, with its defaults.
func Customers() []role.Customer {
	return []role.Customer{
		storage.New(storage.Config{}),
		energy.New(energy.Config{}),
	}
}
