// Command cairn-card computes products of matrices on a graphics card, for the device that starts it (package card).
//
//	cairn-card [number of the card [library of the driver]]
//
// Started by hand it says which card it has, or why none.
package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/cairn-network/cairn/service/compute/provider/card"
	"github.com/cairn-network/cairn/service/compute/provider/card/cuda"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cairn-card:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	index, library := 0, cuda.Library
	if len(args) > 0 {
		n, err := strconv.Atoi(args[0])
		if err != nil || len(args) > 2 {
			return fmt.Errorf("%q: want the number of a card, counted from 0, and perhaps the driver's library", args)
		}
		index = n
	}
	if len(args) > 1 {
		library = args[1]
	}
	var hello card.Hello
	var compute card.Computer
	if c, err := cuda.Open(library, index); err != nil {
		hello.Error = err.Error()
	} else {
		defer c.Close()
		hello, compute = card.Hello{Name: c.Name, Memory: c.Memory}, c.Compute
	}
	return card.Serve(os.Stdin, os.Stdout, hello, compute)
}
