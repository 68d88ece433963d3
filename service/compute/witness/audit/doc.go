// Package audit is what a drawn verifier does about devices' results: it runs some of their jobs again, and
// says what came out (SPEC.md, section 6).
//
// # What is audited
//
// In an epoch whose challenges bind, the auditor asks the verifier beside it what the devices that it was drawn
// for committed to two epochs before, and which of these leaves the seed draws. Of devices for which it was
// drawn first it audits those (plan.go). Of all it reads what the others report that were drawn, and audits
// what one of them disagrees with or did not get.
//
// # One leaf
//
// The device shows the leaf with its path (compute.KindShow), and gives the job, the module and what the job
// reads by their hashes. All of that is held against the leaf, which was committed to before the seed was
// known. The job then runs in package guest's sandbox, with no more fuel than one above what the leaf says, and
// what came out is handed in (leaf.go). A device that does not answer is asked again until a part of the epoch
// is over: then it has withheld. What is the auditor's own trouble (no bus, no disk, a sandbox that failed, a
// job that needs more than Config lets it have) it keeps to itself: nothing is said of the device then.
//
// Leaves that were shown are remembered for as long as faults count. Where one contradicts another, the auditor
// hands in both (claims.go).
//
// # Bounds
//
// Leaves, fuel, time and memory are bounded by Config, in each epoch. Beyond them leaves are left out: which
// ones, nobody can foresee, as the order in which they are audited is the auditor's secret. One job runs at a
// time, in a process of its own; the verifier's own process runs nothing that strangers wrote. A machine that
// cannot hold such a process says so once, and audits nothing.
//
// # After a crash
//
// Reports are numbered and on disk together with the leaf's name, so that none is made twice
// (role.AuditHost.SubmitOnce). The plan of an epoch is the same each time that it is made, what was fetched is
// still there, and what was reported is left out.
package audit
