package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/compute"
	"github.com/cairn-network/cairn/service/role"
)

// Where the devices of a network on one machine are said to stand: Lisbon and Tallinn.
var simulatedCells = [...]types.Cell{0x853933cffffffff, 0x851134cffffffff}

// Simulator is compute in a network on one machine: two devices of one slot each. Nothing about them is
// simulated but where they stand, and that their gateway is on the same machine. Where the machine can't hold
// strangers' programs there are none.
func Simulator() role.Simulator {
	return role.Simulator{
		Category: types.Compute, Most: len(simulatedCells),
		Rules: func(uint64, uint64) []byte { return compute.LocalRules().Encode() },
		Start: func(_ string, n int, _ []byte, log *slog.Logger) ([]role.Simulated, func(), error) {
			ctx, cancel := context.WithTimeout(context.Background(), probeTime)
			defer cancel()
			lacks, err := probe(ctx)
			if err != nil || len(lacks) > 0 {
				log.Warn("compute: no device is made: strangers' programs cannot be held safely here", "lacks", lackText(lacks), "err", err)
				return nil, func() {}, nil
			}
			price := uint64(OCIPrice)
			if lacks, err := probeOCI(ctx); err != nil || len(lacks) > 0 {
				log.Info("compute: devices offer no containers", "lacks", lackText(lacks), "err", err)
				price = 0
			}
			settings, err := json.Marshal(&Settings{
				OCIPrice: price, Images: leastImages, Slots: 1, Price: Price, Memory: leastMemory, Disk: 1 << 30, Unopened: Config{}.withDefaults().Unopened, Models: []string{}, ModelPrice: ModelPrice, Prompt: 1, Completion: 4,
				Egress: []string{}, Private: []string{"127.0.0.0/8", "::1/128"},
			})
			if err != nil {
				return nil, nil, err
			}
			list := make([]role.Simulated, min(n, len(simulatedCells)))
			for i := range list {
				list[i] = role.Simulated{Name: fmt.Sprintf("machine %d", i+1), Cell: simulatedCells[i], Settings: settings}
			}
			return list, func() {}, nil
		},
	}
}
