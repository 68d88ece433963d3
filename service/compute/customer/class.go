package customer

import (
	"slices"
	"strings"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// defaults are what a job gets that does not say otherwise.
type defaults struct {
	limit uint64 // units
	pages uint32 // of 64 KiB
	price uint64 // the most per scale: four times what the network holds a unit to be worth
	unit  string // what a price is for, to people
}

const (
	defaultLimit = 10_000_000_000 // of fuel: some twenty seconds
	defaultPages = 4096           // 256 MiB
	defaultPrice = 4 * compute.Reference * (compute.WasmScale / 1_000_000) / (compute.Quota * 200)

	defaultTime = 60_000                // slot·ms: a minute of one slot
	defaultHour = 4 * compute.Reference // for an hour of one slot
)

func defaultsOf(class types.Class) defaults {
	if class == compute.OCI {
		return defaults{limit: defaultTime, pages: defaultPages, price: defaultHour, unit: "an hour of a slot"}
	}
	return defaults{limit: defaultLimit, pages: defaultPages, price: defaultPrice, unit: "10^9 fuel"}
}

// egressOf checks what a job has to be able to reach, and returns it in one way to write it.
func egressOf(a *Submit, class types.Class) ([]string, error) {
	if len(a.Egress) > 0 && class != compute.OCI {
		return nil, types.Refuse(compute.FeatureDenied, "compute: a job that is no container reaches nothing")
	}
	rules, err := compute.ParseEgress(a.Egress)
	if err != nil {
		return nil, types.Refuse(role.BadRequest, "%v", err)
	}
	return compute.Egress(rules), nil
}

// reaches reports whether what a device lets containers reach is enough for what a job has to; nil where that is nothing.
func reaches(need []string) func(egress string) bool {
	wanted, err := compute.ParseEgress(need)
	if len(wanted) == 0 || err != nil {
		return nil
	}
	return func(egress string) bool {
		rules, err := compute.ParseEgress(strings.Fields(egress))
		return err == nil && !slices.ContainsFunc(wanted, func(r compute.Reach) bool { return !compute.Covers(rules, r) })
	}
}

// profileOf returns the profile that a job is to run by, and its class. Where nothing is said it is wasm/1.
func profileOf(a *Submit) (string, types.Class, error) {
	profile := a.Profile
	switch {
	case profile == "" && a.Image != "":
		profile = compute.OCIProfile
	case profile == "":
		profile = compute.WasmProfile
	}
	class := compute.ClassOf(profile)
	switch {
	case class != compute.Wasm && class != compute.OCI:
		return "", 0, types.Refuse(compute.FeatureDenied, "compute: profile %.100q", profile)
	case class == compute.Wasm && a.Image != "":
		return "", 0, types.Refuse(compute.FeatureDenied, "compute: an image for a job of profile %s", profile)
	case class == compute.Wasm && a.Slots > 1 || a.Slots > 256:
		return "", 0, types.Refuse(compute.TooLarge, "compute: %d slots for a job of profile %s", a.Slots, profile)
	}
	return profile, class, nil
}
