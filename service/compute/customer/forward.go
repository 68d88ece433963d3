package customer

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/compute/link"
	"github.com/cairn-network/cairn/service/role/command"
)

func (v verbs) forwardCommand() *cobra.Command {
	c := &cobra.Command{Use: "forward ID PORT", Short: "Reach a port of a container on this machine", RunE: v.forward,
		Args: command.Exactly(v, "ID", "PORT"),
		Long: "Listens on 127.0.0.1, and passes each connection on to PORT in the job's container, until it is interrupted or the job has ended.\n" +
			"The job has to be submitted with --port PORT.",
		Example: "  cairn job submit --oci busybox --port 8080 --limit 3600000 busybox httpd -f -p 8080\n" +
			"  cairn job forward 3f9c… 8080\n  cairn job forward --local 9000 3f9c… 8080"}
	c.Flags().Uint16("local", 0, "port on this machine (default the same one; a free one if that is taken)")
	return c
}

// ports reads the flag --port.
func (v verbs) ports(c *cobra.Command, image bool) (list []uint16, err error) {
	ports, _ := c.Flags().GetUintSlice("port")
	for _, p := range ports {
		if p == 0 || p > 65535 {
			return nil, v.Usage(c, fmt.Errorf("--port %d: want 1 to 65535", p))
		}
		list = append(list, uint16(p))
	}
	switch {
	case len(list) > maxPorts:
		return nil, v.Usage(c, fmt.Errorf("--port: %d ports, at most %d", len(list), maxPorts))
	case len(list) > 0 && !image:
		return nil, v.Usage(c, errors.New("--port: only containers (--oci) have ports"))
	}
	return list, nil
}

func (v verbs) forward(c *cobra.Command, args []string) error {
	n, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil || n == 0 {
		return v.Usage(c, fmt.Errorf("PORT %q: want 1 to 65535", args[1]))
	}
	var s JobState
	if err := v.Call(c, "GET", jobPath(args[0]), nil, &s); err != nil {
		return fmt.Errorf("job forward: %w", err)
	}
	switch {
	case !slices.Contains(s.Ports, uint16(n)):
		return types.Refuse(compute.PortUndeclared, "job %s has no port %d: it has %v", s.ID, n, s.Ports)
	case s.State.Ended():
		return types.Refuse(compute.NotRunning, "job %s is %s", s.ID, s.State)
	}
	l, err := v.listen(c, uint16(n))
	if err != nil {
		return err
	}
	ctx := c.Context()
	var over error
	end := sync.OnceFunc(func() { _ = l.Close() })
	defer end()
	go func() {
		<-ctx.Done()
		end()
	}()
	if err := v.Print(c, map[string]any{"id": s.ID, "port": n, "local": l.Addr().String()}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is port %d of job %s\n", l.Addr(), n, s.ID)
	}); err != nil {
		return err
	}
	var all sync.WaitGroup
	defer all.Wait()
	var mu sync.Mutex // guards over and standard error
	for {
		local, err := l.Accept()
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			if over != nil {
				return over
			}
			return ctx.Err()
		}
		all.Go(func() {
			defer local.Close()
			remote, err := v.reach(c, args[0], uint16(n))
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if reason := types.ReasonOf(err); reason == compute.NoJob || reason == compute.NotRunning {
					over = fmt.Errorf("job forward: %w", err)
					end()
				} else if ctx.Err() == nil {
					fmt.Fprintf(c.ErrOrStderr(), "connection of %s: %v\n", local.RemoteAddr(), err)
				}
				return
			}
			link.Relay(local, remote)
		})
	}
}

// listen listens on this machine, on the port that the command line says, or on the same one as in the container.
func (v verbs) listen(c *cobra.Command, port uint16) (net.Listener, error) {
	at, _ := c.Flags().GetUint16("local")
	if !c.Flags().Changed("local") {
		at = port
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(at))))
	if err != nil && !c.Flags().Changed("local") {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, types.Refuse(types.PortInUse, "%v", err)
	}
	// The gateway says what is too much; this only bounds what waits for it.
	return conns.Limit(l, conns.Limits{Total: 8 * link.MaxConns, PerAddress: 4 * link.MaxConns}, slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))), nil
}

// reach opens a connection to a port of a job's container.
func (v verbs) reach(c *cobra.Command, id string, port uint16) (io.ReadWriteCloser, error) {
	res, err := v.Send(c, command.Request{Method: "GET", Path: jobPath(id, "/port/", strconv.Itoa(int(port))),
		Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {raw}}})
	if err != nil {
		return nil, err
	}
	to, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		err := fmt.Errorf("the gateway answers with %s: does a proxy stand before it that passes no Upgrade on?", res.Status)
		return nil, errors.Join(err, res.Body.Close())
	}
	return to, nil
}
