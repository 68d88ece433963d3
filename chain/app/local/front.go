package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/cosmos/cosmos-sdk/server/api"
	serverconfig "github.com/cosmos/cosmos-sdk/server/config"
	servergrpc "github.com/cosmos/cosmos-sdk/server/grpc"
	"github.com/cosmos/cosmos-sdk/telemetry"
	"github.com/gorilla/handlers"
	"github.com/improbable-eng/grpc-web/go/grpcweb"
	"google.golang.org/grpc"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/internal/conns"

	"cosmossdk.io/log/v2"
)

// front is the doors beside consensus: gRPC, and REST with gRPC-web behind one address.
type front struct {
	grpc *grpc.Server
	rest *http.Server
	wait sync.WaitGroup // the goroutines that serve
}

// serve opens the doors that the configuration names.
func serve(n *Node, logger log.Logger, cfg serverconfig.Config) (*front, error) {
	f := &front{}
	var err error
	if f.grpc, n.client, err = servergrpc.NewGRPCServerAndContext(n.client, n.app, cfg.GRPC, logger); err != nil {
		return nil, fmt.Errorf("local: gRPC: %w", err)
	}
	if n.addresses.GRPC != "" {
		l, err := net.Listen("tcp", n.addresses.GRPC)
		if err != nil {
			return nil, types.Refuse(types.PortInUse, "local: gRPC: %v", err)
		}
		f.wait.Go(func() { f.grpc.Serve(limited(l, logger)) })
	}
	if n.addresses.REST == "" {
		return f, nil
	}
	l, err := net.Listen("tcp", n.addresses.REST)
	if err != nil {
		f.close()
		return nil, types.Refuse(types.PortInUse, "local: REST: %v", err)
	}
	handler, err := f.handler(n, logger, cfg)
	if err != nil {
		l.Close()
		f.close()
		return nil, err
	}
	f.rest = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	f.wait.Go(func() { f.rest.Serve(limited(l, logger)) })
	return f, nil
}

// limited bounds the connections with gRPC and REST. CometBFT's RPC has a bound of its own, for all addresses
// together.
func limited(l net.Listener, logger log.Logger) net.Listener {
	return conns.Limit(l, conns.Limits{Total: 2048, PerAddress: 128}, logger)
}

func (f *front) handler(n *Node, logger log.Logger, cfg serverconfig.Config) (http.Handler, error) {
	srv := api.New(n.client, logger, f.grpc)
	if cfg.Telemetry.Enabled {
		metrics, err := telemetry.New(cfg.Telemetry) //nolint:staticcheck // what app.toml configures
		if err != nil {
			return nil, fmt.Errorf("local: telemetry: %w", err)
		}
		srv.SetTelemetry(metrics)
	}
	n.app.RegisterAPIRoutes(srv, cfg.API)
	web := grpcweb.WrapServer(f.grpc, grpcweb.WithOriginFunc(func(string) bool { return cfg.API.EnableUnsafeCORS }))
	srv.Router.PathPrefix("/").HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cfg.GRPCWeb.Enable && web.IsGrpcWebRequest(r) {
			web.ServeHTTP(w, r)
			return
		}
		srv.GRPCGatewayRouter.ServeHTTP(w, r)
	})
	var h http.Handler = http.MaxBytesHandler(srv.Router, int64(cfg.API.RPCMaxBodyBytes))
	if cfg.API.EnableUnsafeCORS {
		h = handlers.CORS(handlers.AllowedHeaders([]string{"Content-Type"}))(h)
	}
	return h, nil
}

// close ends all doors; requests under way get a second.
func (f *front) close() error {
	var err error
	if f.rest != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err = f.rest.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
			err = f.rest.Close()
		}
	}
	if f.grpc != nil {
		late := time.AfterFunc(time.Second, f.grpc.Stop)
		f.grpc.GracefulStop()
		late.Stop()
	}
	f.wait.Wait()
	return err
}

// free proves that every address can be listened on, before anything is started.
func (a Addresses) free() error {
	for name, address := range map[string]string{"RPC": a.RPC, "P2P": a.P2P, "gRPC": a.GRPC, "REST": a.REST} {
		if address == "" {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return types.Refuse(types.PortInUse, "local: %s at %s: %v", name, address, err)
		}
		l.Close()
	}
	return nil
}
