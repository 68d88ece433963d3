package servicetest

import (
	"context"
	"fmt"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role"
)

// MeterProvider is Meter's role on a device: it adds Step to its register in every epoch, reads it out, and
// answers the challenge as soon as the epoch's seed is known. It goes on from the register in the last tally.
type MeterProvider struct {
	Step uint64 // ticks per epoch
	// Lie is added to the register when it is read out: what witnesses will not see.
	Lie uint64
	// Least, if it is not 0, is what the device sells for at least, per MeterScale: it says so by an ask, until
	// its line shows it.
	Least uint64
	// Live has the device show its register to witnesses, on a free port of 127.0.0.1.
	Live bool
	// Stock is how many ticks the device gives away (MeterTake); it beats what is left.
	Stock uint64
	// Things are shown in every epoch, each with what it counted.
	Things []MeterShown
	// Witness is what the device does as a witness, where devices are drawn (Meter.Peers); nil for nothing.
	Witness func(ctx context.Context, host role.WitnessHost) error
}

// Role returns p as a node runs it.
func (p MeterProvider) Role() role.Provider {
	m := &meterRun{MeterProvider: p, shown: newShown()}
	return role.Provider{Category: MeterCategory, Run: m.run, Witness: p.Witness, Requests: m.requests(), Blobs: m.blobs(), Reasons: Meter().Spec.Reasons}
}

// meterRun is a meter at work.
type meterRun struct {
	MeterProvider
	shown *shown
	stock stock
}

// Run provides ticks until ctx ends.
func (p MeterProvider) Run(ctx context.Context, host role.Host) error {
	return (&meterRun{MeterProvider: p, shown: newShown()}).run(ctx, host)
}

func (p *meterRun) run(ctx context.Context, host role.Host) error {
	var read, echoed, asked types.Epoch
	if p.Live {
		if err := p.shown.listen(ctx, host); err != nil {
			return fmt.Errorf("meter: %w", err)
		}
	}
	if p.Stock > 0 {
		if err := p.stock.offer(ctx, host, p.Stock); err != nil {
			return fmt.Errorf("meter: %w", err)
		}
	}
	notices := host.Notices(ctx)
	for {
		var n role.Notice
		select {
		case <-ctx.Done():
			return nil
		case n = <-notices:
		}
		if n.Epoch == 0 || ctx.Err() != nil {
			return nil // the channel is closed
		}
		if n.Epoch > read {
			register, _ := MeterState(n.Line)
			m := MeterRegister{Device: host.Key(), Register: register + p.Step + p.Lie}
			if err := host.Submit(ctx, MeterReading, m.Encode()); err != nil {
				return fmt.Errorf("meter: read out epoch %d: %w", n.Epoch, err)
			}
			for i := range p.Things {
				if err := host.Submit(ctx, MeterThing, p.Things[i].Encode()); err != nil {
					return fmt.Errorf("meter: show a thing in epoch %d: %w", n.Epoch, err)
				}
			}
			read = n.Epoch
			p.shown.set(n.Epoch, register+p.Step)
		}
		if line := ParseMeterLine(n.Line); p.Least != 0 && line.Least != p.Least && (asked == 0 || n.Tallied >= asked) {
			if err := p.ask(ctx, host, line.Number+1, n.Epoch); err != nil {
				return fmt.Errorf("meter: ask in epoch %d: %w", n.Epoch, err)
			}
			asked = n.Epoch
		}
		if n.Epoch > echoed && n.Challenged && !n.Seed.IsZero() {
			if err := host.Submit(ctx, MeterEcho, MeterChallenge(n.Seed, host.Key())); err != nil {
				return fmt.Errorf("meter: echo epoch %d: %w", n.Epoch, err)
			}
			echoed = n.Epoch
		}
	}
}

func (p MeterProvider) ask(ctx context.Context, host role.Host, number uint64, now types.Epoch) error {
	signed, err := host.Offer(ctx, MeterAsk(number, p.Least, now+100))
	if err != nil {
		return err
	}
	return host.SubmitAsk(ctx, signed)
}
