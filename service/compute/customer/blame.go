package customer

import (
	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
)

// The gateway can't see whether an image can be run, as it sees that of a module. So one device that says it
// can't be is not believed, nor held to be bad at its work: another one is asked. If that says so too, the job
// ends with the reason. If it runs it, the first one has failed.

// believed is how many devices have to say that an image can't be run.
const believed = 2

// ofImage reports whether a device may end a job for a reason that lies in its image.
func ofImage(profile string, why types.Reason) bool {
	switch why {
	case compute.BadImage:
		return true
	case compute.TooLarge, compute.DigestMismatch:
		return compute.ClassOf(profile) == compute.OCI
	}
	return false
}

// denials lists the devices that say that a job's image can't be run. The job's mu is held, or nobody else has it.
func (r *record) denials() (list []types.Key) {
	for _, t := range r.Tries {
		if ofImage(r.Job.Profile, t.Reason) {
			list = append(list, t.Device)
		}
	}
	return list
}

// denied reports whether so many devices have said that a job's image can't be run that it is believed; none
// says whether there is no other to ask.
func (j *job) denied(none bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := len(j.rec.denials())
	return n >= believed || none && n > 0 && n == len(j.rec.Tries)
}

// contradicted notes that a job ran of which some devices said that it can't be run.
func (c *Customer) contradicted(j *job) {
	j.mu.Lock()
	list := j.rec.denials()
	j.mu.Unlock()
	for _, d := range list {
		c.ranking(j.rec.Job.Profile).Failed(d)
	}
}
