package health

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/cairn-network/cairn/internal/buildinfo"
	"github.com/cairn-network/cairn/internal/disk"
)

// clockFrom is before this program was made: a clock that says less does not know the time.
var clockFrom = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Clock looks at the machine's clock: against when the home began, and against a time that somebody else said
// just now, if not zero.
func Clock(now, began, said time.Time) Finding {
	f := Finding{Level: OK, What: "clock", Text: now.UTC().Format(time.DateTime) + " UTC"}
	switch {
	case now.Before(clockFrom), now.Before(began.Add(-time.Minute)):
		f.Level, f.Text = Bad, "it says "+f.Text+", which lies before this home was made"
	case !said.IsZero() && now.Sub(said).Abs() > 30*time.Second:
		f.Level, f.Text = Warn, fmt.Sprintf("it says %s, the network's last block %s", f.Text, said.UTC().Format(time.DateTime))
	}
	if f.Level != OK {
		f.Lost, f.Try = "blocks wait for the time that the chain has seen, and readings get no stamp", "set the clock, best by NTP"
	}
	return f
}

// Disk looks at the free space of a home.
func Disk(home string, limits disk.Limits) Finding {
	free, err := disk.Free(home)
	f := Finding{Level: OK, What: "disk", Text: disk.Size(free) + " free"}
	switch {
	case err != nil:
		f.Level, f.Text = Bad, err.Error()
	case free < limits.Stop:
		f.Level, f.Text = Bad, f.Text+", and "+disk.Size(limits.Stop)+" is the least that a network runs with"
	case free < limits.Warn:
		f.Level, f.Text = Warn, f.Text+"; at "+disk.Size(limits.Stop)+" a network stops"
	}
	if f.Level != OK {
		f.Try = "free some space, or move the home to a larger disk"
	}
	return f
}

// Port looks at an address where a program listens, or will: running says which.
func Port(name, address string, running bool) Finding {
	f := Finding{Level: OK, What: "port " + name, Text: address}
	if running {
		c, err := net.DialTimeout("tcp", address, 2*time.Second)
		if err != nil {
			f.Level, f.Text, f.Try = Bad, fmt.Sprintf("nothing answers at %s: %v", address, err), "stop the program, and start it again"
			return f
		}
		c.Close()
		return f
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		f.Level, f.Text, f.Try = Bad, "another program listens on "+address, "stop it, or name another port"
	case err != nil:
		f.Level, f.Text, f.Try = Bad, err.Error(), "name another address"
	default:
		l.Close()
	}
	return f
}

// Version says which program looks.
func Version() Finding {
	return Finding{Level: OK, What: "version", Text: fmt.Sprintf("%s, %s on %s/%s", buildinfo.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)}
}

// Count says how many files are in order.
func Count(fine int) Finding {
	return Finding{Level: OK, What: "files", Text: fmt.Sprintf("%d in order", fine)}
}

// Worst returns the worst level of findings.
func Worst(list []Finding) Level {
	worst := OK
	for _, f := range list {
		if f.Level == Bad || f.Level == Warn && worst == OK {
			worst = f.Level
		}
	}
	return worst
}
