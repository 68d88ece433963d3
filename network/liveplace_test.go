package network

import (
	"testing"

	"github.com/cairn-network/cairn/core/types"
)

// TestLivePlace: a verifier's owner says where devices reach its live checks, or that they do not.
func TestLivePlace(t *testing.T) {
	for _, c := range []struct {
		place          LivePlace
		listen, public string
		port           uint16
		ok             bool
	}{
		{LivePlace{}, "", "invalid IP", 0, true},
		{LivePlace{Listen: "198.51.100.7:7440"}, "198.51.100.7", "invalid IP", 7440, true},
		{LivePlace{Listen: "[::]:7440", Public: "2001:db8::7"}, "::", "2001:db8::7", 7440, true},
		{LivePlace{Listen: "0.0.0.0:7440"}, "", "", 0, false},
		{LivePlace{Listen: "198.51.100.7"}, "", "", 0, false},
		{LivePlace{Listen: "verifier.example.org:7440"}, "", "", 0, false},
		{LivePlace{Listen: "0.0.0.0:7440", Public: "198.51.100.7:7440"}, "", "", 0, false},
	} {
		got, err := c.place.witness()
		if c.ok && (err != nil || got.Listen != c.listen || got.Port != c.port || got.Public.String() != c.public) {
			t.Errorf("%+v: %s, %d, %s, %v", c.place, got.Listen, got.Port, got.Public, err)
		}
		if !c.ok && types.ReasonOf(err) != types.BadArgument {
			t.Errorf("%+v is taken: %v", c.place, err)
		}
	}
}
