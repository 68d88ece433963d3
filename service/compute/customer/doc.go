// Package customer is compute's door at the gateway: it runs jobs for a customer on devices of strangers.
//
// A job is a WebAssembly module (profile wasm/1) with arguments, environment, standard input and files. Who
// submits it gets an answer at once: which device runs it, at what price, and how many were passed over for
// which reason. Its output can be read while it runs and for a week after, from any offset, over restarts of
// everything; the files that it left as long.
//
//	book.go     what devices ask and have free (package match)
//	place.go    a job finds its device: one request to it, answered within 300 ms, else the next in rank
//	follow.go   the device dials in (package link): output is spooled, progress is paid for, the end is checked
//	left.go     the files that it left: fetched, held against what the device signed, and shown
//	session.go  the receipts: one session for each job that runs at a time, of one wallet at one device
//	books.go    jobs and sessions on disk (bbolt), outputs and inputs beside them (package spool)
//	port.go     servers in containers: HTTP passed on, and connections as they are (forward.go on the customer's side)
//	http.go, command.go   the API below /compute/v1, and `cairn job`
//
// # What is paid
//
// The price is fixed before the job starts. The device says how many units it has used, and the gateway signs
// for them as they come: so the device never waits for more than a moment's pay, and the customer has paid for
// no more than what a result must account for. A result that is not that of the order is not paid further, and
// its device ranks behind others.
//
// # When something goes away
//
// A device that is not heard of for 5 seconds while its job runs is left, and the job begins anew on another
// one: up to maxTries devices, then it fails as device_lost. What a lost device was paid is part of what the
// job cost. A gateway that was stopped finds its jobs in its books: devices that still run them dial in again,
// and jobs that nobody runs begin anew.
//
// # Bounds
//
// Jobs of an account that have not ended, jobs that are kept, bytes of inputs and outputs, and connections are
// bounded; each limit says at its place what happens there.
package customer
