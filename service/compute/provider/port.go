package provider

import (
	"context"
	"net"
	"time"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
)

// ported is an Executor whose jobs can be reached while they run.
type ported interface {
	// Dial connects to a port of a job. The reason is not_running or port_closed where there is nothing to connect to.
	Dial(ctx context.Context, order types.Hash, port uint16) (net.Conn, error)
}

// portTime is how long it may take to connect to a port of a job.
const portTime = 10 * time.Second

// connect makes a connection to a port of a job that its gateway asks for, and sees to it until it has ended. A job
// that ends takes its connections along: what is at their other end is gone.
func (d *device) connect(j *job, stream *link.Stream, f link.Frame) error {
	port, err := link.ParseOpen(f.Data)
	if err != nil {
		return err
	}
	shut := func(err error) {
		reason := types.ReasonOf(err)
		if reason == "" {
			reason = compute.PortSilent
		}
		why := []byte(string(reason) + "\n" + message(err))
		_ = stream.Write(link.Frame{Kind: link.Shut, Offset: f.Offset, Data: why}) // one that is broken says so itself
	}
	e, ok := d.executors[j.order.Class].(ported)
	switch {
	case !ok:
		err = types.Refuse(compute.Policy, "compute: jobs of class %d have no ports", j.order.Class)
	case j.ports.Add(1) > link.MaxConns:
		j.ports.Add(-1)
		err = types.Refuse(compute.PortBusy, "compute: %d connections to ports of the job are open", link.MaxConns)
	}
	if err != nil {
		d.work.Go(func() { shut(err) })
		return nil
	}
	d.work.Go(func() {
		defer j.ports.Add(-1)
		ctx, cancel := context.WithTimeout(j.ctx, portTime)
		defer cancel()
		to, err := e.Dial(ctx, j.hash, port)
		if err != nil {
			shut(err)
			return
		}
		from, err := d.links.Port(d.ctx, j.gateway(), j.hash, f.Offset)
		if err != nil {
			d.log.Debug("compute: a connection to a port", "order", j.hash, "port", port, "err", err)
			_ = to.Close()
			return
		}
		defer context.AfterFunc(d.ctx, func() { _, _ = to.Close(), from.Close() })()
		link.Relay(to, from)
	})
	return nil
}
