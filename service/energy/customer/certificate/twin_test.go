package certificate_test

import (
	"testing"

	"github.com/cairn-network/cairn/ledger"
	"github.com/cairn-network/cairn/ledger/ledgertest"
	"github.com/cairn-network/cairn/service/energy/customer/certificate"
	"github.com/cairn-network/cairn/service/energy/customer/certificate/certificatetest"
)

// TestTwin plays the suite that the chain passes.
func TestTwin(t *testing.T) {
	certificatetest.Run(t, func(_ *testing.T, verifiers, regions int) *ledgertest.Network {
		return ledgertest.Memory(verifiers, regions, map[string]ledger.Module{certificate.Module: certificate.NewTwin(certificate.Config{})})
	})
}
