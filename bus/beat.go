package bus

import (
	"time"

	"github.com/cairn-network/cairn/core/receipt"
	"github.com/cairn-network/cairn/core/types"
)

// How often devices beat, and after what time one that does not is silent.
const (
	BeatEvery  = 5 * time.Second
	BeatSilent = 3 * BeatEvery
)

// How far the time of a Request or a Beat may be from that of who reads it: what is older than the one, or
// newer than the other, is refused.
const (
	MaxBehind = 30 * time.Second
	MaxAhead  = 5 * time.Second
)

// Timely reports whether a time, in Unix milliseconds, is near enough to now.
func Timely(t uint64, now time.Time) bool {
	n := uint64(now.UnixMilli())
	return t <= n+uint64(MaxAhead.Milliseconds()) && t+uint64(MaxBehind.Milliseconds()) >= n && t <= 1<<62
}

// Beat says how much of what an ask offers is free now. Its device seals and publishes one every BeatEvery, and
// when it changes; nobody keeps it.
type Beat struct {
	_        struct{} `cbor:",toarray"`
	Chain    string
	Category types.Category
	Class    types.Class
	Ask      types.Hash // receipt.Ask.Hash
	Free     types.U128 // in the class's unit, as Ask.Capacity is; not above that
	Draining bool       // what runs goes on, and nothing new is taken
	Time     uint64     // Unix milliseconds, by the device's clock; of one ask's beats the latest counts
}

func (b *Beat) domain() string  { return "beat" }
func (b *Beat) chainID() string { return b.Chain }
func (b *Beat) check() error    { return nil }

// MaxBeat bounds a sealed Beat, in bytes.
const MaxBeat = 512

// BeatOf is where the beats of an ask are published.
func BeatOf(a *receipt.Ask) string { return beatWord + AskOf(a)[len("last.ask"):] }

// BeatsOf is the pattern of all beats of a device in a category.
func BeatsOf(device types.Key, c types.Category) string {
	return beatWord + "." + Word(device) + "." + orAny(c) + ".*.*"
}

const beatWord = "beat"
