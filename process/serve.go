package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"
	"github.com/cairn-network/cairn/service/role"
)

// Listen listens on host:port, and says it plainly if another program does.
func Listen(what, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, types.Refuse(types.PortInUse, "%s: listen on %s", what, address)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: listen on %s: %w", what, address, err)
	}
	return l, nil
}

// doorLimits bound the connections with health and metrics.
var doorLimits = conns.Limits{Total: 256, PerAddress: 32}

// Metrics serves figures in Prometheus' text form: Go's, the process's, and those of collectors.
func Metrics(list ...prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(list...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Door serves h on l until ctx ends, against pages of other sites (role.Guard): where it is beyond this
// machine, whoever reads there may call the machine as they like.
func Door(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) {
	hosts := []string{role.AnyHost}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		hosts = nil
	}
	server := &http.Server{Handler: role.Guard(h, hosts), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(conns.Limit(l, doorLimits, log)); !errors.Is(err, http.ErrServerClosed) {
		log.Error("status", "error", err)
	}
}

// Ask asks what runs in a home for its health.
func Ask(ctx context.Context, home string) (*Report, error) {
	address, err := StatusAddress(home)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+address+"/healthz", nil)
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, types.Refuse(types.NotRunning, "nothing answers at %s", address)
	}
	defer res.Body.Close()
	r := new(Report)
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(r); err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	return r, nil
}
