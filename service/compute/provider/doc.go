// Package provider is what a compute device does: it takes orders, runs their jobs, gives the gateway what
// comes out, and collects its pay.
//
// # An order
//
// A gateway asks over the bus (compute.KindOrder), and is answered at once (order.go). What the device accepts
// is in its journal before the answer goes out: the same order gets the same answer for as long as it is
// remembered, and after that its number is taken. It accepts only what it can begin now, from somebody who can
// pay for as much as may run before the first receipt.
//
// # A job
//
// The device joins the gateway that the order names (package link), fetches what does not ride along, and has
// an Executor run the job. A gateway that is not reached within 5 seconds has lost its place. What the job
// writes goes to disk and from there to the gateway, from where that has it, however often the connection
// breaks. How it ended is signed, in the journal, and kept until the gateway has it; what a public job read and
// wrote, until nobody can audit it any more (stream.go, job.go).
//
// After a crash, jobs that had not ended run again: they are deterministic, so the gateway gets on with the
// same output, and whatever was paid stays paid (an Executor of another kind finds what it left running in
// Run).
//
// # Being paid
//
// Receipts come while the job runs, one total for each session (session.go). An account may owe a second of
// running at first, a third more each time it has paid for as much as it may owe, ten at most, over all of its
// jobs. There its jobs stand still, and end after a minute. What nobody can hand in, since its session is worth
// less than the least opening, is bounded for the whole device. Once an epoch the device commits to the leaves
// that receipts need, and hands the receipts in (epoch.go).
//
// # Checks
//
// An epoch's Offer says how many slots are free. Drawn verifiers hold the device to that: at a moment that
// nobody foresees they call it, and it computes for two seconds on all slots that are free, step by step in
// front of them (live.go). Orders are taken meanwhile as ever; where jobs have come since the offer and have
// all slots, one chain runs beside the jobs. Which slot of time began last is on disk before anything is signed
// for it, so that a device that was killed never signs two different steps for one place.
//
// # On disk
//
// In the directory that the host gives: journal.db (bbolt) with orders, leaves, sessions and accounts, in/ and
// out/ (package spool), and what executors keep.
//
// # Bounds
//
// Jobs at once by slots and memory; jobs that are kept, sessions and accounts by number, in all and for each
// account; inputs and outputs by bytes. Each limit says at its place what happens there. What a customer has
// the device do for nothing, by modules that can't be run or inputs that do not come, is bounded for each
// account and epoch (freeTime).
package provider
